"""Steps that runs share: a fingerprint of everything that a step depends on is the key of its checkpoint."""

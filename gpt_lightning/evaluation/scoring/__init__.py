"""Log-probabilities of texts and continuations under a model, each position once."""

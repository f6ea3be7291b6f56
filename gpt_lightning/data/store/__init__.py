"""Token ids on disk: shards of fixed width, a manifest with checksums, local or behind a URL."""

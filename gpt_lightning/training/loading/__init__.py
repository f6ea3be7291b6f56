"""Batches for the Trainer: a DataModule over a store, and loaders that know nothing but sample numbers."""

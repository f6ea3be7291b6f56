"""Texts to evaluate on: files, original spacing, overlap with the training text."""

"""Kinds of benchmark: choices, labels, cloze, and the files that describe them."""

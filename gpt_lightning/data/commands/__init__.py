"""The commands ``prepare``, ``data`` and ``tokenizer``."""

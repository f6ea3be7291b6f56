"""``python -m gpt_lightning``: the same as the console script ``gpt-lightning``."""

from __future__ import annotations

from gpt_lightning.cli import console

if __name__ == "__main__":
    console()

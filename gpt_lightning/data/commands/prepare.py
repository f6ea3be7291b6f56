"""``gpt-lightning prepare``: the same as ``find_or_prepare``, with a progress line and a closing summary."""

from __future__ import annotations

import sys
import time
from typing import Any

from gpt_lightning.data.commands.stores import format_progress, summarize
from gpt_lightning.data.open import check_text
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare_all
from gpt_lightning.errors import ConfigError


def prepare_command(
    store: str | None = None,
    rebuild: bool = False,
    check: str = "time",
    workers: int | None = None,
    also_tokenizers: list[str] | None = None,
    **settings: Any,
) -> None:
    """Turn text into a store of tokens that training streams from.

    Training does this by itself when the store is missing or out of date; this command does it beforehand. Killed, it
    goes on where it stopped when it is run again.

    Args:
        store: Folder of the store; null = a folder in the cache named after source and tokenizer.
        rebuild: Make the store anew even if it is ready.
        check: How a store that is ready is compared with its inputs: time (and size), or content, which reads them all:
            for copies that keep their time, and clocks that nobody trusts.
        workers: Processes that tokenize at once; null = one for each processor. The store is the same.
        also_tokenizers: More tokenizers, each of which gives a store of its own in the cache, in the same pass over the
            text.
        **settings: What the store is made of, see PrepareSettings.
    """
    if workers is not None and workers < 1:
        raise ConfigError("--workers is a count", got=workers, allowed=">= 1", fix="Leave it out, or write 1.")
    if check not in ("time", "content"):
        raise ConfigError("--check", got=check, allowed="time, content", fix="Correct the name.")
    wanted = PrepareSettings(**settings)
    check_text(wanted)
    tokenizers = list(dict.fromkeys([wanted.tokenizer, *(also_tokenizers or [])]))
    line = ProgressLine()
    try:
        found = find_or_prepare_all(
            wanted,
            tokenizers,
            stores=[store, *[None] * (len(tokenizers) - 1)],
            rebuild=rebuild,
            by_content=check == "content",
            workers=workers,
            progress=line.show,
        )
    finally:
        line.close()
    for each in found:
        sys.stdout.write(f"{summarize(each.manifest)}\nstore       {each.path}\n")


class ProgressLine:
    """One line on stderr that is written over; silent when stderr is no terminal."""

    def __init__(self, doing: str = "preparing") -> None:
        self._doing = doing
        self._started = self._shown = time.monotonic()
        self._length = 0

    def show(self, done_bytes: int, total_bytes: int, num_tokens: int) -> None:
        """Show how far it is, at most ten times a second."""
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self._shown < 0.1 and done_bytes != total_bytes):
            return
        self._shown = now
        self._write(format_progress(done_bytes, total_bytes, num_tokens, now - self._started, self._doing))

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r{text.ljust(self._length)}")
        sys.stderr.flush()
        self._length = len(text)

    def close(self) -> None:
        """Clear the line."""
        if self._length:
            self._write("")
            sys.stderr.write("\r")

"""``gpt-lightning prepare``: the same as ``find_or_prepare``, with a progress line and a closing summary."""

from __future__ import annotations

import sys
import time
from typing import Any

from gpt_lightning.data.manifest import Manifest
from gpt_lightning.data.prepare import PrepareSettings, find_or_prepare


def prepare_command(store: str | None = None, rebuild: bool = False, **settings: Any) -> None:
    """Turn text into a store of tokens that training streams from.

    Training does this by itself when the store is missing or out of date; this command does it beforehand.

    Args:
        store: Folder of the store; null = a folder in the cache named after source and tokenizer.
        rebuild: Make the store anew even if it is ready.
        **settings: What the store is made of, see PrepareSettings.
    """
    line = ProgressLine()
    found = find_or_prepare(PrepareSettings(**settings), store=store, rebuild=rebuild, progress=line.show)
    line.close()
    sys.stdout.write(f"{summarize(found.manifest)}\nstore       {found.path}\n")


class ProgressLine:
    """One line on stderr that is written over; silent when stderr is no terminal."""

    def __init__(self) -> None:
        self._started = self._shown = time.monotonic()
        self._length = 0

    def show(self, done_bytes: int, total_bytes: int) -> None:
        """Show how far it is, at most ten times a second."""
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self._shown < 0.1 and done_bytes != total_bytes):
            return
        self._shown = now
        self._write(format_progress(done_bytes, total_bytes, now - self._started))

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r{text.ljust(self._length)}")
        sys.stderr.flush()
        self._length = len(text)

    def close(self) -> None:
        """Clear the line."""
        if self._length:
            self._write("")
            sys.stderr.write("\r")


def format_progress(done_bytes: int, total_bytes: int, seconds: float) -> str:
    """One line: how much is done, how fast, and how long the rest will take.

    Args:
        done_bytes: Input bytes done.
        total_bytes: Input bytes in all; 0 = unknown.
        seconds: Time taken so far.
    """
    speed = done_bytes / max(seconds, 1e-9)
    text = f"preparing {done_bytes / 1e6:.1f} MB"
    if not total_bytes:
        return f"{text}, {speed / 1e6:.1f} MB/s"
    left = (total_bytes - done_bytes) / max(speed, 1e-9)
    return (
        f"{text} of {total_bytes / 1e6:.1f} ({done_bytes / total_bytes:.0%}), {speed / 1e6:.1f} MB/s, {left:.0f} s left"
    )


def summarize(manifest: Manifest) -> str:
    """The closing report: what is in a store, and what was left out."""
    name, digits = manifest.tokenizer["name"], manifest.tokenizer["fingerprint"][:12]
    lines = [
        f"tokenizer   {name}, {manifest.vocab_size:,} ids, {manifest.dtype}, fingerprint {digits}",
        f"split rule  {manifest.split_rule}",
    ]
    for split, record in manifest.splits.items():
        per_token = record.text_bytes / max(record.num_tokens, 1)
        lines.append(
            f"{split:<11} {record.num_documents:,} documents, {record.num_tokens:,} tokens, "
            f"{record.text_bytes:,} bytes of text ({per_token:.2f} bytes per token)"
        )
    skipped = dict(manifest.skipped)
    lines.append("skipped     " + (", ".join(f"{count:,} {reason}" for reason, count in skipped.items()) or "nothing"))
    if manifest.replaced_surrogates:
        lines.append(f"replaced    {manifest.replaced_surrogates:,} lone surrogates by U+FFFD")
    return "\n".join(lines)

"""What a model knew, as rows that can be trained on beside new ones: a function of the files' content."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from pathlib import Path

from gpt_lightning.continual.settings import Replay
from gpt_lightning.data.readers.readers import Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.rows import RECORDS
from gpt_lightning.feedback.makers import hash_text
from gpt_lightning.files.atomic import write_text_durably

_CHARACTERS_PER_TOKEN = 4
"""Of ordinary text; a piece that is longer than a window is divided again where it is read."""


def write_replay(replay: Replay, kind: str, block_size: int, file: Path) -> str:
    """Write pieces of texts, or rows, chosen by their hash; SHA-256 of the file.

    Args:
        replay: What to repeat.
        kind: Of the new rows.
        block_size: Tokens of a window, about as long as pieces of texts become.
        file: What to write (JSONL).

    Raises:
        ConfigError: Texts cannot be repeated beside rows of this kind.
        DataError: The files cannot be read, or hold nothing.
    """
    rows = all(source.endswith(".jsonl") for source in replay.sources)
    if not rows and kind != "conversations":
        raise ConfigError(
            f"Texts cannot be repeated beside {kind}", got=replay.source, allowed=f"rows of {kind} (.jsonl)"
        )
    found = _iterate_rows(replay) if rows else _iterate_pieces(replay, block_size * _CHARACTERS_PER_TOKEN)
    lines = heapq.nsmallest(replay.rows, {(hash_text(line), line) for line in found})
    if not lines:
        raise DataError("There is nothing to repeat in replay.source", got=replay.source)
    text = "".join(f"{line}\n" for _, line in lines)
    write_text_durably(file, text)
    return hash_text(text)


def _iterate_rows(replay: Replay) -> Iterator[str]:
    for source in replay.sources:
        for row in RECORDS.read(Path(source).expanduser()):
            yield json.dumps(row.record, ensure_ascii=False, sort_keys=True)


def _iterate_pieces(replay: Replay, length: int) -> Iterator[str]:
    for reader in open_sources(replay.sources, Reading("file", "text", "utf-8")):
        for document in reader.iterate_documents():
            for start in range(0, len(document.text), length):
                piece = document.text[start : start + length]
                if piece.strip():
                    yield json.dumps({"completion": piece}, ensure_ascii=False)

"""The corpus in work units of about 8 MB: what one worker does at a time, and what is never done twice.

A unit is a run of spans of consecutive inputs: a slice of a large file, or many small files. Units depend on the
inputs only, not on the number of workers; their results joined in order are the corpus.

``plan.json`` in a working folder: what a reader needs to follow a store that is being made (``growing``).

It is written when the vocabulary and the rule of division are known and before the first unit is done. A plan that was
left over by an earlier attempt is told by its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.data.readers.readers import Document, Reader, Reading, Span
from gpt_lightning.data.store.manifest import FORMAT
from gpt_lightning.files.atomic import write_text_atomically
from gpt_lightning.files.sealing import seal, unseal

UNIT_BYTES = 1 << 23
"""Target size in stored bytes: a few seconds of work, what a kill can cost, and a fair share for many workers."""


@dataclass(frozen=True)
class Chunk:
    """One unit of work.

    Attributes:
        key: SHA-256 (hex) of everything that determines its documents: the inputs as they are now, and their reading.
        spans: ``(number of the reader, span)`` in order.
        num_bytes: Stored bytes; 0 when unknown.
    """

    key: str
    spans: tuple[tuple[int, Span], ...]
    num_bytes: int

    def iterate_documents(self, readers: Sequence[Reader]) -> Iterator[Document]:
        """The documents of the unit in order."""
        for number, span in self.spans:
            yield from readers[number].iterate_documents(span)


def plan_chunks(readers: Sequence[Reader], reading: Reading, unit_bytes: int | None = None) -> list[Chunk]:
    """Divide the corpus.

    Args:
        readers: The inputs in order.
        reading: How they become documents.
        unit_bytes: Target size; None = ``UNIT_BYTES``.

    Raises:
        DataError: An input cannot be read.
    """
    target = unit_bytes or UNIT_BYTES
    units: list[Chunk] = []
    held: list[tuple[int, Span]] = []
    identities: list[list[object]] = []
    size_held = 0

    def close() -> None:
        content = json.dumps([FORMAT, reading.describe(), identities], sort_keys=True)
        units.append(Chunk(hashlib.sha256(content.encode()).hexdigest(), tuple(held), size_held))
        held.clear()
        identities.clear()

    for number, reader in enumerate(readers):
        # An input without a time of change is known by its content.
        size, changed = reader.measure()
        sign = changed or reader.checksum()
        for span in reader.list_spans(target):
            if held and size_held + span.num_bytes > target:
                close()
                size_held = 0
            held.append((number, span))
            size_held += span.num_bytes
            identities.append([type(reader).__name__, reader.name, size, sign, span.start, span.end])
    if held:
        close()
    return units


_PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class UnitPlan:
    """A store that is going to be.

    Attributes:
        fingerprint: Of inputs and settings, see ``freshness.fingerprint_inputs``.
        tokenizer: Description of the tokenizer.
        splits: Names of the splits.
        split_rule: How documents are divided, in words.
        parts: Names of the files of the units' parts, in order.
    """

    fingerprint: str
    tokenizer: dict[str, Any]
    splits: list[str]
    split_rule: str
    parts: list[str]


def write_plan(folder: Path, plan: UnitPlan) -> None:
    """Put a plan into a working folder, whole or not at all."""
    write_text_atomically(folder / _PLAN_FILE, json.dumps(seal(asdict(plan))))


def read_plan(folder: Path) -> UnitPlan | None:
    """The plan in a working folder; None while there is none."""
    try:
        return UnitPlan(**unseal(json.loads((folder / _PLAN_FILE).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, AttributeError):
        return None

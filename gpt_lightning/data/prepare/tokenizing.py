"""The work on one unit: its documents through cleaning, split rule and tokenizers into a part for each store."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.prepare.chunks import Chunk
from gpt_lightning.data.prepare.cleaning import Cleaning, SplitRule
from gpt_lightning.data.prepare.parts import Part, PartBuilder, write_parts
from gpt_lightning.data.readers.bad_records import MOST_NAMED
from gpt_lightning.data.readers.readers import Reader
from gpt_lightning.data.tokenizers.kinds import Tokenizer, from_description
from gpt_lightning.errors import DataError

_EVERY = 64
Told = Callable[[int, int], None]
"""Called with (stored bytes, tokens of the first store) done since the last call."""


@dataclass(frozen=True)
class Job:
    """What is done to every unit. Plain data, since it travels to other processes.

    Attributes:
        readers: The inputs.
        cleaning: What enters.
        rule: Which split it enters.
        splits: Names of the splits that are written.
        tokenizers: Description of the tokenizer of each store.
        find_duplicates: Whether documents are hashed.
        folder: Where the parts go.
    """

    readers: Sequence[Reader]
    cleaning: Cleaning
    rule: SplitRule
    splits: tuple[str, ...]
    tokenizers: tuple[dict[str, Any], ...]
    find_duplicates: bool
    folder: Path

    def identity(self) -> list[Any]:
        """JSON values that determine the result on given documents."""
        fingerprints = [description["fingerprint"] for description in self.tokenizers]
        rule = [type(self.rule).__name__, self.rule.val_fraction, self.rule.test_fraction, self.rule.seed]
        return [fingerprints, rule, vars(self.cleaning), self.splits, self.find_duplicates]

    def key(self, unit: Chunk) -> str:
        """SHA-256 (hex) of everything that determines the result of a unit."""
        return hashlib.sha256(json.dumps([self.identity(), unit.key], sort_keys=True).encode()).hexdigest()

    def part_path(self, unit: Chunk, store: int) -> Path:
        """The file of a unit's part for a store, by its number."""
        return self.folder / f"part-{self.key(unit)[:32]}-{store}.npz"


@dataclass(frozen=True)
class ChunkResult:
    """What is known about a finished unit.

    Attributes:
        key: Of the unit, see ``Job.key``.
        sizes: Bytes of its part for each store.
        num_documents: Documents that entered.
        train_tokens: Tokens of the training split, for each store.
        num_tokens: Tokens of all splits of the first store.
        num_replaced: Surrogates that became U+FFFD.
        skipped: Documents left out, by reason.
        bad_records: What was wrong with the first of the records left out as bad.
        round_trips: What encoding did to the text, for each store; see ``RoundTrip``.
    """

    key: str
    sizes: list[int]
    num_documents: int
    train_tokens: list[int]
    num_tokens: int
    num_replaced: int
    skipped: dict[str, int] = field(default_factory=dict)
    round_trips: list[dict[str, int]] = field(default_factory=list)
    bad_records: list[str] = field(default_factory=list)


class RoundTrip:
    """Proves that decoding gives the text back, or counts where it does not.

    A tokenizer that promises to give every text back is held to it: the bytes of every text are counted, and the first
    text of a unit and every 64th behind it are compared. One that does not promise is compared text by text.

    Args:
        tokenizer: That encodes.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._lengths = tokenizer, tokenizer.token_bytes()
        self.counts = {"texts": 0, "changed": 0, "unknown": 0}

    def add(self, text: str, ids: npt.NDArray[Any]) -> None:
        """Look at a text and its ids.

        Raises:
            DataError: The tokenizer promised and did not keep it.
        """
        counts, tokenizer = self.counts, self._tokenizer
        compares = not tokenizer.lossless or counts["texts"] % _EVERY == 0
        counts["texts"] += 1
        same = not compares or tokenizer.decode(ids) == text
        if tokenizer.lossless:
            num_bytes = len(text) if text.isascii() else len(text.encode("utf-8"))
            found = int(self._lengths[ids].sum())
            if not same or found != num_bytes:
                raise DataError(
                    f"Tokenizer {tokenizer.name} does not give the text back: {found:,} of {num_bytes:,} bytes are in "
                    f"its tokens, of a text that begins with {text[:30]!r}",
                    fix="Use another tokenizer, or import this one anew from its tokenizer.json.",
                )
        counts["changed"] += not same
        if tokenizer.unknown_id is not None:
            counts["unknown"] += int((ids == tokenizer.unknown_id).sum())


class ChunkWorker:
    """Does one unit after another; tokenizers are built once.

    Args:
        job: What to do.

    Raises:
        DataError: A vocabulary cannot be found.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tokenizers = [from_description(description) for description in job.tokenizers]

    def work(self, unit: Chunk, tell: Told) -> ChunkResult:
        """Do a unit and write its parts.

        Raises:
            DataError: A document cannot be read or encoded; names it.
        """
        job = self._job
        builders = [{name: PartBuilder(each.eot_id, each.dtype) for name in job.splits} for each in self._tokenizers]
        digests, skipped, num_replaced = bytearray(), Counter[str](), 0
        self._proofs = [RoundTrip(each) for each in self._tokenizers]
        self._bad_records: list[str] = []
        num_documents = 0
        for document in unit.iterate_documents(job.readers):
            if document.problem:
                skipped["bad records"] += 1
                self._bad_records.append(document.problem)
                tell(document.num_bytes, 0)
                continue
            cleaned = job.cleaning.apply(document.text)
            num_tokens = 0
            if cleaned.text is None:
                skipped[cleaned.reason] += 1
            else:
                num_replaced += cleaned.num_replaced
                if job.find_duplicates:
                    digests += hashlib.blake2b(cleaned.text.encode("utf-8"), digest_size=16).digest()
                num_tokens = self._add(cleaned.text, document.name, num_documents, builders)
                num_documents += 1
            tell(document.num_bytes, num_tokens)
        hashes = np.frombuffer(bytes(digests), dtype=np.uint64).reshape(-1, 2)
        return self._finish(unit, builders, hashes, num_documents, num_replaced, skipped)

    def _add(self, text: str, name: str, number: int, builders: list[dict[str, PartBuilder]]) -> int:
        counts = [0] * len(builders)
        for split, piece in self._job.rule.divide(text):
            for store in range(len(self._tokenizers)):
                ids = self._encode(store, piece, name)
                builders[store][split].add(ids, piece, number)
                counts[store] += len(ids) + 1
        return counts[0]

    def _finish(
        self,
        unit: Chunk,
        builders: list[dict[str, PartBuilder]],
        hashes: npt.NDArray[np.uint64],
        num_documents: int,
        num_replaced: int,
        skipped: Counter[str],
    ) -> ChunkResult:
        job, sizes = self._job, list[int]()
        train_tokens: list[int] = []
        num_tokens = 0
        for store, splits in enumerate(builders):
            parts: dict[str, Part] = {name: builder.build() for name, builder in splits.items()}
            sizes.append(write_parts(job.part_path(unit, store), parts, hashes))
            train_tokens.append(len(parts["train"].ids))
            if store == 0:
                num_tokens = sum(len(part.ids) for part in parts.values())
        return ChunkResult(
            job.key(unit), sizes, num_documents, train_tokens, num_tokens, num_replaced, dict(sorted(skipped.items())),
            [proof.counts for proof in self._proofs], self._bad_records[:MOST_NAMED],
        )  # fmt: skip

    def _encode(self, store: int, text: str, name: str) -> npt.NDArray[Any]:
        try:
            ids = self._tokenizers[store].encode(text)
            self._proofs[store].add(text, ids)
            return ids
        except DataError as error:
            raise DataError(f"{name}: {str(error).rstrip('.')}") from error

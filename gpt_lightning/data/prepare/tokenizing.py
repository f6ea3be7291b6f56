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

from gpt_lightning.data.layouts.examples import Encoded, Example
from gpt_lightning.data.prepare.chunks import Chunk
from gpt_lightning.data.prepare.cleaning import SplitRule
from gpt_lightning.data.prepare.intake import Intake, Taken
from gpt_lightning.data.prepare.parts import Hashes, Part, PartBuilder, write_parts
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
        intake: What enters, and as what.
        rule: Which split it enters.
        splits: Names of the splits that are written.
        tokenizers: Description of the tokenizer of each store.
        find_duplicates: Whether documents are hashed.
        folder: Where the parts go.
    """

    readers: Sequence[Reader]
    intake: Intake
    rule: SplitRule
    splits: tuple[str, ...]
    tokenizers: tuple[dict[str, Any], ...]
    find_duplicates: bool
    folder: Path

    def identity(self) -> list[Any]:
        """JSON values that determine the result on given documents."""
        fingerprints = [description["fingerprint"] for description in self.tokenizers]
        rule = [type(self.rule).__name__, self.rule.val_fraction, self.rule.test_fraction, self.rule.seed]
        known = [fingerprints, rule, vars(self.intake.cleaning), self.splits, self.find_duplicates]
        return [*known, *self.intake.describe()]

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
        cut: What was shortened to fit, or left out where it could not be, by what was done; of the first store.
        longest: Tokens of the longest document of each store, where documents are whole.
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
    cut: dict[str, int] = field(default_factory=dict)
    longest: list[int] = field(default_factory=list)


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
        job, done = self._job, _Unit(self._job, self._tokenizers)
        for document in unit.iterate_documents(job.readers):
            taken = job.intake.take(document)
            num_tokens = 0
            if taken.example is None:
                done.skip(taken)
            else:
                num_tokens = done.add(taken.example, document.name)
                done.num_replaced += taken.num_replaced
            tell(document.num_bytes, num_tokens)
        return done.finish(unit)


class _Unit:
    """What has become of one unit so far."""

    def __init__(self, job: Job, tokenizers: Sequence[Tokenizer]) -> None:
        self._job, self._tokenizers = job, tokenizers
        self._layout = job.intake.layout
        columns = self._layout.columns
        self._builders = [
            {name: PartBuilder(each.eot_id, each.dtype, columns) for name in job.splits} for each in tokenizers
        ]
        self._proofs = [RoundTrip(each) for each in tokenizers]
        self._specials = [np.array(sorted(each.special_ids)) for each in tokenizers]
        self._digests, self._keys = bytearray(), bytearray()
        self._skipped, self._bad_records = Counter[str](), list[str]()
        self._cut = [Counter[str]() for _ in tokenizers]
        self._longest = [0] * len(tokenizers)
        self._num_documents = self.num_replaced = 0

    def skip(self, taken: Taken) -> None:
        """Note a document that is left out."""
        self._skipped[taken.reason] += 1
        if taken.problem:
            self._bad_records.append(taken.problem)

    def add(self, example: Example, name: str) -> int:
        """Encode an example for every store.

        Returns:
            Its tokens in the first.
        """
        if self._job.find_duplicates:
            self._digests += _hash(example.text)
        if not self._layout.is_text:
            self._keys += _hash(example.key)
        counts = [0] * len(self._tokenizers)
        for split, piece in self._job.rule.assign(example):
            for store in range(len(counts)):
                counts[store] += self._encode(store, split, piece, name)
        self._num_documents += 1
        return counts[0]

    def _encode(self, store: int, split: str, example: Example, name: str) -> int:
        tokenizer, builder = self._tokenizers[store], self._builders[store][split]

        def encode(text: str) -> npt.NDArray[Any]:
            ids = tokenizer.encode(text)
            self._proofs[store].add(text, ids)
            return ids

        try:
            found = self._layout.encode(example, tokenizer, encode, self._cut[store])
        except DataError as error:
            raise DataError(f"{name}: {str(error).rstrip('.')}") from error
        num_tokens = 0
        for each in found:
            builder.add(each.ids, self._text_of(store, example, each), self._num_documents, each.columns)
            num_tokens += len(each.ids) + 1
            self._longest[store] = max(self._longest[store], len(each.ids) + 1)
        return num_tokens

    def _text_of(self, store: int, example: Example, encoded: Encoded) -> str:
        if self._layout.is_text:
            return example.text
        ordinary = encoded.ids[~np.isin(encoded.ids, self._specials[store])]
        return self._tokenizers[store].decode(ordinary)

    def finish(self, unit: Chunk) -> ChunkResult:
        """Write the parts."""
        job, sizes = self._job, list[int]()
        hashes = Hashes(*(np.frombuffer(bytes(each), np.uint64).reshape(-1, 2) for each in (self._digests, self._keys)))
        train_tokens: list[int] = []
        num_tokens = 0
        for store, splits in enumerate(self._builders):
            parts: dict[str, Part] = {name: builder.build() for name, builder in splits.items()}
            sizes.append(write_parts(job.part_path(unit, store), parts, hashes))
            train_tokens.append(len(parts["train"].ids))
            if store == 0:
                num_tokens = sum(len(part.ids) for part in parts.values())
        return ChunkResult(
            job.key(unit),
            sizes,
            self._num_documents,
            train_tokens,
            num_tokens,
            self.num_replaced,
            dict(sorted(self._skipped.items())),
            [proof.counts for proof in self._proofs],
            self._bad_records[:MOST_NAMED],
            {what: count for what, count in sorted(self._cut[0].items()) if count},
            self._longest,
        )


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()

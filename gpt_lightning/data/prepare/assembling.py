"""Parts -> shards: the only step that sees the corpus as a whole, and therefore drops duplicates and ends at a limit.

Serial, but without tokenizing: it runs at the speed of copying. Its output depends on the order of the units alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.prepare.parts import Part, read_hashes, read_parts
from gpt_lightning.data.store.columns import Column
from gpt_lightning.data.store.manifest import SplitRecord
from gpt_lightning.data.store.shard_files import ShardWriter
from gpt_lightning.data.tokenizers.kinds import Tokenizer

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Assembled:
    """What went into the shards.

    Attributes:
        splits: Their records.
        dropped: Documents left out here, by reason.
        counts: Totals over all splits, see ``Manifest.counts``.
        keys: Hash of the key of every document of each split, ``(documents, 2)``; no rows for text.
    """

    splits: dict[str, SplitRecord]
    dropped: dict[str, int]
    counts: dict[str, int]
    keys: dict[str, npt.NDArray[np.uint64]]


def find_first_occurrences(digests: Sequence[npt.NDArray[np.uint64]]) -> list[Mask]:
    """Which documents are the first of their kind.

    Args:
        digests: Hashes of the documents of each unit, ``(documents, 2)``.

    Returns:
        For each unit a mask ``(documents,)``.
    """
    hashes = np.concatenate([np.empty((0, 2), np.uint64), *digests])
    # 16 bytes and an index per document; a Python set would take ten times that. The sort is stable, hence "first".
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    ordered = hashes[order]
    first = np.ones(len(hashes), dtype=bool)
    first[order[1:]] = (ordered[1:] != ordered[:-1]).any(axis=1)
    borders = np.cumsum([len(each) for each in digests])[:-1]
    return list(np.split(first, borders)) if digests else []


def read_masks(paths: Iterable[Path], num_documents: Iterable[int], find_duplicates: bool) -> list[Mask]:
    """Which documents of each unit are kept, before any limit."""
    if not find_duplicates:
        return [np.ones(count, dtype=bool) for count in num_documents]
    return find_first_occurrences([read_hashes(path).digests for path in paths])


def assemble(
    folder: Path,
    paths: Sequence[Path],
    masks: Sequence[Mask],
    tokenizer: Tokenizer,
    splits: Sequence[str],
    *,
    columns: Sequence[Column] = (),
    max_tokens: int | None = None,
    shard_tokens: int = 100_000_000,
) -> Assembled:
    """Write the shards of one store.

    Args:
        folder: Where they go; empty.
        paths: Parts of the units in order.
        masks: Which documents of each are kept.
        tokenizer: That made the parts.
        splits: Splits to write.
        columns: What stands beside the tokens.
        max_tokens: Documents from the one with which the training split would exceed this are left out.
        shard_tokens: Size at which a new shard begins.
    """
    tally = _Tally(tokenizer.vocab_size)
    limit = Limit(max_tokens)
    keys: dict[str, list[npt.NDArray[np.uint64]]] = {name: [np.empty((0, 2), np.uint64)] for name in splits}
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                ShardWriter(
                    folder,
                    name,
                    dtype=tokenizer.dtype.name,
                    eot_id=tokenizer.eot_id,
                    shard_tokens=shard_tokens,
                    columns=columns,
                )
            )
            for name in splits
        }
        for path, mask in zip(paths, masks, strict=True):
            parts = read_parts(path, splits)
            keep = limit.admit(parts["train"], mask)
            own = read_hashes(path).keys if columns else None
            for name, part in parts.items():
                chosen = part.select(keep[part.documents])
                writers[name].extend(chosen.ids, chosen.num_tokens, chosen.text_bytes, chosen.columns)
                if own is not None:
                    keys[name].append(own[chosen.documents])
                tally.add(chosen)
            tally.dropped["duplicates"] += len(mask) - int(mask.sum())
        records = {name: writer.finish() for name, writer in writers.items()}
    dropped = {reason: n for reason, n in tally.dropped.items() if n}
    return Assembled(records, dropped, tally.counts(), {name: np.concatenate(each) for name, each in keys.items()})


class Limit:
    """Lets documents in, unit after unit, until the training split is full.

    Args:
        max_tokens: Tokens of the training split; None = no limit.
    """

    def __init__(self, max_tokens: int | None) -> None:
        self._room = max_tokens

    def admit(self, train: Part, mask: Mask) -> Mask:
        """Documents of the next unit that enter.

        Args:
            train: Its part of the training split.
            mask: Documents that would enter without a limit.
        """
        if self._room is None:
            return mask
        tokens = np.bincount(train.documents, weights=train.num_tokens, minlength=len(mask)) * mask
        totals = np.cumsum(tokens)
        keep: Mask = mask & (totals <= self._room) if self._room > 0 else np.zeros(len(mask), dtype=bool)
        # Once a document did not fit, none behind it may.
        whole = keep.sum() == mask.sum()
        self._room = self._room - int(totals[-1] if len(totals) else 0) if whole else 0
        return keep


class _Tally:
    """Counts for the report."""

    def __init__(self, vocab_size: int) -> None:
        self._used = np.zeros(vocab_size, dtype=bool)
        self._characters = self._chinese_characters = self._chinese_tokens = 0
        self.dropped: Counter[str] = Counter()

    def add(self, part: Part) -> None:
        self._used[part.ids] = True
        chinese = part.chinese == 1
        self._characters += int(part.num_characters.sum())
        self._chinese_characters += int(part.num_characters[chinese].sum())
        # End-of-text is no token of the text.
        self._chinese_tokens += int((part.num_tokens[chinese] - 1).sum())

    def counts(self) -> dict[str, int]:
        return {
            "characters": self._characters,
            "chinese_characters": self._chinese_characters,
            "chinese_tokens": self._chinese_tokens,
            "unused_ids": int(len(self._used) - self._used.sum()),
        }

"""What of validation and test also stands in the training split: the same again, or nearly the same.

A random split of a corpus that holds texts twice measures what a model remembers: of a well known file of Chinese
reviews 86 % of the test rows stand in training, and a linear model on words gains eleven points by it. So a store of
labelled texts, conversations or preferences is compared with itself when it is made:

    the same          equal keys: the text (of a preference the prompt) without case, spacing and Unicode's variants
    nearly the same   at least four fifths of its runs of n tokens stand in training too, where n tokens are about as
                      long as 13 English words (the run length of Brown et al. 2020, appendix C); of a conversation runs
                      that end in an answer

The hash of the key keeps equal texts on one side, so with it only near copies are found. Memory is that of the runs of
the smaller splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.store.columns import MARKS
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.errors import DataError

_RUN_BYTES = 65.0
_SHARE = 0.8
_CHUNK = 1 << 22
_GOLDEN = 0x9E3779B97F4A7C15
_BASE = 0xD1342543DE82EF95  # odd, so that it has an inverse modulo 2^64

Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Leak:
    """What of a split stands in training too.

    Attributes:
        documents: Documents of the split.
        same: Of them, those whose key is in training.
        near: Of the others, those whose runs are.
    """

    documents: int
    same: int
    near: int

    @property
    def share(self) -> float:
        """Of the split's documents."""
        return (self.same + self.near) / max(1, self.documents)


def measure_leaks(splits: Mapping[str, TokenSplit], keys: Mapping[str, Keys]) -> dict[str, Leak]:
    """Compare the other splits with training.

    Args:
        splits: Those that hold documents, by name.
        keys: Hash of the key of every document of each, ``(documents, 2)``.
    """
    others = {name: split for name, split in splits.items() if name != "train"}
    if "train" not in splits or not others:
        return {}
    train = splits["train"]
    length = max(2, round(_RUN_BYTES * train.num_tokens / max(1, train.num_bytes)))
    same = {name: _stand_in(keys[name], keys["train"]) for name in others}
    near = _find_near(train, others, length)
    return {
        name: Leak(split.num_documents, int(same[name].sum()), int((near[name] & ~same[name]).sum()))
        for name, split in others.items()
    }


def check_leaks(leaks: Mapping[str, Leak], most: float) -> None:
    """Refuse a store of which too much stands on both sides.

    Args:
        leaks: By split.
        most: Largest share allowed.

    Raises:
        DataError: States the counts, and the ways out.
    """
    for name, leak in leaks.items():
        if leak.share > most:
            raise DataError(
                f"{leak.same + leak.near:,} of the {leak.documents:,} {name} documents stand in the training split too "
                f"({leak.same:,} the same, {leak.near:,} nearly the same), so measuring on them would flatter",
                got=round(leak.share, 3),
                allowed=f"data.max_leaked {most}",
                fix="Leave data.split_field out (a hash of the text keeps equal ones on one side), set "
                "data.drop_duplicates true, or allow it with --data.max_leaked 1.",
            )


def _stand_in(keys: Keys, known: Keys) -> npt.NDArray[np.bool_]:
    pair = np.dtype([("a", np.uint64), ("b", np.uint64)])
    return np.isin(
        np.ascontiguousarray(keys).view(pair).reshape(-1), np.ascontiguousarray(known).view(pair).reshape(-1)
    )


def _find_near(train: TokenSplit, others: Mapping[str, TokenSplit], length: int) -> dict[str, npt.NDArray[np.bool_]]:
    runs = {name: _collect_runs(split, length) for name, split in others.items()}
    wanted = np.unique(np.concatenate([hashes for hashes, _ in runs.values()]))
    seen = np.zeros(len(wanted), dtype=bool)
    for hashes, _ in _iterate_runs(train, length):
        seen |= np.isin(wanted, hashes)
    found = {}
    for name, (hashes, documents) in runs.items():
        count = others[name].num_documents
        hits = np.bincount(documents, weights=seen[np.searchsorted(wanted, hashes)], minlength=count)
        found[name] = hits >= _SHARE * np.maximum(1, np.bincount(documents, minlength=count))
    return found


def _collect_runs(split: TokenSplit, length: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    found = list(_iterate_runs(split, length))
    none = (np.empty(0, np.uint64), np.empty(0, np.int64))
    hashes, documents = zip(none, *found, strict=True)
    return np.concatenate(hashes), np.concatenate(documents)


def _iterate_runs(split: TokenSplit, length: int) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]]:
    """Hash and document of every run of ``length`` tokens inside a document, some documents at a time."""
    ends = split.document_ends
    starts = np.concatenate([[0], ends[:-1]])
    marked = any(column.name == MARKS for column in split.layout.columns) if split.layout is not None else False
    first = 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + _CHUNK, side="right")))
        begins, lengths = starts[first:last], ends[first:last] - starts[first:last]
        places = np.cumsum(lengths) - lengths
        tokens = np.empty(int(lengths.sum()), dtype=split.dtype)
        split.copy_runs(tokens, places, begins, lengths)
        # A run begins behind the end-of-text in front of its document.
        documents = np.repeat(np.arange(first, last), lengths)
        inside = np.arange(len(tokens)) - np.repeat(places, lengths)
        whole = (inside >= 1) & (inside + length <= np.repeat(lengths, lengths))
        count = max(0, len(tokens) - length + 1)
        if marked:
            marks = np.empty(len(tokens), dtype=np.uint8)
            split.copy_runs(marks, places, begins, lengths, MARKS)
            whole[:count] &= marks[length - 1 :].astype(bool)
        yield hash_runs(tokens, length)[whole[:count]], documents[np.flatnonzero(whole)]
        first = last


def hash_runs(tokens: npt.NDArray[np.unsignedinteger], length: int) -> npt.NDArray[np.uint64]:
    """A hash of every run of ``length`` tokens: ``sum_j mix(token_j) x base^j`` modulo 2^64, ``(runs,)``."""
    if len(tokens) < length:
        return np.empty(0, dtype=np.uint64)
    words = tokens.astype(np.uint64) * np.uint64(_GOLDEN)
    words ^= words >> np.uint64(29)
    powers = np.cumprod(np.full(len(tokens), _BASE, dtype=np.uint64))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words * powers, dtype=np.uint64)])
    inverse = np.cumprod(np.full(len(tokens), pow(_BASE, -1, 1 << 64), dtype=np.uint64))
    count = len(tokens) - length + 1
    hashes: npt.NDArray[np.uint64] = (sums[length:] - sums[:-length]) * inverse[:count]
    return hashes

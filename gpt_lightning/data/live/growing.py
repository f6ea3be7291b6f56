"""A store that is read while it is being made: the same tokens at the same places, as far as it has come.

A finished store is the parts of its units in order, without duplicates and up to the limit. Both are decided by what
came before, so the place of every token is known as soon as its unit is there: ``Growth`` takes the units in order and
numbers their tokens as ``assembling`` will. What is read never depends on when: a reader waits for the tokens it needs
(``GrowingStore.wait``). When the finished store appears, the splits change over to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Integer, UInt

from gpt_lightning.data.prepare.assembling import Limit, Mask
from gpt_lightning.data.prepare.chunks import UnitPlan
from gpt_lightning.data.prepare.parts import Part
from gpt_lightning.data.store.manifest import Manifest, SplitRecord
from gpt_lightning.data.store.shards import TokenSplit, TokenStore
from gpt_lightning.data.tokenizers.kinds import from_description


class PartGone(Exception):
    """A part that was there before is not there now: it became part of the store, or is being made again."""

    def __init__(self, unit: int) -> None:
        super().__init__(unit)
        self.unit = unit


@dataclass(frozen=True)
class UnitParts:
    """What one unit gave.

    Attributes:
        parts: By split.
        digests: Hash of each document, ``(documents, 2)``; no rows where duplicates are not looked for.
    """

    parts: dict[str, Part]
    digests: npt.NDArray[np.uint64]


class PartSupply(ABC):
    """Where the parts of a corpus come from.

    Attributes:
        num_units: Units in all.
    """

    num_units: int

    @abstractmethod
    def load(self, unit: int) -> UnitParts | None:
        """The parts of a unit; None while they are not there.

        Raises:
            DataError: They never will be.
        """

    @abstractmethod
    def find_store(self) -> TokenStore | None:
        """The finished store, once it is there."""

    @abstractmethod
    def pause(self, advice: str = "") -> None:
        """Wait a moment for the next unit.

        Args:
            advice: What the user could do about it.

        Raises:
            DataError: It will not come.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop making parts."""


class Growth:
    """Units taken in order: which documents enter, and where their tokens stand.

    Args:
        supply: Their parts.
        splits: Names of the splits.
        drop_duplicates: See ``PrepareSettings``.
        max_tokens: See ``PrepareSettings``.
        keep_tokens: Parts used last are kept in memory up to so many tokens.

    Attributes:
        num_units: Units taken.
        borders: For each split, the first token of each unit and the number of tokens.
        ends: For each split and unit, where its documents end, in tokens from the unit's start.
        text_bytes: For each split, UTF-8 bytes behind the tokens.
    """

    def __init__(
        self,
        supply: PartSupply,
        splits: Sequence[str],
        *,
        drop_duplicates: bool = False,
        max_tokens: int | None = None,
        keep_tokens: int = 1 << 25,
    ) -> None:
        self.supply = supply
        self._drop_duplicates, self._limit, self._keep_tokens = drop_duplicates, Limit(max_tokens), keep_tokens
        self._seen: set[bytes] = set()
        self._masks: list[Mask | None] = []  # None = all
        self._held: OrderedDict[int, dict[str, npt.NDArray[Any]]] = OrderedDict()
        self.num_units = 0
        self.borders: dict[str, list[int]] = {name: [0] for name in splits}
        self.ends: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in splits}
        self.text_bytes = dict.fromkeys(splits, 0)

    @property
    def is_complete(self) -> bool:
        """Whether all units are taken."""
        return self.num_units == self.supply.num_units

    def advance(self) -> bool:
        """Take the next unit if it is there."""
        found = None if self.is_complete else self.supply.load(self.num_units)
        if found is None:
            return False
        count = max((int(part.documents.max()) + 1 for part in found.parts.values() if len(part.documents)), default=0)
        mask = self._limit.admit(found.parts["train"], self._first_occurrences(found.digests, count))
        self._masks.append(None if mask.all() else mask)
        chosen = {name: part.select(mask[part.documents]) for name, part in found.parts.items()}
        for name, part in chosen.items():
            self.borders[name].append(self.borders[name][-1] + len(part.ids))
            self.ends[name].append(np.cumsum(part.num_tokens))
            self.text_bytes[name] += int(part.text_bytes.sum())
        self._hold(self.num_units, chosen)
        self.num_units += 1
        return True

    def _first_occurrences(self, digests: npt.NDArray[np.uint64], count: int) -> Mask:
        if not self._drop_duplicates:
            return np.ones(count, dtype=bool)
        first = np.zeros(len(digests), dtype=bool)
        for number, row in enumerate(digests):
            digest = row.tobytes()
            first[number] = digest not in self._seen
            self._seen.add(digest)
        return first

    def ids(self, split: str, unit: int) -> npt.NDArray[Any]:
        """Tokens of a unit that was taken, ``(tokens,)``.

        Raises:
            PartGone: They are not to be had at the moment.
        """
        if unit not in self._held:
            found = self.supply.load(unit)
            if found is None:
                raise PartGone(unit)
            mask = self._masks[unit]
            self._hold(
                unit,
                found.parts
                if mask is None
                else {name: part.select(mask[part.documents]) for name, part in found.parts.items()},
            )
        self._held.move_to_end(unit)
        return self._held[unit][split]

    def _hold(self, unit: int, parts: dict[str, Part]) -> None:
        self._held[unit] = {name: part.ids for name, part in parts.items()}
        sizes = {number: sum(map(len, ids.values())) for number, ids in self._held.items()}
        while sum(sizes.values()) > self._keep_tokens and len(self._held) > 1:
            oldest, _ = self._held.popitem(last=False)
            del sizes[oldest]

    def forget(self) -> None:
        """Let go of everything: the finished store is there."""
        self._held.clear()
        self._seen.clear()
        self._masks.clear()


class _Ids:
    """The ids of one split by unit."""

    def __init__(self, growth: Growth, split: str) -> None:
        self._growth, self._split = growth, split

    def __getitem__(self, index: int, /) -> npt.NDArray[Any]:
        return self._growth.ids(self._split, index)

    def __len__(self) -> int:
        return self._growth.num_units


class GrowingSplit(TokenSplit):
    """A split of a store that is being made; ``num_tokens`` and all other counts are those of the moment."""

    def __init__(self, store: GrowingStore, name: str) -> None:
        growth = store.growth
        super().__init__(
            name,
            SplitRecord([], ""),
            _Ids(growth, name),
            growth.ends[name],
            eot_id=store.manifest.eot_id,
            dtype=store.manifest.dtype,
        )
        self._store, self._growth = store, growth
        self.refresh()

    def refresh(self) -> None:
        """Take note of units that arrived."""
        borders = self._growth.borders[self.name]
        self._borders = np.array(borders)
        self.num_tokens = borders[-1]
        self.num_documents = sum(map(len, self._growth.ends[self.name]))
        self.num_bytes = self._growth.text_bytes[self.name]
        self.__dict__.pop("document_ends", None)

    def adopt(self, finished: TokenSplit) -> None:
        """Read from the finished store from now on."""
        assert finished.num_tokens >= self.num_tokens
        self.record, self._shards, self._ends = finished.record, finished._shards, finished._ends
        self._borders, self.num_tokens = finished._borders, finished.num_tokens
        self.num_documents, self.num_bytes = finished.num_documents, finished.num_bytes
        self.__dict__.pop("document_ends", None)

    def wait(self, num_tokens: int, advice: str = "") -> bool:
        """Wait until there are so many tokens; False when there never will be.

        Args:
            num_tokens: Tokens of this split.
            advice: See ``GrowingStore.wait``.

        Raises:
            DataError: Preparing failed.
        """
        return self._store.wait(lambda: self.num_tokens >= num_tokens, advice)

    def gather(self, starts: Integer[np.ndarray, " count"], length: int) -> UInt[np.ndarray, "count length"]:
        """Copies of the runs ``[start, start + length)``, all of which have arrived."""
        while True:
            try:
                return super().gather(starts, length)
            except PartGone as gone:
                self._store.recover(gone.unit)


class GrowingStore(TokenStore):
    """A store that is being made.

    Args:
        path: Where it will be.
        plan: What it will be.
        settings: What it is made of, plain.
        growth: Its units.
        finished: The store itself, when it is there already.

    Attributes:
        growth: Its units.
        while_waiting: Called again and again while something is waited for; raises to end the wait.
    """

    growth: Growth
    while_waiting: Callable[[], None]

    def __init__(
        self,
        path: Path,
        plan: UnitPlan,
        settings: dict[str, Any],
        growth: Growth,
        finished: TokenStore | None = None,
    ) -> None:
        tokenizer = from_description(plan.tokenizer)
        manifest = Manifest(
            settings=settings,
            tokenizer=plan.tokenizer,
            vocab_size=tokenizer.vocab_size,
            eot_id=tokenizer.eot_id,
            dtype=tokenizer.dtype.name,
            splits={},
            inputs=[],
            split_rule=plan.split_rule,
        )
        super().__init__(path, manifest)
        self._fingerprint = plan.fingerprint
        self.growth = growth
        self.while_waiting = lambda: None
        self._finished: TokenStore | None = None
        self._split_names = plan.splits
        if finished is not None:
            self._adopt(finished)

    @property
    def fingerprint(self) -> str:
        """Of the inputs and settings: the same before and after the store is finished."""
        return self._fingerprint

    def close(self) -> None:
        """Stop making it; what is finished stays finished."""
        self.growth.supply.close()

    def verify(self) -> None:
        """Wait for the finished store and verify that.

        Raises:
            DataError: Names the damaged file, or says why the store was not finished.
        """
        self.wait(lambda: self._finished is not None)
        assert self._finished is not None
        self._finished.verify()

    def _open_split(self, name: str) -> TokenSplit:
        if name not in self._split_names:
            self._find_record(name)
        split = GrowingSplit(self, name)
        if self._finished is not None:
            split.adopt(self._finished.split(name))
        return split

    def wait(self, enough: Callable[[], bool], advice: str = "") -> bool:
        """Wait until enough of the store is there.

        Args:
            enough: Says so.
            advice: What the user could do about a long wait; said with it.

        Returns:
            False when everything is there and it is not enough.

        Raises:
            DataError: Preparing failed.
        """
        while not enough():
            if self._finished is not None:
                return False
            if self.growth.advance():
                self._refresh()
            elif not self._change_over():
                if self.growth.is_complete:
                    return False
                self._pause(advice)
        return True

    def recover(self, unit: int) -> None:
        """Wait until a part that went away is there again, or the finished store in its place."""
        while not self._change_over() and self.growth.supply.load(unit) is None:
            self._pause()

    def _pause(self, advice: str = "") -> None:
        self.while_waiting()
        self.growth.supply.pause(advice)

    def _refresh(self) -> None:
        for split in self._splits.values():
            assert isinstance(split, GrowingSplit)
            split.refresh()

    def _change_over(self) -> bool:
        found = None if self._finished is not None else self.growth.supply.find_store()
        if found is not None:
            self._adopt(found)
        return found is not None

    def _adopt(self, finished: TokenStore) -> None:
        for name, split in self._splits.items():
            assert isinstance(split, GrowingSplit)
            split.adopt(finished.split(name))
        self._finished = finished
        self.growth.forget()


POLL_SECONDS = 0.05
"""Between two looks at what has arrived."""

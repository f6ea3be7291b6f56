"""Packing: how documents share the rows of a batch. A policy is a class; the configuration names it.

    data.packing    rows                                                cut documents        padding
    Concat          the running text, cut anywhere                      most long ones       none
    Pack            whole documents side by side, by a plan             those longer than    less than 0.1 %
                                                                        a row, few others
    Document        one document each                                   those longer than    much, for short documents
                                                                        a row

None of them keeps attention inside documents; ``data.document_mask`` does, with any of them. With all of them, masked
or not, a document's last token has the end token as its target, or a model would never learn to stop; the first token
of *another* document is no target where attention cannot know of it. Validation cuts its split in the same way as
training, so that a model is measured on what it is trained for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.packing_plan import WindowPlan, find_or_make, plan_documents, plan_packed
from gpt_lightning.data.stream.windows import MovingRuns, PlannedWindows, Runs, Windows
from gpt_lightning.errors import ConfigError, DataError


class Packing(ABC):
    """How one split becomes windows."""

    @abstractmethod
    def train(self, split: TokenSplit, block_size: int, seed: int) -> Windows:
        """The windows to train on.

        Raises:
            DataError: The split does not fill a single one.
        """

    @abstractmethod
    def evaluate(self, split: TokenSplit, block_size: int) -> Windows:
        """The windows to measure on: every token that follows another in its document is a target exactly once.

        So is the end of every document, except that running text has none behind its last one.
        """

    def describe(self) -> dict[str, Any]:
        """Plain values that tell one policy from another."""
        return {"class": type(self).__name__, **vars(self)}


class Concat(Packing):
    """The text runs on from document to document and is cut every ``block_size`` tokens, anew in every epoch."""

    def train(self, split: TokenSplit, block_size: int, seed: int) -> Windows:
        """Windows that move by a random offset from epoch to epoch."""
        return MovingRuns(split, block_size, seed)

    def evaluate(self, split: TokenSplit, block_size: int) -> Windows:
        """Windows side by side."""
        return Runs(split, block_size)


class _Planned(Packing):
    """A policy that makes a plan."""

    @abstractmethod
    def plan(self, split: TokenSplit, block_size: int) -> WindowPlan:
        """The plan of a split: from the cache, or made now."""

    def train(self, split: TokenSplit, block_size: int, seed: int) -> Windows:
        """The planned windows; their cuts do not depend on the seed."""
        return self.evaluate(split, block_size)

    def evaluate(self, split: TokenSplit, block_size: int) -> Windows:
        """The planned windows."""
        plan = self.plan(split, block_size)
        if plan.num_windows == 0:
            raise DataError(
                f"No document of the {split.name} split has two tokens, so there is nothing to predict",
                got=f"{split.num_documents} documents",
                fix="Add text, or set --data.packing Concat.",
            )
        return PlannedWindows(split, block_size, plan)


class Pack(_Planned):
    """Whole documents side by side, fitted by best-fit-decreasing; cut only where padding would be too much.

    Args:
        min_fill: Share of the places that must hold tokens; documents are cut until it is reached.
    """

    def __init__(self, min_fill: float = 0.999) -> None:
        if not 0 < min_fill <= 1:
            raise ConfigError(
                "data.packing.min_fill is a share", got=min_fill, allowed="0 < share <= 1", fix="Write 0.999."
            )
        self.min_fill = min_fill

    def plan(self, split: TokenSplit, block_size: int) -> WindowPlan:
        """Few rows, few cuts."""
        key = ("pack", split.record.sha256, block_size, str(self.min_fill))
        return find_or_make(lambda: plan_packed(split.document_ends, block_size, self.min_fill), *key)


class Document(_Planned):
    """One document per row, the rest of the row padding; a longer document takes several rows."""

    def plan(self, split: TokenSplit, block_size: int) -> WindowPlan:
        """As many rows as documents, or more."""
        key = ("document", split.record.sha256, block_size)
        return find_or_make(lambda: plan_documents(split.document_ends, block_size), *key)

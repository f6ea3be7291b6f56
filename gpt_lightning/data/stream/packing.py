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

What stands beside the tokens (``data.layout``) belongs to whole documents: they are never cut then, and running text is
refused. Documents that belong together (a chosen and a rejected answer) have rows side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from gpt_lightning.data.store.columns import LayoutRecord
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.mismatched import MismatchedWindows
from gpt_lightning.data.stream.packing_plan import WindowPlan, find_or_make, plan_documents, plan_packed
from gpt_lightning.data.stream.windows import MovingRuns, PlannedWindows, Runs, Windows
from gpt_lightning.errors import ConfigError, DataError


class Packing(ABC):
    """How one split becomes windows.

    Attributes:
        shares_rows: Whether several documents may stand in one row.
    """

    shares_rows: ClassVar[bool] = True

    def check_layout(self, layout: LayoutRecord) -> None:  # noqa: B027 (most documents may be whole everywhere)
        """Refuse documents that this policy would cut or part.

        Args:
            layout: What they are.

        Raises:
            ConfigError: It would.
        """

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
        self._check(split)
        return MovingRuns(split, block_size, seed)

    def evaluate(self, split: TokenSplit, block_size: int) -> Windows:
        """Windows side by side."""
        self._check(split)
        return Runs(split, block_size)

    def check_layout(self, layout: LayoutRecord) -> None:
        """None may be cut."""
        raise ConfigError(
            f"data.packing Concat cuts documents anywhere, and those of a store of {layout.name} are whole",
            got="Concat",
            allowed="Document, or Pack with data.document_mask",
            fix="Set --data.packing Document.",
        )

    def _check(self, split: TokenSplit) -> None:
        if split.layout is not None:
            self.check_layout(split.layout)


class _Planned(Packing):
    """A policy that makes a plan."""

    def describe(self) -> dict[str, Any]:
        """With what tells these windows from those of version 0.1.0, in which no document ended with a target."""
        return {**super().describe(), "targets": "with the end of each document"}

    @abstractmethod
    def plan(self, split: TokenSplit, block_size: int) -> WindowPlan:
        """The plan of a split: from the cache, or made now."""

    def train(self, split: TokenSplit, block_size: int, seed: int) -> Windows:
        """The planned windows; their cuts do not depend on the seed."""
        return self.evaluate(split, block_size)

    def evaluate(self, split: TokenSplit, block_size: int) -> Windows:
        """The planned windows."""
        _check_whole(split, block_size)
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
        """Few rows, few cuts; none where something belongs to whole documents."""
        if split.layout is not None:
            self.check_layout(split.layout)
        min_fill = self.min_fill if split.layout is None else 0.0
        key = ("pack", split.record.sha256, block_size, str(min_fill))
        return find_or_make(lambda: plan_packed(split.document_ends, block_size, min_fill), *key)

    def check_layout(self, layout: LayoutRecord) -> None:
        """Those that belong together have no rows side by side."""
        if layout.rows_per_sample > 1:
            raise ConfigError(
                f"data.packing Pack would part what belongs together in a store of {layout.name}",
                got="Pack",
                allowed="Document",
                fix="Set --data.packing Document.",
            )


class Document(_Planned):
    """One document per row, the rest of the row padding; a longer document takes several rows."""

    shares_rows = False

    def evaluate(self, split: TokenSplit, block_size: int) -> Windows:
        """A row for each document; of rated answers one more, see ``mismatched``."""
        if split.layout is None or not split.layout.mismatched:
            return super().evaluate(split, block_size)
        _check_whole(split, block_size)
        return MismatchedWindows(split, block_size)

    def plan(self, split: TokenSplit, block_size: int) -> WindowPlan:
        """As many rows as documents, or more."""
        key = ("document", split.record.sha256, block_size)
        return find_or_make(lambda: plan_documents(split.document_ends, block_size), *key)


def check_rows(
    layout: LayoutRecord | None, packing: Packing, document_mask: bool, batch_size: int, eval_batch_size: int
) -> None:
    """What belongs to whole documents must not be mixed up between them, nor what belongs together be parted.

    Args:
        layout: Of the store; None = text.
        packing: How documents share rows.
        document_mask: As data.document_mask.
        batch_size: Rows of a micro-batch.
        eval_batch_size: Rows of a batch in validation.

    Raises:
        ConfigError: Names the setting.
    """
    if layout is None:
        return
    if packing.shares_rows and not document_mask:
        raise ConfigError(
            f"Documents of a store of {layout.name} that share a row would see each other",
            got=f"data.packing {type(packing).__name__}, data.document_mask false",
            allowed="Document" if layout.rows_per_sample > 1 else "Document, or Pack with data.document_mask true",
            fix="Set --data.packing Document.",
        )
    packing.check_layout(layout)
    for name, rows in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
        if rows % layout.rows_per_sample:
            raise ConfigError(
                f"data.{name} would part what belongs together: a sample of {layout.name} is "
                f"{layout.rows_per_sample} rows",
                got=rows,
                allowed=f"a multiple of {layout.rows_per_sample}",
                fix=f"Set --data.{name} {rows + layout.rows_per_sample - rows % layout.rows_per_sample}.",
            )


def _check_whole(split: TokenSplit, block_size: int) -> None:
    if split.layout is not None and split.layout.longest > block_size:
        raise DataError(
            f"A store of {split.layout.name} keeps documents whole, and they have up to {split.layout.longest} tokens",
            got=f"block_size {block_size}",
            allowed=f"block_size >= {split.layout.longest}",
            fix=f"Prepare with data.layout.max_tokens {block_size}, or use a larger block_size.",
        )

"""The nouns that travel from the data to the loss, and the words used everywhere.

Words:
    window      one sequence of ``time`` training positions, stored as ``time + 1`` token ids
    micro-step  one forward and backward pass over one micro-batch
    step        one optimizer step; it consumes one *global batch* of
                ``batch_size x devices x nodes x accumulate_grad_batches`` windows
    sample      one window, counted globally from the start of training: sample k is the same window whatever the
                number of processes or the size of the micro-batch
    Length      a duration written as steps (``500``), tokens (``"20M tokens"``) or a share of the run (``"5%"``)

Axes (types / short comments):
    batch B   time T   embed C   heads H   head D   vocab V
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int, Integer, Real
from torch import Tensor

IGNORE_INDEX = -100
"""Label of a position that must not count (torch's own default for cross-entropy)."""


@dataclass
class Batch:
    """One micro-batch as it leaves the data room.

    Attributes:
        tokens: Ids, one more per row than there are training positions, because objectives shift, mask or corrupt on
            the device. May be a narrow integer type (uint16) until it has reached the device.
        weights: Weight of every *predicted* position (time = tokens.shape[1] - 1), 0 = must not count; None = all 1.
            The last token of a document predicts its end token, even where that is the first token of the next one.
        documents: Document number of every token, where attention must not cross documents; None = ignore borders.
            Without weights, no position counts whose target is the first token of another document.
        samples: Global number of the sample in every row, which all randomness of an objective is a function of
            (``objectives.draws``), so that a resumed or re-partitioned run draws the same numbers; rows that belong to
            one sample have the same. None = the rows are counted from ``position``.
        columns: What else the store holds about the rows (labels, marks, ...) by name; the first axis is the batch.
        position: Global number of the first sample in this micro-batch. Dropout is seeded from it.
    """

    tokens: Integer[Tensor, "batch _time_plus_1"]
    weights: Float[Tensor, "batch _time"] | None = None
    documents: Int[Tensor, "batch _time_plus_1"] | None = None
    samples: Int[Tensor, " batch"] | None = None
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    position: int = 0

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on ``device``; Lightning calls this to move a batch."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def part(self, rows: slice) -> Batch:
        """Some of its rows (views), which stay the samples that they are."""
        first = rows.indices(len(self.tokens))[0]
        return replace(self.number_rows()._map(lambda tensor: tensor[rows]), position=self.position + first)

    def number_rows(self) -> Batch:
        """The batch with ``samples``: its own, or counted from ``position``."""
        if self.samples is not None:
            return self
        count = torch.arange(self.tokens.shape[0], device=self.tokens.device)
        return replace(self, samples=self.position + count)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Every tensor as ``change`` makes it."""

        def optional(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        return replace(
            self,
            tokens=change(self.tokens),
            weights=optional(self.weights),
            documents=optional(self.documents),
            samples=optional(self.samples),
            columns={name: change(column) for name, column in self.columns.items()},
        )


@dataclass(frozen=True)
class Predictions:
    """What an objective with labels says of its items: the documents of each row, or its tokens.

    Attributes:
        values: Probabilities of all labels, or one number (a regression's); detached.
        answers: What is known: the place among the labels, a mark for each label, or a number.
        counted: Items that are there and have an answer.
        ends: Position of the last token of each.
    """

    values: Float[Tensor, "batch items labels"]
    answers: Real[Tensor, "batch items ..."]
    counted: Bool[Tensor, "batch items"]
    ends: Int[Tensor, "batch items"]


@dataclass
class LossOutput:
    """What an objective returns.

    Attributes:
        loss: Mean over the counted positions (or rows), the number to differentiate; nats for language objectives.
        weight: How much the mean counts when batches are put together: the sum of the weights.
        parts: Further means to log under ``<stage>/part/<name>``, detached.
        part_weights: How much a part counts when batches are put together, where that is not ``weight``.
        losses: Loss of every position in nats, detached; for validation metrics. None for objectives without tokens.
        weights: Weight of every position in ``losses``.
        targets: Token id that every position had to predict; for bits per byte.
        predictions: Of objectives with labels.
    """

    loss: Float[Tensor, ""]
    weight: Float[Tensor, ""]
    parts: dict[str, Tensor] = field(default_factory=dict)
    part_weights: dict[str, Tensor] = field(default_factory=dict)
    losses: Float[Tensor, "batch time"] | None = None
    weights: Float[Tensor, "batch time"] | None = None
    targets: Int[Tensor, "batch time"] | None = None
    predictions: Predictions | None = None

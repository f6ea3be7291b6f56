"""What a validation leaves behind beside its means: loss of every position, first windows, worst tokens, confusions."""

from __future__ import annotations

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from gpt_lightning.batch import Batch, Predictions
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.metrics.sums import to_double
from gpt_lightning.tracking.texts import WorstToken

_TEXT_BEFORE = 16


class ValidationLosses:
    """Collects batch by batch, on the device.

    Args:
        worst: How many of the worst tokens to keep.
        rows: How many of the first windows to keep whole.
    """

    def __init__(self, worst: int, rows: int) -> None:
        self._most, self._rows = worst, rows
        self._sums: Tensor | None = None
        self._first: Tensor | None = None
        self._worst: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, batch: Batch, losses: Tensor, weights: Tensor | None, targets: Tensor) -> None:
        """One batch.

        Args:
            batch: Its tokens, one more a row than there are losses.
            losses: Nats of every position.
            weights: Of every position; 0 = does not count.
            targets: Id that every position had to predict.
        """
        counted = torch.ones_like(losses) if weights is None else (weights > 0).to(losses.dtype)
        losses = losses * counted
        sums = to_double(torch.stack([losses.sum(0), counted.sum(0)]))
        self._sums = sums if self._sums is None else self._sums + sums
        if self._first is None:
            self._first = losses[: self._rows].clone()
        if self._most:
            self._keep_worst(batch, losses, targets)

    def _keep_worst(self, batch: Batch, losses: Tensor, targets: Tensor) -> None:
        values, places = losses.flatten().topk(min(self._most, losses.numel()))
        rows, columns = places // losses.shape[1], places % losses.shape[1]
        found = torch.stack([rows + batch.position, columns, targets[rows, columns]], dim=1)
        texts = batch.tokens[rows]
        if self._worst is not None:
            values, found, texts = (torch.cat(pair) for pair in zip(self._worst, (values, found, texts), strict=True))
            values, order = values.topk(min(self._most, len(values)))
            found, texts = found[order], texts[order]
        self._worst = (values, found, texts)

    def by_position(self, strategy: Strategy | None) -> list[tuple[float, float]]:
        """Position (1 for the first) and mean loss there.

        Args:
            strategy: Of several processes that call this together; None = there is one.
        """
        sums = self._sums
        if sums is None:
            return []
        if strategy is not None:
            sums = strategy.reduce(sums, reduce_op="sum")
            assert isinstance(sums, Tensor)
        totals, counts = sums.tolist()
        pairs = zip(totals, counts, strict=True)
        return [(float(place), total / count) for place, (total, count) in enumerate(pairs, 1) if count]

    def first_rows(self) -> Tensor | None:
        """Losses of the first windows; None without any."""
        return None if self._first is None else torch.nan_to_num(self._first.float(), 0.0, 0.0, 0.0)

    def worst(self, tokenizer: Tokenizer) -> list[WorstToken]:
        """The worst tokens of this process's share, the worst first."""
        if self._worst is None:
            return []
        values, found, texts = (part.tolist() for part in self._worst)
        return [
            WorstToken(
                loss=value,
                before=tokenizer.decode(ids[max(0, column + 1 - _TEXT_BEFORE) : column + 1]),
                token=tokenizer.decode([target]),
                window=row,
                position=column + 1,
            )
            for value, (row, column, target), ids in zip(values, found, texts, strict=True)
            if value > 0
        ]


class Confusions:
    """How often which label was taken for which, of objectives with one label for each item."""

    def __init__(self) -> None:
        self._counts: Tensor | None = None

    def add(self, found: Predictions | None) -> None:
        """One batch; nothing where it has no such labels."""
        if found is None or found.answers.is_floating_point() or found.answers.shape != found.counted.shape:
            return
        labels = found.values.shape[-1]
        chosen, answers = found.values.argmax(dim=-1), found.answers.long()
        pairs = (answers * labels + chosen)[found.counted]
        counts = torch.bincount(pairs, minlength=labels * labels).view(labels, labels)
        self._counts = counts if self._counts is None else self._counts + counts

    def shares(self, strategy: Strategy | None) -> Tensor | None:
        """Of the items of each label (row), the share that was taken for each (column); None without labels.

        Args:
            strategy: As of ``ValidationLosses.by_position``.
        """
        counts = self._counts
        if counts is None:
            return None
        if strategy is not None:
            reduced = strategy.reduce(counts, reduce_op="sum")
            assert isinstance(reduced, Tensor)
            counts = reduced
        return counts / counts.sum(dim=1, keepdim=True).clamp_min(1)

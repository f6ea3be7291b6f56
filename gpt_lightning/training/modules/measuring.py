"""What a validation measures: the objective's own measures, and the causal loss beside them.

    val/loss             the objective's own, the one that is monitored
    val/clm_loss         of the same text under CausalLM: the one scale on which objectives compare
    val/bits_per_byte    that loss in bits per byte of text
    val/loss/<source>    the own loss by source of a mixture

CausalLM's own loss is the causal one, so it shows no ``clm_loss`` and needs no second pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torchmetrics import Metric, MetricCollection

from gpt_lightning.batch import LossOutput, Predictions
from gpt_lightning.metrics.language import TokenLoss
from gpt_lightning.objectives.base import Context, Objective
from gpt_lightning.objectives.causal import measure_text


class Measures(nn.Module):
    """Sums over a split, on the device of the model.

    Args:
        objective: Says what it measures itself.
        context: Of the text.
        sources: Sources of a mixture, each with a loss of its own; none where the data are one.
    """

    def __init__(self, objective: Objective, context: Context, sources: Sequence[str] = ()) -> None:
        super().__init__()
        self.own = _collect(objective.measures(context))
        causal = {} if objective.is_causal_lm else {"clm_loss": TokenLoss(), **measure_text(context)}
        self.causal = _collect({name: metric for name, metric in causal.items() if name not in self.own})
        self.sources = nn.ModuleDict({name: TokenLoss() for name in sources})

    def names(self) -> list[str]:
        """Of all measures over a whole split."""
        return [str(name) for metrics in (self.own, self.causal) for name in metrics]

    def update(self, output: LossOutput, causal: LossOutput, source: str | None) -> None:
        """Add a batch.

        Args:
            output: Of the objective.
            causal: Of CausalLM.
            source: Where in a mixture the batch comes from.
        """
        self.own.update(output)
        self.causal.update(causal)
        if source is not None:
            self._source(source).update(output)

    def compute(self, stage: str, sources: Sequence[str]) -> dict[str, Any]:
        """Every measure under its name; the next batch begins anew.

        Args:
            stage: What the names begin with.
            sources: Those that this split has.
        """
        values = {**self.own.compute(), **self.causal.compute()}
        values |= {f"loss/{name}": self._source(name).compute() for name in sources}
        self.own.reset()
        self.causal.reset()
        for name in sources:
            self._source(name).reset()
        return {f"{stage}/{name}": value for name, value in values.items()}

    def _source(self, name: str) -> TokenLoss:
        loss = self.sources[name]
        assert isinstance(loss, TokenLoss)
        return loss


def _collect(metrics: dict[str, Metric]) -> MetricCollection:
    # torchmetrics would let metrics share sums that are equal after the first batch, for good: those of tokens and of
    # bytes are, where every token of it is one byte.
    return MetricCollection({**metrics}, compute_groups=False)


def positions_of(output: LossOutput, predictions: Predictions | None) -> dict[str, Any] | None:
    """Losses, weights and targets of every position, and predicted labels, for callbacks; None without losses."""
    if output.losses is None:
        return None
    positions = {"losses": output.losses, "weights": output.weights, "targets": output.targets}
    return {**positions, "predictions": predictions}

"""Predictive coding: hidden states also predict what comes, not as a token but as a vector.

    ContrastivePredictive   which of the row's tokens comes k steps ahead: its embedding is told from those of the
                            others, InfoNCE (van den Oord et al. 2018)
    Regression              the decoder's own state k steps ahead: mean squared error

"Predictive coding" of language models means three things in the literature: this contrastive form, prediction of
further tokens (``multi_token``) and of states to come. Every step has a linear predictor of its own; what is predicted
is held still (no gradient), so that it cannot move to where it is easy to predict. The tokens to choose from are those
of the row, so that neither a micro-batch nor a process changes a loss.

>>> import math
>>> constant, tokens = torch.ones(1, 4, 8).double(), torch.tensor([[5, 6, 7, 8]])
>>> losses, hits = info_nce(constant, constant, tokens, torch.ones(1, 4))
>>> bool((losses - math.log(4)).abs().max() < 1e-12)  # nothing is known: one of four
True
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor, nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.additions import Addition, Part
from gpt_lightning.objectives.base import Context, Learner
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption
from gpt_lightning.objectives.multi_token import move_up, number_documents


class _Predictive(Addition):
    """The base's loss, and that of vectors predicted some steps ahead.

    Args:
        steps: How far ahead, 1 to so many steps; 0 = the base alone, to the bit.
        weight: Of the mean loss of the steps.
        base: What the decoder learns.

    Raises:
        ConfigError: A value is out of range.
    """

    _name: str

    def __init__(self, steps: int, weight: float, base: Corruption) -> None:
        super().__init__(base, weight)
        if steps < 0:
            raise ConfigError("objective.steps is a count", got=steps, allowed="0 or more")
        self._steps = steps

    def build_extras(self, config: GPTConfig, context: Context) -> nn.ModuleDict:
        """A linear predictor for every step, which begins as no change."""
        if self._steps == 0:
            return nn.ModuleDict()
        predictors = [nn.Linear(config.n_embd, config.n_embd, bias=False) for _ in range(self._steps)]
        for predictor in predictors:
            nn.init.eye_(predictor.weight)
        return nn.ModuleDict({self._name: nn.ModuleList(predictors)})

    def _names(self) -> list[str]:
        return [f"{self._name}_{step}" for step in range(1, self._steps + 1)]

    def _predict(
        self, learner: Learner, corrupted: Corrupted, hidden: Float[Tensor, "batch time embed"]
    ) -> Iterator[tuple[str, int, Float[Tensor, "batch time embed"], Float[Tensor, "batch time"]]]:
        """Name, steps ahead, vectors and their weights: 0 where the token so far ahead is none of the document."""
        numbers, weights = number_documents(corrupted, learner.context), corrupted.weights
        if weights is None:
            weights = torch.ones(corrupted.targets.shape, device=hidden.device)
        predictors = learner.extras[self._name]
        assert isinstance(predictors, nn.ModuleList)
        for step, (name, predictor) in enumerate(zip(self._names(), predictors, strict=True), start=1):
            inside = move_up(numbers, step - 1, fill=-1) == numbers
            yield name, step, predictor(hidden), move_up(weights, step - 1) * inside

    @abstractmethod
    def _add(self, learner: Learner, corrupted: Corrupted, hidden: Float[Tensor, "batch time embed"]) -> Iterator[Part]:
        """The loss of every step."""


class ContrastivePredictive(_Predictive):
    """The base's loss, and InfoNCE of the tokens ahead.

    The score of a token is the product of the predicted vector with its embedding, divided by the root of the width.
    Other positions with the very token that comes are not among those it is told from.

    Args:
        steps: How far ahead, 1 to so many steps; 0 = the base alone, to the bit.
        weight: Of the mean loss of the steps.
        base: What the decoder learns.
    """

    _name = "contrastive"

    def __init__(self, steps: int = 3, weight: float = 0.1, base: Corruption = CausalLM()) -> None:
        super().__init__(steps, weight, base)

    def _add(self, learner: Learner, corrupted: Corrupted, hidden: Float[Tensor, "batch time embed"]) -> Iterator[Part]:
        choices = learner.model.token_embedding(corrupted.targets).detach()
        allowed = torch.ones_like(corrupted.targets) if corrupted.weights is None else corrupted.weights
        for name, step, predicted, weights in self._predict(learner, corrupted, hidden):
            ahead = move_up(corrupted.targets, step - 1)
            losses, _ = info_nce(predicted, choices, corrupted.targets, allowed, ahead)
            yield name, losses, weights


class Regression(_Predictive):
    """The base's loss, and the squared error of the decoder's own states ahead, a mean over the channels.

    Args:
        steps: How far ahead, 1 to so many steps; 0 = the base alone, to the bit.
        weight: Of the mean loss of the steps.
        base: What the decoder learns.
    """

    _name = "regression"

    def __init__(self, steps: int = 1, weight: float = 0.1, base: Corruption = CausalLM()) -> None:
        super().__init__(steps, weight, base)

    def _add(self, learner: Learner, corrupted: Corrupted, hidden: Float[Tensor, "batch time embed"]) -> Iterator[Part]:
        numbers = number_documents(corrupted, learner.context)
        for name, step, predicted, weights in self._predict(learner, corrupted, hidden):
            states = torch.nn.functional.pad(hidden.detach()[:, step:], (0, 0, 0, step))
            inside = move_up(numbers, step, fill=-1) == numbers
            yield name, (_widen(predicted) - _widen(states)).square().mean(dim=-1), weights * inside


def info_nce(
    predicted: Float[Tensor, "batch time embed"],
    choices: Float[Tensor, "batch choices embed"],
    tokens: Int[Tensor, "batch choices"],
    allowed: Real[Tensor, "batch choices"],
    wanted: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """Cross-entropy in nats of finding the right vector among those of the row, and 1 where it is the nearest.

    Args:
        predicted: What every position says of the right vector.
        choices: The vectors to choose from.
        tokens: Which token each of them stands for; equal tokens have equal vectors, and count once.
        allowed: Above 0 = may be chosen.
        wanted: The right token of every position; None = that of the choice in its place.
    """
    wanted = tokens if wanted is None else wanted
    predicted, choices = _widen(predicted), _widen(choices)
    scores = predicted @ choices.transpose(1, 2) / predicted.shape[-1] ** 0.5  # B T choices
    right = wanted[:, :, None] == tokens[:, None, :]
    usable = (allowed > 0)[:, None, :]
    # A right vector that stands several times is one: the first of its places holds it.
    first = right & (right.cumsum(dim=2) == 1)
    score = torch.where(first, scores, 0.0).sum(dim=2)
    others = scores.masked_fill(right | ~usable, -torch.inf)
    together = torch.cat([score[:, :, None], others], dim=2)
    losses = together.logsumexp(dim=2) - score
    return losses, (score > others.amax(dim=2)).to(losses)


def _widen(values: Tensor) -> Tensor:
    """In float32 at least."""
    return values if values.dtype == torch.float64 else values.float()

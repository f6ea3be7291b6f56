"""Learning from preferences: of two answers the better one, or of one answer whether it was liked.

    DPO   pairs   -log sigmoid(beta d)                       Rafailov et al. 2023, equation 7
    IPO   pairs   (d - 1 / (2 beta))^2, means over tokens    Azar et al. 2023, equation 17
    ORPO  pairs   -log p(chosen) - share log sigmoid(o)      Hong et al. 2024, equations 6 and 7; no reference
    KTO   rated   1 - sigmoid(+-beta (r - z))                Ethayarajh et al. 2024, equation 8

    r = log pi(answer | prompt) - log reference(answer | prompt), d = r(chosen) - r(rejected)
    o = log odds(chosen) - log odds(rejected), odds = p / (1 - p) of the mean probability of a token

The reference is the model that training began from. Its log-probabilities never change, so they are computed once per
store and come with the rows (column ``reference``), not from a second model in every step.

Rows come in twos, see ``data.layouts.conversations``: chosen and rejected; or a rated answer and the same prompt with
somebody else's answer. The loss is a mean over pairs (or rated answers), whatever their length.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.data.store.columns import MARKS
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Learner, Needs, Objective, Total
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.losses import compute_losses
from gpt_lightning.objectives.sft import weigh_marks

if TYPE_CHECKING:
    from torchmetrics import Metric

REFERENCE = "reference"
"""Column of the reference's log-probabilities: nats, the sum over an answer's tokens, for each row of a sample."""
DESIRABLE = "desirable"
"""Column of what was liked, of a layout of rated answers."""


@dataclass(frozen=True)
class Answers:
    """What a model says of the answers of both rows of every sample.

    Attributes:
        log_probabilities: Sum over the tokens of each answer, in nats.
        lengths: Marked tokens of each; 0 where a row is padding.
    """

    log_probabilities: Float[Tensor, "samples 2"]
    lengths: Float[Tensor, "samples 2"]

    @property
    def counted(self) -> Bool[Tensor, " samples"]:
        """Samples that are no padding."""
        return (self.lengths > 0).all(dim=1)

    def mean(self) -> Float[Tensor, "samples 2"]:
        """Log-probability per token."""
        return self.log_probabilities / self.lengths.clamp_min(1)


def read_answers(learner: Learner, batch: Batch, chunk_size: int | None = None) -> Answers:
    """Log-probabilities of the marked tokens of rows that come in twos, in float32 or wider."""
    tokens, documents, weights = batch.tokens.long(), batch.documents, weigh_marks(batch)
    hidden = learner.model(tokens[:, :-1], documents=None if documents is None else documents[:, :-1])
    losses = compute_losses(learner.model, hidden, tokens[:, 1:], chunk_size)
    # Not the product of both: a token without a weight may be impossible, and 0 x inf is no number.
    sums = torch.where(weights > 0, losses, 0.0).sum(dim=1)
    return Answers(-sums.view(-1, 2), (weights > 0).sum(dim=1).to(sums.dtype).view(-1, 2))


class _Paired(Objective):
    """A loss of samples that are two rows each.

    Args:
        chunk_size: As in ``CausalLM``.
    """

    unit = "per pair"
    reference_width = 1
    parts: tuple[str, ...] = ()

    def __init__(self, chunk_size: int | None = None) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ConfigError("objective.chunk_size is not positive", got=chunk_size, allowed="1 or more, or null")
        self.chunk_size = chunk_size

    def needs(self, config: GPTConfig) -> Needs:
        """Marked answers in rows that come in twos, and what the reference says of them."""
        return Needs(columns=(MARKS,), rows_per_sample=2, reference=self.reference_width)

    def measures(self, context: Context) -> dict[str, Metric]:
        """The loss and its parts."""
        from gpt_lightning.metrics.language import PartLoss, TokenLoss

        return {"loss": TokenLoss(), **{name: PartLoss(name) for name in self.parts}}

    def _rewards(self, answers: Answers, batch: Batch) -> Float[Tensor, "samples 2"]:
        """By how much every answer has become likelier than the reference has it, in nats."""
        if REFERENCE not in batch.columns:
            raise ConfigError(
                f"{type(self).__name__} compares with a reference, and the rows come without what it says of them",
                got=", ".join(batch.columns) or "no columns",
                fix="Train with gpt-lightning fit or gpt_lightning.build(...).fit(), which compute it.",
            )
        numbers = batch.columns[REFERENCE].reshape(len(batch.tokens), self.reference_width)
        # Of a pair each row is a document with one number; of a rated answer both rows are the same document.
        reference = numbers.view(-1, 2) if self.reference_width == 1 else numbers[::2]
        return answers.log_probabilities - reference.to(answers.log_probabilities.dtype)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"objective.{name} is not positive", got=value, allowed="above 0")


class Pairwise(_Paired):
    """A loss of chosen and rejected answers to one prompt."""

    parts = ("accuracy", "margin")

    @abstractmethod
    def compare(self, answers: Answers, batch: Batch) -> tuple[Float[Tensor, " samples"], Float[Tensor, " samples"]]:
        """Loss of every pair, and by how much the chosen answer is ahead (more than 0 = right)."""

    def __call__(self, learner: Learner, batch: Batch, draws: Draws) -> LossOutput:
        """The mean over the pairs; draws nothing."""
        answers = read_answers(learner, batch, self.chunk_size)
        losses, margins = self.compare(answers, batch)
        counted = answers.counted
        ahead = (margins > 0).to(losses.dtype)
        loss, weight = _mean(losses, counted)
        parts = {"accuracy": _mean(ahead, counted)[0], "margin": _mean(margins, counted)[0].detach()}
        return LossOutput(loss=loss, weight=weight, parts=parts)


def _mean(values: Float[Tensor, " samples"], counted: Bool[Tensor, " samples"]) -> tuple[Tensor, Tensor]:
    weight = counted.sum().to(values.dtype)
    return torch.where(counted, values, 0.0).sum() / weight.clamp_min(1), weight


class DPO(Pairwise):
    """Direct preference optimization.

    Args:
        beta: Price of moving away from the reference; small = moves far.
        label_smoothing: Probability that a preference is the wrong way round (conservative DPO), 0 to below 0.5.
        chunk_size: As in ``CausalLM``.
    """

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)
        _check_positive("beta", beta)
        if not 0 <= label_smoothing < 0.5:
            raise ConfigError("objective.label_smoothing is a probability", got=label_smoothing, allowed="0 to 0.5")
        self.beta, self.label_smoothing = beta, label_smoothing

    def compare(self, answers: Answers, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss and margin of every pair; the margin is in rewards, beta times nats."""
        chosen, rejected = self._rewards(answers, batch).unbind(dim=1)
        margin = self.beta * (chosen - rejected)
        wrong = self.label_smoothing
        return -(1 - wrong) * F.logsigmoid(margin) - wrong * F.logsigmoid(-margin), margin


class IPO(Pairwise):
    """Identity preference optimization: the margin is pulled to a fixed size instead of ever further.

    Args:
        beta: The margin (nats per token) is pulled to 1 / (2 beta).
        chunk_size: As in ``CausalLM``.
    """

    def __init__(self, beta: float = 0.1, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)
        _check_positive("beta", beta)
        self.beta = beta

    def compare(self, answers: Answers, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss and margin of every pair; the margin is in nats per token."""
        chosen, rejected = (self._rewards(answers, batch) / answers.lengths.clamp_min(1)).unbind(dim=1)
        margin = chosen - rejected
        return (margin - 1 / (2 * self.beta)) ** 2, margin


class ORPO(Pairwise):
    """Odds-ratio preference optimization: supervised fine-tuning on the chosen answer and a preference in one loss.

    Args:
        share: Weight of the preference.
        chunk_size: As in ``CausalLM``.
    """

    reference_width = 0

    def __init__(self, share: float = 0.1, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)
        _check_positive("share", share)
        self.share = share

    def compare(self, answers: Answers, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss and log odds ratio of every pair."""
        chosen, rejected = answers.mean().unbind(dim=1)
        odds = (chosen - rejected) - (_log_rest(chosen) - _log_rest(rejected))
        return -chosen - self.share * F.logsigmoid(odds), odds


def _log_rest(log_probabilities: Float[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    """log(1 - p); a p of 1, which rounding makes of an answer known by heart, would give minus infinity."""
    below_one = log_probabilities.clamp_max(-torch.finfo(log_probabilities.dtype).eps)
    return torch.log(-torch.expm1(below_one))


class KTO(_Paired):
    """Kahneman-Tversky optimization: liked answers become likelier, disliked ones less, each alone.

    How far the model has moved altogether, z, is the mean over the answers behind the wrong prompts of a whole step,
    at least 0 and without a gradient. It is that of the step *before*, and 0 at the start, where model and reference
    are one: so the loss of a sample does not depend on which others share its micro-batch, process or step.

    Args:
        beta: As in ``DPO``.
        desirable_weight: Of liked answers.
        undesirable_weight: Of disliked ones; desirable_weight x liked : undesirable_weight x disliked should lie
            between 1 : 1 and 4 : 3.
        chunk_size: As in ``CausalLM``.
    """

    unit = "per rated answer"
    reference_width = 2
    parts = ("accuracy", "kl")

    def __init__(
        self,
        beta: float = 0.1,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(chunk_size)
        for name, value in (("beta", beta), ("desirable_weight", desirable_weight)):
            _check_positive(name, value)
        _check_positive("undesirable_weight", undesirable_weight)
        self.beta, self.weights = beta, (undesirable_weight, desirable_weight)

    def needs(self, config: GPTConfig) -> Needs:
        """The judgements as well."""
        return Needs(columns=(MARKS, DESIRABLE), rows_per_sample=2, reference=self.reference_width)

    def build_extras(self, config: GPTConfig, context: Context) -> nn.ModuleDict:
        """The distance moved, and what will be the next."""
        return nn.ModuleDict({"distance": StepMean()})

    def __call__(self, learner: Learner, batch: Batch, draws: Draws) -> LossOutput:
        """The mean over the rated answers, weighted; draws nothing."""
        answers = read_answers(learner, batch, self.chunk_size)
        rewards, counted = self._rewards(answers, batch), answers.counted
        distance = learner.extras["distance"]
        assert isinstance(distance, StepMean)
        moved = distance.value.clamp_min(0).to(rewards.dtype)
        if learner.model.training:
            distance.add(rewards[:, 1], counted)
        liked = batch.columns[DESIRABLE].reshape(len(rewards), -1)[:, 0].bool()
        losses = judge(rewards[:, 0], liked, moved, self.beta)
        weights = torch.where(liked, self.weights[1], self.weights[0]).to(losses.dtype)
        loss, weight = _mean(losses * weights, counted)
        right = ((rewards[:, 0] > moved) == liked).to(losses.dtype)
        parts = {"accuracy": _mean(right, counted)[0], "kl": _mean(rewards[:, 1], counted)[0].detach()}
        return LossOutput(loss=loss, weight=weight, parts=parts)

    def close_step(self, learner: Learner, total: Total) -> None:
        """The mean of this step is what the next one uses."""
        distance = learner.extras["distance"]
        assert isinstance(distance, StepMean)
        distance.close(total)


class StepMean(nn.Module):
    """A mean over all samples of a step, for the step after it; the same for every split into micro-batches.

    Attributes:
        value: Of the last step; 0 before the first.
    """

    value: Tensor
    sum: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("value", "sum", "count"):
            self.register_buffer(name, torch.zeros(()))

    def add(self, values: Float[Tensor, " samples"], counted: Bool[Tensor, " samples"]) -> None:
        """Count the samples of a micro-batch."""
        self.sum += torch.where(counted, values.detach(), 0.0).sum()
        self.count += counted.sum()

    def close(self, total: Total) -> None:
        """End the step; where nothing was counted the value stays."""
        sums, count = total(self.sum), total(self.count)
        self.value.copy_(torch.where(count > 0, sums / count.clamp_min(1), self.value))
        self.sum.zero_()
        self.count.zero_()


def judge(
    rewards: Float[Tensor, " samples"], liked: Bool[Tensor, " samples"], moved: Tensor, beta: float
) -> Float[Tensor, " samples"]:
    """KTO's loss of every answer, 0 to 1.

    Args:
        rewards: log pi - log reference, in nats.
        liked: Whether the answer was.
        moved: The point both sides are measured from, in nats.
        beta: Steepness.
    """
    ahead = beta * (rewards - moved)
    return 1 - torch.sigmoid(torch.where(liked, ahead, -ahead))

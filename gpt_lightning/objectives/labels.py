"""What a text is: one of several classes, any of several, a number; or what every word of it is.

    Classify        one of the labels          layout Labelled         cross-entropy
    MultiLabel      any of them                layout MultiLabelled    binary cross-entropy of every label
    Regress         a number                   layout Regression       squared error
    TokenClassify   a label for each word      layout Tagged           cross-entropy at each word's last token

A linear map (``extras.score``, no bias, as other libraries load it) of the decoder's state behind the text: of its last
token, which has seen all of it, or the mean over its tokens. Where a text ends is said by the data (column ``ends``),
not looked for among padding; packed texts count like texts in rows of their own. With a pair the state has seen both.

The loss is a mean over texts (or words), weighted by class where that is asked for; in float32 or wider. Labels and
their order are those of the store, and go into the checkpoint: ``objectives.classifier`` loads it to label texts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gpt_lightning.batch import Batch, LossOutput, Predictions
from gpt_lightning.data.store.columns import ENDS
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.pooling import pool
from gpt_lightning.objectives.base import Context, Learner, Needs, Objective
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.readouts import AnyLabels, Number, OneLabel, Readout
from gpt_lightning.optim.groups import Role

if TYPE_CHECKING:
    from torchmetrics import Metric

Pooling = Literal["last", "mean"]
ClassWeights = dict[str, float] | Literal["balanced"]
HEAD, BALANCE = "score", "balance"
"""Names of the head and of the weights of labels among the extras."""
_SPREAD = 0.02
"""Of the head's initial values."""


class Labelling(Objective):
    """An objective with a head on the decoder's states.

    Attributes:
        column: Of the store, with the answers.
        readout: What the head's numbers mean.
        class_weights: Of labels, by name; or that they are those that make all labels count alike.
    """

    column: ClassVar[str]
    readout: ClassVar[Readout]
    class_weights: Mapping[str, float] | Literal["balanced"] = {}

    def needs(self, config: GPTConfig) -> Needs:
        """The answers, and for balanced weights how many of each."""
        return Needs(columns=(self.column,), label_shares=self.class_weights == "balanced")

    def build_extras(self, config: GPTConfig, context: Context) -> nn.ModuleDict:
        """The head, and balanced weights: a checkpoint keeps what its training data said.

        Raises:
            ConfigError: A weight is of a label that the data have not.
        """
        head = nn.Linear(config.n_embd, self.count_outputs(context), bias=False)
        nn.init.normal_(head.weight, std=_SPREAD)
        extras: dict[str, nn.Module] = {HEAD: head}
        if isinstance(self.class_weights, str):
            extras[BALANCE] = Balance([self.balance(share, len(context.labels)) for share in context.label_shares])
        else:
            _list_weights(self.class_weights, context, torch.empty(0))
        return nn.ModuleDict(extras)

    @staticmethod
    def balance(share: float, labels: int) -> float:
        """Weight of a label that a share of the items have, so that all count alike and an item 1 in the mean.

        That of scikit-learn's "balanced": items / (labels x items of the label). 1 for a label that never occurs.
        """
        return 1 / (labels * share) if share > 0 else 1.0

    def _weigh(self, learner: Learner, like: Tensor) -> Float[Tensor, " labels"]:
        if isinstance(self.class_weights, str):
            balance = learner.extras[BALANCE]
            assert isinstance(balance, Balance)
            return balance.weights.to(like)
        return _list_weights(self.class_weights, learner.context, like)

    def roles(self) -> Mapping[str, Role]:
        """The head is one."""
        return {HEAD: "head"}

    def describe_use(self, context: Context) -> dict[str, Any]:
        """Which objective it was, and its labels in order."""
        return {"objective": type(self).__name__, "labels": list(context.labels)}

    def count_outputs(self, context: Context) -> int:
        """Numbers that the head gives: one for each label."""
        return len(context.labels)

    def __call__(self, learner: Learner, batch: Batch, draws: Draws) -> LossOutput:
        """The weighted mean over the items that have an answer; draws nothing."""
        documents = batch.documents
        hidden = learner.model(batch.tokens[:, :-1].long(), documents=None if documents is None else documents[:, :-1])
        states, ends = self.gather(hidden, batch)
        outputs = learner.extras[HEAD](states)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        answers = self.read_answers(batch)
        counted = (ends >= 0) & self.is_answer(answers)
        if batch.weights is not None:
            counted = counted & (batch.weights.sum(dim=1, keepdim=True) > 0)
        losses, weights = self.compare(outputs[counted], answers[counted], self._weigh(learner, outputs))
        weight = weights.sum()
        # Without the clamp a batch that is all padding would give 0 / 0.
        loss = (losses * weights).sum() / weight.clamp_min(torch.finfo(weight.dtype).tiny)
        predictions = Predictions(self.readout.read(outputs.detach()), answers, counted, ends)
        return LossOutput(loss=loss, weight=weight, predictions=predictions)

    @abstractmethod
    def gather(
        self, hidden: Float[Tensor, "batch time embed"], batch: Batch
    ) -> tuple[Float[Tensor, "batch items embed"], Int[Tensor, "batch items"]]:
        """A state for each item of each row, and the position of its last token; below 0 = there is no such item."""

    def read_answers(self, batch: Batch) -> Tensor:
        """What is known of each item, ``(batch, items)`` or ``(batch, items, labels)``."""
        return batch.columns[self.column]

    def is_answer(self, answers: Tensor) -> Tensor:
        """Which items have one, ``(batch, items)``."""
        return torch.ones(answers.shape[:2], dtype=torch.bool, device=answers.device)

    @abstractmethod
    def compare(
        self, outputs: Float[Tensor, "found labels"], answers: Tensor, weights: Float[Tensor, " classes"]
    ) -> tuple[Tensor, Tensor]:
        """Loss and weight of items that have an answer, ``(found,)`` each.

        Args:
            outputs: Of the head.
            answers: What is known.
            weights: Of the labels; none where there are no labels.
        """


class Balance(nn.Module):
    """Weights of the labels, in their order."""

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))


class _Pooled(Labelling):
    """Whole texts.

    Args:
        pooling: Which state stands for a text: of its last token, or the mean.
    """

    def __init__(self, pooling: Pooling) -> None:
        self.pooling = pooling

    def describe_use(self, context: Context) -> dict[str, Any]:
        """The pooling as well."""
        return {**super().describe_use(context), "pooling": self.pooling}

    def gather(
        self, hidden: Float[Tensor, "batch time embed"], batch: Batch
    ) -> tuple[Float[Tensor, "batch items embed"], Int[Tensor, "batch items"]]:
        """One state for every text."""
        ends = batch.columns[ENDS].long()
        return pool(hidden, ends, self.pooling), ends


class _Classes(Labelling):
    """One of the labels for every item.

    Args:
        class_weights: Weight of the items of a label, by its name, where that is not 1; balanced = all labels count
            alike.
        label_smoothing: Share of every answer that is spread over all labels, 0 to below 1.
    """

    def __init__(self, class_weights: ClassWeights | None, label_smoothing: float) -> None:
        _check_smoothing(label_smoothing)
        self.class_weights, self.label_smoothing = _check_weights(class_weights), label_smoothing

    def is_answer(self, answers: Tensor) -> Tensor:
        """Where a label stands."""
        return answers >= 0

    def compare(
        self, outputs: Float[Tensor, "found labels"], answers: Tensor, weights: Float[Tensor, " classes"]
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats."""
        answers = answers.long()
        losses = F.cross_entropy(outputs, answers, label_smoothing=self.label_smoothing, reduction="none")
        return losses, weights[answers]

    def measures(self, context: Context) -> dict[str, Metric]:
        """The loss, and how right the labels are."""
        from gpt_lightning.metrics.language import TokenLoss
        from gpt_lightning.metrics.predictions import measure_classes

        return {"loss": TokenLoss(), **measure_classes(len(context.labels))}


class Classify(_Classes, _Pooled):
    """Which of the labels a text has: cross-entropy in nats, of a softmax over them.

    Args:
        pooling: Which state stands for a text: of its last token, or the mean over its tokens.
        class_weights: Weight of the texts of a label, by its name, where that is not 1: {"rare": 5.0}; balanced = all
            labels of the training data count alike.
        label_smoothing: Share of every answer that is spread over all labels, 0 to below 1.

    Raises:
        ConfigError: A value is out of range.
    """

    column = "label"
    readout = OneLabel()
    unit = "nats per text"

    def __init__(
        self,
        pooling: Pooling = "last",
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        _Pooled.__init__(self, pooling)
        _Classes.__init__(self, class_weights, label_smoothing)


class TokenClassify(_Classes):
    """Which of the labels each word has, at its last token: cross-entropy in nats.

    The decoder has seen what stands before a word, and nothing behind it.

    Args:
        class_weights: Weight of the words of a label, by its name, where that is not 1; balanced = all labels count
            alike.
        label_smoothing: As in ``Classify``.

    Raises:
        ConfigError: A value is out of range.
    """

    column = "tags"
    readout = OneLabel()
    unit = "nats per word"

    def __init__(self, class_weights: ClassWeights | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(class_weights, label_smoothing)

    def gather(
        self, hidden: Float[Tensor, "batch time embed"], batch: Batch
    ) -> tuple[Float[Tensor, "batch items embed"], Int[Tensor, "batch items"]]:
        """Every token's own."""
        return hidden, torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[:2])

    def read_answers(self, batch: Batch) -> Tensor:
        """The label of each token that ends a word."""
        return batch.columns[self.column][:, :-1]


class MultiLabel(_Pooled):
    """Which of the labels a text has, any number of them: mean binary cross-entropy in nats over the labels.

    Args:
        pooling: As in ``Classify``.
        class_weights: Weight of a label where it holds, by its name, where that is not 1; above 1 finds more of them.
            balanced = each counts where it holds as much as where it does not.
        label_smoothing: Every answer is so far from certain: 0 and 1 become half of it and one less half of it.

    Raises:
        ConfigError: A value is out of range.
    """

    column = "labels"
    readout = AnyLabels()
    unit = "nats per label"

    def __init__(
        self,
        pooling: Pooling = "last",
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(pooling)
        _check_smoothing(label_smoothing)
        self.class_weights, self.label_smoothing = _check_weights(class_weights), label_smoothing

    def compare(
        self, outputs: Float[Tensor, "found labels"], answers: Tensor, weights: Float[Tensor, " classes"]
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy; every text counts once."""
        targets = answers.to(outputs.dtype) * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=weights, reduction="none")
        return losses.mean(dim=-1), losses.new_ones(len(losses))

    @staticmethod
    def balance(share: float, labels: int) -> float:
        """Weight of a label where it holds, so that it counts as much as where it does not."""
        return (1 - share) / share if 0 < share < 1 else 1.0

    def measures(self, context: Context) -> dict[str, Metric]:
        """The loss, and how right the labels are."""
        from gpt_lightning.metrics.language import TokenLoss
        from gpt_lightning.metrics.predictions import measure_marks

        return {"loss": TokenLoss(), **measure_marks(len(context.labels))}


class Regress(_Pooled):
    """A number that belongs to a text: squared error.

    Args:
        pooling: As in ``Classify``.
    """

    column = "value"
    readout = Number()
    unit = "squared error per text"

    def __init__(self, pooling: Pooling = "last") -> None:
        super().__init__(pooling)

    def count_outputs(self, context: Context) -> int:
        """One."""
        return 1

    def compare(
        self, outputs: Float[Tensor, "found labels"], answers: Tensor, weights: Float[Tensor, " classes"]
    ) -> tuple[Tensor, Tensor]:
        """Squared error; every text counts once."""
        return (outputs[:, 0] - answers.to(outputs.dtype)).square(), outputs.new_ones(len(outputs))

    def measures(self, context: Context) -> dict[str, Metric]:
        """The loss, correlation and mean squared error."""
        from gpt_lightning.metrics.language import TokenLoss
        from gpt_lightning.metrics.predictions import measure_numbers

        return {"loss": TokenLoss(), **measure_numbers()}


def _check_smoothing(value: float) -> None:
    if not 0 <= value < 1:
        raise ConfigError("objective.label_smoothing is a share", got=value, allowed="0 to below 1")


def _check_weights(weights: ClassWeights | None) -> ClassWeights:
    if isinstance(weights, str):
        return weights
    if wrong := {name: value for name, value in (weights or {}).items() if not value > 0}:
        raise ConfigError("objective.class_weights are above 0", got=wrong, fix="Correct the weight.")
    return dict(weights or {})


def _list_weights(weights: Mapping[str, float], context: Context, like: Tensor) -> Float[Tensor, " labels"]:
    """Weights in the order of the labels, 1 where none is given."""
    if unknown := sorted(set(weights) - set(context.labels)):
        raise ConfigError(
            "objective.class_weights names labels that the data have not",
            got=unknown,
            allowed=", ".join(context.labels),
            fix="Correct the name.",
        )
    return torch.tensor([weights.get(name, 1.0) for name in context.labels], dtype=like.dtype, device=like.device)


READOUTS: dict[str, Readout] = {each.__name__: each.readout for each in (Classify, MultiLabel, Regress, TokenClassify)}
"""By the name of the objective, as checkpoints have it."""

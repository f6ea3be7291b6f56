"""The interface between a model and what it learns.

needs         before text is prepared and the model is made: special tokens, columns, room
build_extras  modules of its own beside the decoder, with the ``roles`` that its optimizer gives them
__call__      (learner, batch, draws) -> loss, for training and validation
measures      what a validation shows
step_values   everything in it that depends on the step and on the length of the run
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Int
from torch import Tensor, nn

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.model.attention_mask import Sight
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.optim.groups import Role
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import Schedule

if TYPE_CHECKING:  # torchmetrics takes seconds to import, which whoever only uses a model should not wait for
    from torchmetrics import Metric


@dataclass(frozen=True)
class Needs:
    """What an objective asks of text and model before either is there.

    Attributes:
        special_tokens: Names of tokens of its own ("<mask>"); the vocabulary gets them.
        columns: Names of columns of the store.
        room: Positions that it adds to a window; the model gets so many more than ``data.block_size``, so that nothing
            has to be cut off.
        rows_per_sample: Rows of a batch that make one sample, 2 for pairs.
        reference: Numbers of the column ``reference`` for each document: what the model that training begins from says
            of its marked tokens, in nats; with a second one of another document's behind its prompt. 0 = none.
        label_shares: Whether it asks how often each label occurs in its column.
    """

    special_tokens: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    room: int = 0
    rows_per_sample: int = 1
    reference: int = 0
    label_shares: bool = False


@dataclass(frozen=True)
class Scheduled:
    """A number that changes over the run: ``base`` times a schedule's factor (0 to 1)."""

    base: float
    schedule: Schedule

    def at(self, step: int, horizon: Horizon) -> float:
        """Its value in the optimizer step ``step`` (0 = the first)."""
        return self.base * self.schedule.factor(step, horizon)


@dataclass(frozen=True)
class Context:
    """What a run tells its objective beside model and batch.

    Attributes:
        vocab_size: Ids of the text; special tokens that an objective brought may lie above them.
        eot_id: The end-of-text token.
        special_ids: Ids of the special tokens that the objective needs, by name.
        token_bytes: UTF-8 bytes of text behind every id; None = not known.
        texts: Bytes of every id of the text, empty for special tokens; () = not known.
        labels: Names of the classes in the order of the store; () = there are none.
        label_shares: Share of the training items that have each of them, 0 to 1; () = nobody asked.
        values: The objective's ``step_values`` in this step; in evaluation their ``base``, so that a validation is the
            same number whenever and in however long a run it is done.
    """

    vocab_size: int = 0
    eot_id: int = 0
    special_ids: Mapping[str, int] = field(default_factory=dict)
    token_bytes: Int[Tensor, " vocab"] | None = None
    texts: Sequence[bytes] = ()
    labels: tuple[str, ...] = ()
    label_shares: tuple[float, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Learner:
    """What learns.

    Attributes:
        model: The decoder.
        extras: What the objective built beside it.
        context: Of the run, now.
    """

    model: GPT
    extras: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    context: Context = field(default_factory=Context)


Total = Callable[[Tensor], Tensor]
"""A number of this process -> its sum over all."""


class Objective(ABC):
    """A loss that is a function of learner, batch and draws alone.

    Rules every objective keeps (checked by its contract tests):

    - positions of weight 0 change neither the loss nor a gradient;
    - all its randomness comes from ``draws``: the same samples give the same loss, in whatever micro-batches;
    - ``loss`` is a weighted mean and ``weight`` the sum of its weights, so that
      ``sum(loss x weight) / sum(weight)`` over the parts of a split batch is the loss of the whole;
    - what depends on the step comes from ``learner.context.values``, which holds what ``step_values`` declares and
      nothing else.

    Attributes:
        is_causal_lm: Whether its loss is that of next-token prediction on the text as it is; of all others a
            validation shows that loss as well.
        unit: Of the loss.
        chunk_size: Positions (of all rows together) whose logits exist at a time; None = all.
    """

    is_causal_lm: ClassVar[bool] = False
    unit: ClassVar[str] = "nats per token"
    chunk_size: int | None = None

    def needs(self, config: GPTConfig) -> Needs:
        """What it asks of text and model.

        Args:
            config: Its ``block_size`` is that of the windows; ``vocab_size`` may still be open.
        """
        return Needs()

    def build_extras(self, config: GPTConfig, context: Context) -> nn.ModuleDict:
        """Modules of its own, trained with the decoder and saved under ``extras.``.

        Args:
            config: Complete. Initial values come from torch's global generator, which is seeded for it.
            context: What the data are.
        """
        return nn.ModuleDict()

    def describe_use(self, context: Context) -> dict[str, Any]:
        """What its checkpoints say of how to use them, plain data; empty = as a language model."""
        return {}

    def sights(self) -> frozenset[Sight]:
        """What the decoder learns to see of a text; whoever runs it later reads prompts so (``GPT.reads_openly``)."""
        return frozenset({"causal"})

    def roles(self) -> Mapping[str, Role]:
        """Optimizer roles of extras, by the beginning of a parameter's name; others are found by their shape."""
        return {}

    @abstractmethod
    def __call__(self, learner: Learner, batch: Batch, draws: Draws) -> LossOutput:
        """The loss of one micro-batch.

        Args:
            learner: Decoder and extras, in training or evaluation mode.
            batch: On the model's device; its ids may still be of a narrow integer type.
            draws: Random numbers of its rows.
        """

    def close_step(self, learner: Learner, total: Total) -> None:  # noqa: B027 (most have nothing to do)
        """Called once behind all micro-batches of a step, before its update.

        Args:
            learner: As in the step.
            total: Adds up a number over all processes.
        """

    def measures(self, context: Context) -> dict[str, Metric]:
        """What a validation shows of it under ``val/``, fed with its ``LossOutput``; "loss" is what is monitored."""
        from gpt_lightning.metrics.language import TokenLoss

        return {"loss": TokenLoss()}

    def step_values(self) -> Mapping[str, Scheduled]:
        """Everything that depends on the step and on the length of the run, by name.

        Each step's values are part of the key under which runs share their first steps (``training.reuse``).
        """
        return {}

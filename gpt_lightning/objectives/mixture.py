"""Several objectives in one training: which one a sample gets is drawn from shares that may change over the run.

    model.objective:
      class_path: Mixture
      init_args:
        parts:
          clm: {objective: CausalLM, share: 1}
          fim: {objective: {class_path: FillInTheMiddle, init_args: {rate: 1.0}}, share: 1}

All parts make rows of one length, a sample keeps those of its part, and the model runs once. The loss is the mean over
all predicted positions, whatever their part; each part's own mean is logged beside it (``train/part/NAME``,
``val/part/NAME``). The draw is a function of the sample alone, like all others: no split of the global batch changes
it. A share that follows a schedule is declared as a step value, so runs whose shares part at some step share the steps
before it (prefix reuse).

``UL2`` is a mixture made up already: the mixture of denoisers of Tay et al. 2022. The list of objectives that this
project set out with names a "MUJI language model"; no paper, code or text that we could find uses that name. ``UL2``, a
joint mixture of objectives that each predict what is missing from a text, stands in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.attention_mask import Opens, Sight
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Learner, Needs, Scheduled
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption, average
from gpt_lightning.objectives.corruptions.prefix import PrefixLM
from gpt_lightning.objectives.corruptions.spans import SpanCorruption
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.optim.schedules.schedules import Constant, Schedule

if TYPE_CHECKING:
    from torchmetrics import Metric

_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Part:
    """One objective of a mixture.

    Args:
        objective: What its samples are used for.
        share: Its share of the samples, relative to the other parts.
        schedule: What the share is multiplied by over the run; null = it stays as it is.
    """

    objective: Corruption
    share: float = 1.0
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Mixed(Corrupted):
    """Rows of several objectives.

    Attributes:
        part: Number of the one that made each row.
        times: Positions that the rows of each one have; they are filled up to the longest.
        all_unseen: What each one leaves ``unseen``, of all rows.
    """

    part: Int[Tensor, " batch"] = field(kw_only=True)
    times: tuple[int, ...] = field(kw_only=True)
    all_unseen: tuple[Tensor | None, ...] = field(kw_only=True)


class Mixture(Corruption):
    """An objective for every sample, drawn from shares.

    Args:
        parts: The objectives by name, each with its share.
        chunk_size: As in ``CausalLM``; those of the parts are not used.

    Raises:
        ConfigError: There is no part, a share is negative, or all are 0.
    """

    def __init__(self, parts: dict[str, Part], chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)
        shares = {name: part.share for name, part in parts.items()}
        if not any(shares.values()) or min(shares.values()) < 0:
            raise ConfigError(
                "objective.parts have no shares", got=shares, allowed="0 or more each, and one of them above 0"
            )
        wrong = [name for name in parts if not _NAME.fullmatch(name)]
        if wrong:
            raise ConfigError("A part's name is part of a metric's", got=wrong[0], allowed="letters, digits, _ and -")
        self._parts = dict(parts)

    def needs(self, config: GPTConfig) -> Needs:
        """What all parts need together, and the room of the one that needs most."""
        needs = [part.objective.needs(config) for part in self._parts.values()]
        return Needs(
            special_tokens=tuple(dict.fromkeys(name for each in needs for name in each.special_tokens)),
            columns=tuple(dict.fromkeys(name for each in needs for name in each.columns)),
            room=max(each.room for each in needs),
        )

    def sights(self) -> frozenset[Sight]:
        """Those of all parts that have a share."""
        return frozenset[Sight]().union(*(part.objective.sights() for part in self._parts.values() if part.share > 0))

    def step_values(self) -> Mapping[str, Scheduled]:
        """The shares, and what the parts declare."""
        values = {
            f"{name}.{key}": value
            for name, part in self._parts.items()
            for key, value in part.objective.step_values().items()
        }
        for name, part in self._parts.items():
            values[f"share.{name}"] = Scheduled(part.share, part.schedule or Constant())
        return values

    def _shares(self, context: Context) -> list[float]:
        shares = [context.values.get(f"share.{name}", part.share) for name, part in self._parts.items()]
        if not any(shares):
            raise ConfigError("All shares of objective.parts are 0 at this step", fix="Let one schedule stay above 0.")
        return shares

    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """Every row as the objective makes it that its sample has drawn."""
        rows = []
        for name, part in self._parts.items():
            prefix = f"{name}."
            own = {key.removeprefix(prefix): value for key, value in context.values.items() if key.startswith(prefix)}
            rows.append(part.objective.corrupt(batch, draws, replace(context, values=own)))
        if len(rows) == 1:
            return rows[0]
        shares = self._shares(context)
        drawn = draws.uniform("part", 1)[:, 0] * sum(shares)
        part_of_row = sum((drawn >= border).long() for border in list(accumulate(shares))[:-1])
        assert isinstance(part_of_row, Tensor)
        return choose_rows(rows, part_of_row)

    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """Every row by the objective that made it."""
        objectives = [part.objective for part in self._parts.values()]
        if not isinstance(corrupted, Mixed):
            return objectives[0].restore(corrupted, context)
        rows, found = [], []
        for number, objective in enumerate(objectives):
            mine = (corrupted.part == number).nonzero().flatten()
            if len(mine):
                rows.append(mine)
                found.append(objective.restore(_cut_out(corrupted, number, mine), context).tokens)
        return Batch(torch.cat(found)[torch.cat(rows).argsort()])

    def judge(self, learner: Learner, corrupted: Corrupted, hidden: Float[Tensor, "batch time embed"]) -> LossOutput:
        """The loss of all rows, and each part's."""
        output = super().judge(learner, corrupted, hidden)
        assert output.losses is not None
        losses, weights = output.losses, output.weights
        if weights is None:
            weights = torch.ones_like(losses)
        part = corrupted.part if isinstance(corrupted, Mixed) else torch.zeros_like(corrupted.tokens[:, 0])
        for number, name in enumerate(self._parts):
            mine = weights * (part == number)[:, None]
            output.parts[name], output.part_weights[name] = average(losses, mine)
        return output

    def measures(self, context: Context) -> dict[str, Metric]:
        """The usual ones, and the loss of every part."""
        from gpt_lightning.metrics.language import PartLoss

        parts: dict[str, Metric] = {f"part/{name}": PartLoss(name) for name in self._parts}
        return {**super().measures(context), **parts}


def choose_rows(made: Sequence[Corrupted], part: Int[Tensor, " batch"]) -> Mixed:
    """Of rows that several objectives made of one batch, every row of one of them, filled up to one length.

    Args:
        made: By each objective, of all rows.
        part: Which of them is kept.
    """
    times = tuple(rows.tokens.shape[1] for rows in made)
    time, rows = max(times), torch.arange(len(part), device=part.device)

    def choose(tensors: Sequence[Tensor], fill: float = 0.0) -> Tensor:
        filled = [F.pad(tensor, (0, time - tensor.shape[1]), value=fill) for tensor in tensors]
        return torch.stack(filled)[part, rows]

    weights = documents = None
    if any(each.weights is not None for each in made) or len(set(times)) > 1:
        weights = choose([_or_all(each.weights, each, 1.0) for each in made])
    opens: Opens = made[0].opens
    if any(each.opens is not opens for each in made) or isinstance(opens, Tensor):
        opens = choose([_or_all(each.opens, each, 0.0) for each in made]).bool()
    # What a row is filled up with must not be seen where everything opens.
    if any(each.documents is not None for each in made) or (opens is not False and len(set(times)) > 1):
        documents = choose([_or_all(each.documents, each, 0.0).long() for each in made], fill=-1.0)
    return Mixed(
        choose([each.tokens for each in made]),
        choose([each.targets for each in made]),
        weights,
        documents,
        opens,
        part=part,
        times=times,
        all_unseen=tuple(each.unseen for each in made),
    )


def _or_all(values: Tensor | bool | None, rows: Corrupted, otherwise: float) -> Tensor:
    """A table of every position; where there is none, all the same."""
    if isinstance(values, Tensor):
        return values
    value = otherwise if values is None else float(values)
    return torch.full(rows.tokens.shape, value, device=rows.tokens.device)


def _cut_out(mixed: Mixed, number: int, rows: Int[Tensor, " some"]) -> Corrupted:
    """Some rows at the length that one objective makes."""
    time, unseen = mixed.times[number], mixed.all_unseen[number]
    weights, documents, opens = mixed.weights, mixed.documents, mixed.opens
    return Corrupted(
        mixed.tokens[rows, :time],
        mixed.targets[rows, :time],
        None if weights is None else weights[rows, :time],
        None if documents is None else documents[rows, :time],
        opens if isinstance(opens, bool) else opens[rows, :time],
        None if unseen is None else unseen[rows],
    )


class UL2(Mixture):
    """The mixture of denoisers of UL2: spans that are short, long or many, and the rest of a text.

    Seven parts of equal share (Tay et al. 2022): ``r3 r8`` leave out 15 % in spans of 3 and 8 tokens; ``x3 x8``
    half of the text; ``x64 x64_half`` spans of 64, 15 % and half; ``s`` predicts what follows a prefix. The denoisers
    of spans say by a token in front whether they are regular, ``<|mode_r|>``, or extreme, ``<|mode_x|>``.

    Args:
        max_documents: As in ``SpanCorruption``.
        chunk_size: As in ``CausalLM``.
    """

    def __init__(self, max_documents: int = 4, chunk_size: int | None = None) -> None:
        def spans(share: float, mean_span: float, mode: str) -> Part:
            return Part(SpanCorruption(share, mean_span, mode=f"<|mode_{mode}|>", max_documents=max_documents))

        parts = {
            "r3": spans(0.15, 3.0, "r"),
            "r8": spans(0.15, 8.0, "r"),
            "x3": spans(0.5, 3.0, "x"),
            "x8": spans(0.5, 8.0, "x"),
            "x64": spans(0.15, 64.0, "x"),
            "x64_half": spans(0.5, 64.0, "x"),
            "s": Part(PrefixLM()),
        }
        super().__init__(parts, chunk_size)

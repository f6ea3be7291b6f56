"""AdaLoRA (Zhang et al. 2023): ranks go to the weights where they matter, within a budget that falls over the run.

    y + alpha / r0 P E Q x      E a diagonal of r0 numbers, 0 at the start; P and Q kept nearly orthogonal by a penalty

    steps    0 ........ warmup ........................ total - final ....... total
    budget   all r0     falls as (1 - progress)^3       r for every matrix, which ones stays as it is
    E        free       every so many steps, all but the most important numbers of all matrices together are set to 0

Importance of a number of E: running mean of |parameter x gradient| times a running mean of its deviation, of the number
itself and as means over its row of Q and its column of P. These means are buffers, so a resumed run goes on with them;
who is equally important is kept in the order of the layers, so the budget is met exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.adapters.base import Adaptation, StepFunction
from gpt_lightning.adapters.layers import Delta, adapt_layer, adapted_layers
from gpt_lightning.adapters.lora import check_dropout
from gpt_lightning.adapters.targets import find_places
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.schedules.lengths import Horizon, Length, parse_length

_STD = 0.02
_FACTORS = ("a", "e", "b")


class SingularValues(Delta):
    """Adds ``scale P E Q x``.

    Args:
        weight: The base's rows.
        r: Numbers of E.
        scale: Factor on the product.
        dropout: Probability of dropping an input.
        generator: Source of the initial values.

    Attributes:
        a: Q, ``(r, inputs)``.
        e: Diagonal of E, ``(r, 1)``.
        b: P, ``(rows, r)``.
        kept: Numbers of E that were not set to 0 last, ``(r, 1)``.
    """

    kept: Tensor

    def __init__(
        self,
        weight: Float[Tensor, "rows inputs"],
        *,
        r: int,
        scale: float,
        dropout: float,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        rows, inputs = weight.shape
        self.scale, self.dropout = scale, dropout
        kind = torch.promote_types(weight.dtype, torch.float32)
        for name, shape, std in (("a", (r, inputs), _STD), ("e", (r, 1), 0.0), ("b", (rows, r), _STD)):
            values = std * torch.randn(shape, generator=generator, device="cpu", dtype=torch.float32)
            setattr(self, name, nn.Parameter(values.to(weight.device, kind)))
            for mean in ("importance", "deviation"):
                self.register_buffer(f"{name}_{mean}", torch.zeros_like(getattr(self, name)))
        self.register_buffer("kept", torch.ones(r, 1, dtype=torch.bool, device=weight.device))

    def leave(
        self,
        inputs: Float[Tensor, "*batch inputs"],
        outputs: Float[Tensor, "*batch rows"],
        weight: Float[Tensor, "rows inputs"],
        bias: Float[Tensor, " rows"] | None,
    ) -> Float[Tensor, "*batch rows"]:
        """As in ``Delta``."""
        dropped = F.dropout(inputs, self.dropout, self.training) if self.dropout > 0 else inputs
        a, b = (self.a * self.e).to(inputs.dtype), self.b.to(inputs.dtype)
        return outputs + F.linear(F.linear(dropped, a), b) * self.scale

    def factors(self) -> tuple[Float[Tensor, "r inputs"], Float[Tensor, "rows r"]]:
        """Two matrices whose product (second times first) is the change of the weights."""
        return self.a * self.e, self.scale * self.b

    def merge(
        self, weight: Float[Tensor, "rows inputs"], bias: Float[Tensor, " rows"] | None
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``Delta``."""
        return (weight + self.scale * (self.b @ (self.a * self.e))).to(weight.dtype), bias

    def strain(self) -> Iterator[Float[Tensor, ""]]:
        """How far P and Q are from orthogonal, each."""
        for product in (self.a @ self.a.T, self.b.T @ self.b):
            yield torch.linalg.matrix_norm(product - torch.eye(len(product), device=product.device))

    @torch.no_grad()
    def watch(self, beta1: float, beta2: float) -> None:
        """Take the gradients there are into the running means; nothing where a step was left out."""
        for name in _FACTORS:
            parameter = getattr(self, name)
            if parameter.grad is None:
                return
            now = (parameter * parameter.grad).abs()
            mean, deviation = getattr(self, f"{name}_importance"), getattr(self, f"{name}_deviation")
            mean.lerp_(now, 1 - beta1)
            deviation.lerp_((now - mean).abs(), 1 - beta2)

    def scores(self) -> Float[Tensor, " r"]:
        """Importance of every number of E."""
        a, e, b = (getattr(self, f"{name}_importance") * getattr(self, f"{name}_deviation") for name in _FACTORS)
        scores: Tensor = e[:, 0] + a.mean(dim=1) + b.mean(dim=0)
        return scores

    @torch.no_grad()
    def drop_others(self) -> None:
        """Set the numbers to 0 that are not kept."""
        self.e.masked_fill_(~self.kept, 0.0)

    a: nn.Parameter
    e: nn.Parameter
    b: nn.Parameter


@dataclass(frozen=True)
class Plan:
    """Phases of a run.

    As a ``StepFunction``: the share of what falls of the budget, negative where ranks are chosen, -2 behind that.
    """

    warmup: Length
    final: Length
    every: int

    def _lengths(self, horizon: Horizon) -> tuple[int, int]:
        first = parse_length(self.warmup, "adaptation.warmup").count_first(horizon)
        last = parse_length(self.final, "adaptation.final").count_last(horizon)
        if first + last >= horizon.total_steps:
            raise ConfigError(
                "adaptation.warmup and adaptation.final leave no step in which ranks are chosen",
                got=f"{first} and {last} of {horizon.total_steps} steps",
                allowed="less than the run together",
            )
        return first, last

    def share(self, done: int, horizon: Horizon) -> float:
        """What is left of the part of the budget that falls, after ``done`` steps: 1 to 0."""
        first, last = self._lengths(horizon)
        if done <= first:
            return 1.0
        left = 1 - (done - first) / (horizon.total_steps - last - first)
        return max(left, 0.0) ** 3

    def is_final(self, done: int, horizon: Horizon) -> int:
        """-1 before the last choice, 0 at it, 1 behind it."""
        end = horizon.total_steps - self._lengths(horizon)[1]
        return (done > end) - (done < end)

    def chooses(self, done: int, horizon: Horizon) -> bool:
        """Whether numbers of E are chosen anew after ``done`` steps."""
        final = self.is_final(done, horizon)
        return final == 0 or (final < 0 and self.share(done, horizon) < 1 and done % self.every == 0)

    def at(self, step: int, horizon: Horizon) -> float:
        """As in ``StepFunction``."""
        done = step + 1
        if self.is_final(done, horizon) > 0:
            return -2.0
        share = self.share(done, horizon)
        return -share if self.chooses(done, horizon) else share


class AdaLoRA(Adaptation):
    """Low-rank adaptation whose ranks are spread over the weights by importance.

    Args:
        r: Rank of every weight at the end, on average; at least 1.
        initial_r: Rank at the start, above r; null = 1.5 r.
        alpha: The change is multiplied by alpha / initial_r; null = 2 initial_r.
        dropout: Probability of dropping an input of the change, from 0 to below 1.
        targets: As in LoRA; null = all linear layers of the blocks.
        warmup: Length before the budget falls.
        final: Length at the end in which the choice stays as it is.
        every: Steps between two choices.
        beta1: Decay of the running mean of importance, from 0 to below 1.
        beta2: Decay of the running mean of its deviation, from 0 to below 1.
        orthogonality: Weight of the penalty in the loss, 0 or more.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        r: int = 8,
        initial_r: int | None = None,
        alpha: float | None = None,
        dropout: float = 0.0,
        targets: Sequence[str] | None = None,
        warmup: Length = "10%",
        final: Length = "30%",
        every: int = 10,
        beta1: float = 0.85,
        beta2: float = 0.85,
        orthogonality: float = 0.5,
    ) -> None:
        self.r, self.initial_r = r, math.ceil(1.5 * r) if initial_r is None else initial_r
        self.alpha = 2.0 * self.initial_r if alpha is None else alpha
        self.dropout, self.targets, self.orthogonality = dropout, targets, orthogonality
        self.plan, self._betas = Plan(warmup, final, every), (beta1, beta2)
        if not 1 <= r < self.initial_r:
            raise ConfigError(
                "adaptation.r is what ranks fall to", got=(r, self.initial_r), allowed="1 or more, below initial_r"
            )
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise ConfigError("adaptation.alpha is out of range", got=alpha, allowed="above 0, or null")
        if every < 1:
            raise ConfigError("adaptation.every counts steps", got=every, allowed="1 or more")
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1 and orthogonality >= 0):
            raise ConfigError(
                "adaptation.beta1, beta2 or orthogonality is out of range",
                got=(beta1, beta2, orthogonality),
                allowed="betas from 0 to below 1, orthogonality 0 or more",
            )
        check_dropout(dropout)
        for name, length in (("warmup", warmup), ("final", final)):
            parse_length(length, f"adaptation.{name}")

    def insert(self, model: GPT, generator: torch.Generator | None, name: str) -> None:
        """As in ``Adaptation``."""
        for place in find_places(model, self.targets):
            layer = adapt_layer(model, place)
            delta = SingularValues(
                layer.whole_weight()[place.rows[0] : place.rows[1]],
                r=self.initial_r,
                scale=self.alpha / self.initial_r,
                dropout=self.dropout,
                generator=generator,
            )
            layer.insert(name, place.word, delta)
            layer.switch.active = name

    def penalty(self, model: GPT) -> Tensor | None:
        """The mean distance of P and Q from orthogonal matrices."""
        strains = [strain for delta in _trained_of(model) for strain in delta.strain()]
        return self.orthogonality * torch.stack(strains).mean()

    def after_step(self, model: GPT, step: int, horizon: Horizon) -> None:
        """Watch, and where it is time choose; behind the last choice, only hold to it."""
        deltas, done = _trained_of(model), step + 1
        if self.plan.is_final(done, horizon) < 0:
            for delta in deltas:
                delta.watch(*self._betas)
        if self.plan.chooses(done, horizon):
            extra = (self.initial_r - self.r) * len(deltas)
            choose(deltas, math.floor(extra * self.plan.share(done, horizon)) + self.r * len(deltas))
        elif self.plan.is_final(done, horizon) > 0:
            for delta in deltas:
                delta.drop_others()

    def step_values(self) -> Mapping[str, StepFunction]:
        """The plan: a step depends on when the run ends."""
        return {"budget": self.plan}


@torch.no_grad()
def choose(deltas: Sequence[SingularValues], budget: int) -> None:
    """Keep the ``budget`` most important numbers of all, and set the others to 0."""
    scores = torch.cat([delta.scores() for delta in deltas])
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept[scores.sort(descending=True, stable=True).indices[:budget]] = True
    for delta, mine in zip(deltas, torch.split_with_sizes(kept, [len(delta.e) for delta in deltas]), strict=True):
        delta.kept.copy_(mine[:, None])
        delta.drop_others()


def _trained_of(model: GPT) -> list[SingularValues]:
    """Parts of the adapter in training."""
    found = (delta for _, layer in adapted_layers(model) for name in layer.deltas for _, delta in layer.deltas_of(name))
    return [delta for delta in found if isinstance(delta, SingularValues) and delta.e.requires_grad]

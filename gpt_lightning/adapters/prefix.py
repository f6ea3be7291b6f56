"""Positions that are learned and stand ahead of every text (``model.ahead``), while the decoder stays as it is.

    PrefixTuning (Li and Liang 2021)     keys and values of every layer
    PromptTuning (Lester et al. 2021)    a stream before the first block, which the blocks make keys and values of

Both begin with tokens drawn from the vocabulary, so the model is no longer what it was from the first step on: it
reads a text behind them. Positions of the text stay what they are without; other libraries count what is ahead with
them, which with rotary positions is the same (distances alone matter) and with learned ones is not.

They are no change of weights, so they cannot be merged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.adapters.layers import Adapted, AdapterSwitch, find_switch
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.ahead import lay_side_by_side
from gpt_lightning.model.attention_mask import Lead, States
from gpt_lightning.model.gpt import GPT, Ahead


class Beginning(nn.Module, ABC):
    """What one adapter has ahead of a text."""

    @abstractmethod
    def states(self, model: GPT) -> list[States]:
        """Its keys and values, layer by layer."""


class PrefixStates(Beginning):
    """Keys and values as they are.

    Args:
        states: What they begin as.

    Attributes:
        keys: As a cache holds them, ``(layers, groups, ahead, head)``.
        values: Likewise.
    """

    def __init__(self, states: list[States]) -> None:
        super().__init__()
        keys, values = (torch.cat(part).detach() for part in zip(*states, strict=True))
        self.keys, self.values = (nn.Parameter(each.to(_widen(each))) for each in (keys, values))

    def states(self, model: GPT) -> list[States]:
        """As in ``Beginning``."""
        return list(zip(self.keys[:, None], self.values[:, None], strict=True))


class VirtualTokens(Beginning):
    """A stream before the first block.

    Args:
        embedded: What it begins as.

    Attributes:
        stream: ``(ahead, embed)``.
    """

    def __init__(self, embedded: Float[Tensor, "ahead embed"]) -> None:
        super().__init__()
        self.stream = nn.Parameter(embedded.to(_widen(embedded)))
        self._known: tuple[object, list[States]] | None = None

    def states(self, model: GPT) -> list[States]:
        """As in ``Beginning``; computed once where nothing of it is trained."""
        stream = self.stream.to(model.token_embedding.weight.dtype)
        if self.stream.requires_grad or model.training:
            return model.read_ahead(stream)
        place = (id(model), self.stream._version, self.stream.device, stream.dtype, torch.is_inference_mode_enabled())
        if self._known is None or self._known[0] != place:
            self._known = place, model.read_ahead(stream)
        return self._known[1]


class Beginnings(Ahead, Adapted):
    """What adapters have ahead of a text, each under its name.

    Args:
        switch: Says which adapter is used.
    """

    def __init__(self, switch: AdapterSwitch) -> None:
        super().__init__()
        self.deltas, self.switch = nn.ModuleDict(), switch

    def leads(self, model: GPT) -> list[Lead] | None:
        """As in ``Ahead``: of the adapter in use, or of the one of each row."""
        groups, active = self.switch.groups, self.switch.active
        with self.switch.off():
            if groups is None:
                return lay_side_by_side([self._states(active, model)])
            known = {name: self._states(name, model) for name, _ in groups}
        chosen = {row: known[name] for name, rows in groups for row in rows.tolist()}
        return lay_side_by_side([chosen.get(row) for row in range(self.switch.rows)])

    def _states(self, name: str | None, model: GPT) -> list[States] | None:
        found = self.deltas[name] if name is not None and name in self.deltas else None
        return found.states(model) if isinstance(found, Beginning) else None

    def merge(self, name: str) -> None:
        """As in ``Adapted``."""
        if name in self.deltas:
            raise ConfigError("positions ahead of a text are no change of weights and cannot be merged")


class PromptTuning(Adaptation):
    """A learned stream ahead of every text, read by the blocks like the embeddings of tokens.

    Args:
        length: Positions, at least 1.

    Raises:
        ConfigError: ``length`` is not positive.
    """

    def __init__(self, length: int = 20) -> None:
        if length < 1:
            raise ConfigError("adaptation.length counts positions", got=length, allowed="1 or more")
        self.length = length

    def insert(self, model: GPT, generator: torch.Generator | None, name: str) -> None:
        """As in ``Adaptation``."""
        add_beginning(model, name, self.begin(model, generator))

    def begin(self, model: GPT, generator: torch.Generator | None) -> Beginning:
        """What is ahead at the start: tokens drawn from the vocabulary."""
        return VirtualTokens(self.draw(model, generator))

    @torch.no_grad()
    def draw(self, model: GPT, generator: torch.Generator | None) -> Float[Tensor, "ahead embed"]:
        """Embeddings of tokens."""
        table = model.token_embedding.weight
        tokens = torch.randint(model.vocab_size, (self.length,), generator=generator, device="cpu")
        return table[tokens.to(table.device)].detach().clone()


class PrefixTuning(PromptTuning):
    """Learned keys and values ahead of every text, in every layer.

    Args:
        length: Positions, at least 1.

    Raises:
        ConfigError: ``length`` is not positive.
    """

    @torch.no_grad()
    def begin(self, model: GPT, generator: torch.Generator | None) -> Beginning:
        """What the base makes of tokens drawn from the vocabulary."""
        return PrefixStates(_read_base(model, self.draw(model, generator)))


def add_beginning(model: GPT, name: str, beginning: Beginning) -> None:
    """Let an adapter have something ahead of every text, and be the one in use."""
    switch = find_switch(model) or AdapterSwitch()
    if not isinstance(model.ahead, Beginnings):
        model.ahead = Beginnings(switch)
    model.ahead.deltas[name] = beginning
    switch.active = name


def _read_base(model: GPT, embedded: Float[Tensor, "ahead embed"]) -> list[States]:
    """``GPT.read_ahead`` by the base alone, without dropout."""
    switch, was_training = find_switch(model), model.training
    model.eval()
    try:
        with nullcontext() if switch is None else switch.off():
            return model.read_ahead(embedded)
    finally:
        model.train(was_training)


def _widen(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)

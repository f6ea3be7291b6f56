"""A linear layer with adapters, in the place of the one it adapts; the base's own parameters keep their names.

    blocks.0.attention.query_key_value.weight                      the base's, frozen
    blocks.0.attention.query_key_value.deltas.default.query.a      an adapter's

So whatever knows a weight by its name (loading, parametrizations, export) knows it as before. The class is no
``nn.Linear``: what reads the ``weight`` of one and multiplies by it would leave the adapters out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.adapters.rounding import multiply_rows, round_rows, widen_rows
from gpt_lightning.adapters.targets import Place, sections_of
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT


class AdapterSwitch:
    """Which adapter each row of a batch goes through; one object for all layers of a model.

    Attributes:
        active: Of all rows, where they are not chosen one by one; None = the base alone.
        groups: Rows by their adapter, where they are.
        rows: How many rows these are chosen for.
    """

    def __init__(self) -> None:
        self.active: str | None = None
        self.groups: list[tuple[str, Tensor]] | None = None
        self.rows = 0

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base alone, meanwhile."""
        known = self.active, self.groups
        self.active = self.groups = None
        try:
            yield
        finally:
            self.active, self.groups = known

    def select(self, names: Sequence[str | None] | None, device: torch.device) -> None:
        """Choose by row of the next batches; None = ``active`` for all of them.

        On a CPU every row is computed alone: what it gives then depends on no other row, to the bit (a product rounds
        by its number of rows). A GPU would spend its time starting kernels.

        Args:
            names: Of the adapter of every row; None for a row = the base.
            device: Of the batches.
        """
        if names is None:
            self.groups = None
            return
        rows: dict[tuple[str, int], list[int]] = {}
        for row, name in enumerate(names):
            if name is not None:
                rows.setdefault((name, row if device.type == "cpu" else 0), []).append(row)
        self.rows = len(names)
        self.groups = [(name, torch.tensor(where, device=device)) for (name, _), where in rows.items()]


@contextmanager
def adapted_rows(switch: AdapterSwitch | None, asked: Sequence[str | None], device: torch.device) -> Iterator[None]:
    """Every row through the adapter it asks for, meanwhile.

    Args:
        switch: Of the model; None where it has no adapters.
        asked: By row: a name, "" for the base alone, None for the one in use.
        device: Of the batch.
    """
    if switch is None:
        yield
        return
    switch.select([switch.active if name is None else name or None for name in asked], device)
    try:
        yield
    finally:
        switch.select(None, device)


class Delta(nn.Module, ABC):
    """What an adapter does to the rows of one place."""

    def enter(self, inputs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch inputs"]:
        """What the layer is to multiply instead of its inputs; for places that are all rows of their layer."""
        return inputs

    def leave(
        self,
        inputs: Float[Tensor, "*batch inputs"],
        outputs: Float[Tensor, "*batch rows"],
        weight: Float[Tensor, "rows inputs"],
        bias: Float[Tensor, " rows"] | None,
    ) -> Float[Tensor, "*batch rows"]:
        """The adapted outputs.

        Args:
            inputs: Of the layer, before ``enter``.
            outputs: What the base makes of them, bias included.
            weight: The base's, of these rows.
            bias: Likewise.
        """
        return outputs

    @abstractmethod
    def merge(
        self, weight: Float[Tensor, "rows inputs"], bias: Float[Tensor, " rows"] | None
    ) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of a plain layer that computes the same.

        Raises:
            ConfigError: There is none.
        """


class Adapted(nn.Module, ABC):
    """A part of a decoder in which adapters lie, each under its name.

    Attributes:
        deltas: What each of them does here.
        switch: Says which adapter is used.
    """

    deltas: nn.ModuleDict
    switch: AdapterSwitch

    @abstractmethod
    def merge(self, name: str) -> nn.Module | None:
        """What computes the same as this with an adapter, without adapters; None = nothing has to.

        Raises:
            ConfigError: There is none.
        """


class AdaptedLinear(Adapted):
    """See the file's head.

    Args:
        base: The layer in whose place this one stands; its parameters are taken over.
        sections: Rows by the words of ``targets``, all of them and in order.
        switch: Says which adapter is used.

    Attributes:
        product: Computes what the base does, where its weights are laid out in another way (``generation.packing``).
        scales: Of the rows of a base in 8 bits (``rounding``); None = ``weight`` is what it says.
    """

    bias: nn.Parameter | None
    scales: nn.Parameter | None
    product: Callable[[Tensor], Tensor] | None

    def __init__(self, base: nn.Linear, sections: Mapping[str, tuple[int, int]], switch: AdapterSwitch) -> None:
        super().__init__()
        self.weight: Tensor = base.weight
        self.product = None
        self.register_parameter("bias", dict(base.named_parameters(recurse=False)).get("bias"))
        self.register_parameter("scales", None)
        self.deltas = nn.ModuleDict()
        self.sections, self.switch = dict(sections), switch

    def whole_weight(self) -> Float[Tensor, "outputs inputs"]:
        """The base's, in floating-point numbers."""
        if self.scales is None:
            return self.weight
        return widen_rows(self.weight, self.scales, self.scales.dtype)

    def round_base(self) -> None:
        """Keep the base's weights in 8 bits from now on; nothing where they are."""
        if self.scales is None:
            numbers, scales = round_rows(self.weight)
            # Parameters rather than buffers: what is frozen is no part of a checkpoint.
            self.weight = nn.Parameter(numbers, requires_grad=False)
            self.scales = nn.Parameter(scales, requires_grad=False)

    def insert(self, name: str, word: str, delta: Delta) -> None:
        """Add an adapter's part for some of the rows."""
        if name not in self.deltas:
            self.deltas[name] = nn.ModuleDict()
        self._of(name)[word] = delta

    def deltas_of(self, name: str) -> Iterator[tuple[str, Delta]]:
        """The parts of an adapter by their word."""
        for word, delta in self._of(name).items():
            assert isinstance(delta, Delta)
            yield word, delta

    def _of(self, name: str | None) -> nn.ModuleDict:
        found = self.deltas[name] if name is not None and name in self.deltas else nn.ModuleDict()
        assert isinstance(found, nn.ModuleDict)
        return found

    def forward(self, inputs: Float[Tensor, "batch *time inputs"]) -> Float[Tensor, "batch *time outputs"]:
        """The outputs of every row through its adapter."""
        groups = self.switch.groups
        if groups is None:
            deltas = self._of(self.switch.active)
            return self._leave(inputs, self._multiply(self._enter(inputs, deltas)), deltas)
        chosen = [(self._of(name), rows) for name, rows in groups if name in self.deltas]
        entered = inputs.clone() if chosen else inputs
        for deltas, rows in chosen:
            entered[rows] = self._enter(inputs[rows], deltas)
        outputs = self._multiply(entered)
        for deltas, rows in chosen:
            outputs[rows] = self._leave(inputs[rows], outputs[rows], deltas)
        return outputs

    def _multiply(self, inputs: Tensor) -> Tensor:
        if self.product is not None:
            return self.product(inputs)
        if self.scales is None:
            return F.linear(inputs, self.weight, self.bias)
        outputs = multiply_rows(inputs, self.weight, self.scales)
        return outputs if self.bias is None else outputs + self.bias.to(outputs.dtype)

    def _enter(self, inputs: Tensor, deltas: nn.ModuleDict) -> Tensor:
        for delta in deltas.values():
            inputs = delta.enter(inputs)  # type: ignore[operator]
        return inputs

    def _leave(self, inputs: Tensor, outputs: Tensor, deltas: nn.ModuleDict) -> Tensor:
        if len(deltas) == 0:
            return outputs
        parts, weight = [], self.whole_weight()
        for word, (first, end) in self.sections.items():
            part = outputs[..., first:end]
            if word in deltas:
                bias = None if self.bias is None else self.bias[first:end]
                part = deltas[word].leave(inputs, part, weight[first:end], bias)  # type: ignore[operator]
            parts.append(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    @torch.no_grad()
    def merge(self, name: str) -> nn.Linear:
        """A plain layer that computes what this one does with an adapter, with weights of its own.

        Raises:
            ConfigError: There is none.
        """
        weight = self.whole_weight().detach().clone()
        bias = None if self.bias is None else self.bias.detach().clone()
        for word, delta in self.deltas_of(name):
            first, end = self.sections[word]
            rows, shift = delta.merge(weight[first:end], None if bias is None else bias[first:end])
            weight[first:end] = rows
            if bias is not None and shift is not None:
                bias[first:end] = shift
        return _as_linear(weight, bias)


def _as_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)  # type: ignore[assignment]
    return layer


def adapt_layer(model: GPT, place: Place) -> AdaptedLinear:
    """The layer of a place, put in the place of the plain one if that is still there."""
    layer = model.get_submodule(place.layer)
    if isinstance(layer, AdaptedLinear):
        return layer
    if not isinstance(layer, nn.Linear):
        raise ConfigError(
            "only plain linear layers can be adapted",
            got=f"{place.layer}: {type(layer).__name__}",
            fix="Attach adapters before weights are packed for decoding, and without a sharded strategy.",
        )
    adapted = AdaptedLinear(layer, sections_of(model, place.layer), find_switch(model) or AdapterSwitch())
    _replace(model, place.layer, adapted)
    return adapted


def adapted_parts(model: nn.Module) -> Iterator[tuple[str, Adapted]]:
    """All of a model's, by name."""
    for name, module in model.named_modules():
        if isinstance(module, Adapted):
            yield name, module


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, AdaptedLinear]]:
    """The linear layers among them."""
    for name, module in adapted_parts(model):
        if isinstance(module, AdaptedLinear):
            yield name, module


def find_switch(model: nn.Module) -> AdapterSwitch | None:
    """The switch of a model; None where nothing is adapted."""
    return next((part.switch for _, part in adapted_parts(model)), None)


def adapter_names(model: nn.Module) -> list[str]:
    """Names of a model's adapters, in the order in which they were attached."""
    return list(dict.fromkeys(name for _, part in adapted_parts(model) for name in part.deltas))


def merge_adapter(model: GPT, name: str) -> None:
    """Put plain layers in the place of the adapted ones, in place; the base's own weights are not touched.

    Raises:
        ConfigError: The adapter is no change of weights; the model is as before.
    """
    merged = [(place, part.merge(name)) for place, part in adapted_parts(model)]
    for place, plain in merged:
        _replace(model, place, plain)


def _replace(model: GPT, name: str, layer: nn.Module | None) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)

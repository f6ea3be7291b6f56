"""The same model with its weights laid out for decoding: faster, and in fewer bytes where wanted.

Decoding a single text reads every weight once per token and does little else, so time is bytes over memory bandwidth;
a batch shares the reading. On a CPU the linear layers, head included, are replaced by:

    weights     bytes   kernel                                    arithmetic
    float32     4       oneDNN on weights reordered once          float32
    float16     2       FBGEMM (x86 with AVX2)                    weights rounded to float16, sums in float32
    int8        1       torch's own weight-only product           one scale per output channel, inputs in bfloat16;
                                                                  the head in float16, because its errors are logits

All three give each row the same bits whatever the number of rows (plain ``F.linear`` does not: it chooses its kernel
by the shape), which is what makes a text independent of its batch. ``bfloat16``, and everything on other devices, is
the plain model converted.

Adapters stay what they are: only the product with the base's weights is another (``adapters.layers``).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.adapters.layers import AdaptedLinear
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT

_ROWS = 8
"""oneDNN lays weights out for a number of rows. With this one every number of rows is served alike, and best at 8."""
_LEAST_ROWS = 3
"""FBGEMM has other kernels, which round otherwise, for fewer."""
_INT8_MULTIPLE = 32
"""Widths that torch's int8 kernels take; others are filled up with zeros."""


def _fill(rows: Tensor, least: int) -> Tensor:
    """The rows, with rows of zeros behind them if they are fewer than ``least``."""
    return rows if len(rows) >= least else F.pad(rows, (0, 0, 0, least - len(rows)))


class PackedLinear(nn.Module, ABC):
    """A linear layer for decoding only: nothing to train, nothing to save."""

    def forward(self, hidden: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The layer's output, in float32."""
        product = self.multiply(hidden.reshape(-1, hidden.shape[-1]))
        return product.view(*hidden.shape[:-1], product.shape[-1])

    @abstractmethod
    def multiply(self, rows: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        """The layer's output for a plain matrix."""


class Float32Linear(PackedLinear):
    """Weights reordered for oneDNN."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.float(), _ROWS)
        self._bias = None if bias is None else bias.float()
        self._least_rows = self._find_least_rows(weight.shape[1])

    def _find_least_rows(self, inputs: int) -> int:
        """The fewest rows that get the bits of many: on processors before AVX2 a single row has another kernel."""
        rows = torch.randn(_ROWS, inputs, generator=torch.Generator().manual_seed(0))
        many = self._product(rows)
        return next(n for n in range(1, _ROWS + 1) if torch.equal(self._product(rows[:n]), many[:n]))

    def _product(self, rows: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self._bias, "none", [], "")
        return product

    def multiply(self, rows: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        """As in ``PackedLinear``."""
        return self._product(_fill(rows, self._least_rows))[: len(rows)]


class Float16Linear(PackedLinear):
    """Weights in half precision."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(
            weight.float().contiguous(), None if bias is None else bias.float()
        )

    def multiply(self, rows: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        """As in ``PackedLinear``."""
        product: Tensor = torch.ops.quantized.linear_dynamic_fp16(_fill(rows, _LEAST_ROWS), self._packed)
        return product[: len(rows)]


class Int8Linear(PackedLinear):
    """Weights as whole numbers from -127 to 127, times a scale per output channel."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._filling = -weight.shape[1] % _INT8_MULTIPLE
        weight = F.pad(weight.float(), (0, self._filling))
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        # The kernel takes the scales in bfloat16: rounded first, the whole numbers make up for it.
        self._scales = scales.bfloat16()
        self._packed = (weight / self._scales.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self._bias = None if bias is None else bias.float()

    def multiply(self, rows: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        """As in ``PackedLinear``."""
        filled = F.pad(rows.bfloat16(), (0, self._filling)) if self._filling else rows.bfloat16()
        product = torch._weight_int8pack_mm(filled, self._packed, self._scales).float()
        return product if self._bias is None else product + self._bias


_BLOCKS: dict[str, type[PackedLinear]] = {"float32": Float32Linear, "float16": Float16Linear, "int8": Int8Linear}
_HEADS: dict[str, type[PackedLinear]] = {"float32": Float32Linear, "float16": Float16Linear, "int8": Float16Linear}
WEIGHTS = ("float32", "bfloat16", "float16", "int8")
"""What ``pack`` can make of a model."""


def check_weights(weights: str) -> None:
    """Refuse a word that is none of ``WEIGHTS``.

    Raises:
        ConfigError: It is not.
    """
    if weights not in WEIGHTS:
        raise ConfigError("no such weights", got=weights, allowed=", ".join(WEIGHTS), fix="Use float32.")


def pack(model: GPT, weights: str = "float32") -> GPT:
    """A model for decoding with the weights of another one.

    What is not changed is shared, the token embedding for example; drop the original to free the rest.

    Args:
        model: The decoder.
        weights: One of ``WEIGHTS``, see the module's table.

    Raises:
        ConfigError: No such kind, or this machine has no kernel for it.
    """
    check_weights(weights)
    on_cpu = model.token_embedding.weight.device.type == "cpu"
    if on_cpu and weights != "bfloat16":
        _check_kernels(weights)
        if weights != "float32" or torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return _replace_linear_layers(model, weights)
        return model
    if weights == "int8":
        raise ConfigError(
            "int8 weights run on a CPU only",
            got=str(model.token_embedding.weight.device),
            allowed="cpu",
            fix="Use --weights bfloat16, or --device cpu.",
        )
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[weights]
    return copy.deepcopy(model).to(kind).eval()


def _check_kernels(weights: str) -> None:
    if weights in ("float16", "int8") and "fbgemm" not in torch.backends.quantized.supported_engines:
        raise ConfigError(
            "this processor has no kernel for such weights",
            got=weights,
            allowed="float32, bfloat16",
            fix="Use --weights float32.",
        )


@torch.no_grad()
def _replace_linear_layers(model: GPT, weights: str) -> GPT:
    # A deep copy that stops at the parameters, which are shared.
    packed: GPT = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    for name, layer in list(packed.blocks.named_modules()):
        if isinstance(layer, AdaptedLinear):
            layer.product = _BLOCKS[weights](layer.whole_weight(), layer.bias)
        elif isinstance(layer, nn.Linear):
            parent, _, own = name.rpartition(".")
            setattr(packed.blocks.get_submodule(parent), own, _BLOCKS[weights](layer.weight, layer.bias))
    head = packed.token_embedding.weight if packed.head is None else packed.head.weight
    # With a head of its own ``logits`` does not read the embedding any more.
    product = _HEADS[weights](head, None)
    trained: nn.Module | None = packed.head
    if isinstance(trained, AdaptedLinear):
        trained.product = product
    else:
        nn.Module.__setattr__(packed, "head", product)
    return packed.eval()

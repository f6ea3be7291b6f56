"""The sizes of a decoder as one frozen record, and the four published GPT-2 sizes.

Only what shapes the weights or the forward pass is here; how a model is trained is no business of this file.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpt_lightning.errors import ConfigError

_PRESETS: dict[str, dict[str, int]] = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}
_PRESET_DATA_SIZES = {"block_size": 1024, "vocab_size": 50257}


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a GPT-2 shaped decoder.

    Args:
        n_layer: Number of blocks (attention + MLP), at least 1.
        n_head: Attention heads per block; must divide ``n_embd``.
        n_embd: Width of the residual stream.
        block_size: Longest sequence, in tokens: the number of learned positions. None = as long as the data's windows.
        vocab_size: Number of token ids. None = the vocabulary of the data's tokenizer.
        dropout: Probability of zeroing an element of the embeddings, the attention weights and the residual branches
            while training; 0 <= dropout < 1.
        bias: Whether linear layers and layer norms have a bias, as GPT-2's do.

    Raises:
        ConfigError: A size is not positive, ``n_head`` does not divide ``n_embd``, or ``dropout`` is out of range.
    """

    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    block_size: int | None = None
    vocab_size: int | None = None
    dropout: float = 0.0
    bias: bool = True

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size"):
            value = getattr(self, name)
            left_open = value is None and name in _PRESET_DATA_SIZES
            if not left_open and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"{name} is not a positive whole number", got=value, allowed="1, 2, 3, ...")
        if self.n_embd % self.n_head:
            lower = self.n_embd // self.n_head * self.n_head
            nearest = " or ".join(str(width) for width in (lower, lower + self.n_head) if width)
            raise ConfigError(
                f"n_embd is not divisible by n_head={self.n_head}",
                got=self.n_embd,
                allowed=f"multiples of {self.n_head}",
                fix=f"The nearest widths that work are {nearest}.",
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError("dropout is not a probability below 1", got=self.dropout, allowed="0 <= dropout < 1")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> GPTConfig:
        """The sizes of a published model.

        Args:
            name: ``gpt2`` (124M parameters), ``gpt2-medium`` (355M), ``gpt2-large`` (774M) or ``gpt2-xl`` (1558M).
            changes: Fields that differ from the published ones.

        Raises:
            ConfigError: The name or a field is unknown.
        """
        if name not in _PRESETS:
            raise ConfigError("unknown model preset", got=name, allowed=", ".join(_PRESETS), fix=_guess(name, _PRESETS))
        return cls.from_dict({**_PRESETS[name], **_PRESET_DATA_SIZES, **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GPTConfig:
        """The record that ``to_dict`` wrote; a field that is absent takes its default.

        Raises:
            ConfigError: A key is unknown or a value out of range.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError("unknown model setting", got=key, allowed=", ".join(known), fix=_guess(key, known))
        return cls(**values)

    def to_dict(self) -> dict[str, int | float | bool | None]:
        """Plain data, for checkpoints that must load without running code."""
        return dataclasses.asdict(self)

    def complete(self, *, vocab_size: int, block_size: int) -> GPTConfig:
        """This record with the sizes it left to the data filled in; sizes that are set stay."""
        return dataclasses.replace(
            self,
            vocab_size=vocab_size if self.vocab_size is None else self.vocab_size,
            block_size=block_size if self.block_size is None else self.block_size,
        )

    def data_sizes(self) -> tuple[int, int]:
        """``(vocab_size, block_size)`` of a complete record.

        Raises:
            ConfigError: One of them was left to the data and never filled in.
        """
        if self.vocab_size is None or self.block_size is None:
            missing = "vocab_size" if self.vocab_size is None else "block_size"
            raise ConfigError(
                f"{missing} is not known yet",
                got=None,
                allowed="a positive whole number",
                fix=f"Set {missing}, or fill it in from the data with complete().",
            )
        return self.vocab_size, self.block_size

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers, the tied embedding counted once; without building the model."""
        vocab_size, block_size = self.data_sizes()
        width = self.n_embd
        # Matrices of a block: 3 (queries, keys, values) + 1 (output) + 4 + 4 (MLP), each width x width.
        # Vectors: 2 norm scales, and with biases 2 norm shifts + 3 + 1 + 4 + 1.
        block = 12 * width**2 + (13 if self.bias else 2) * width
        final_norm = (2 if self.bias else 1) * width
        return (vocab_size + block_size) * width + self.n_layer * block + final_norm


def _guess(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else ""

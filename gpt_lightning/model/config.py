"""The architecture of a decoder as one frozen record.

Only what shapes the weights or the forward pass is here; how a model is trained is no business of this file. The
defaults are GPT-2's; ``presets`` has whole sets of values under a name. Choices are plain words and numbers, so that a
checkpoint can carry the record as data; the class behind a word is chosen where it is built (``norm``, ``mlp``).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.presets import PRESETS
from gpt_lightning.model.rope import RopeStretch

_COUNTS = ("n_layer", "n_head", "n_embd", "vocab_multiple")
_OPEN_COUNTS = (
    *("block_size", "vocab_size", "n_kv_head", "head_dim", "n_inner"),
    *("window", "global_every", "bigram_rows"),
)
"""Whole numbers that may be None."""
_STRETCH = ("rope_low_factor", "rope_high_factor", "rope_context")
"""Numbers that count only with ``rope_factor``."""
_POSITIVE = ("norm_eps", "rope_theta", "logit_softcap")
_WORDS = {"norm": ("layer", "rms"), "mlp": ("gelu", "relu2", "swiglu")}
_GATED_MLPS = ("swiglu",)


@dataclass(frozen=True)
class GPTConfig:
    """Sizes and choices of a decoder; the defaults are GPT-2's.

    Args:
        n_layer: Number of blocks (attention + MLP), at least 1.
        n_head: Attention heads per block; must divide ``n_embd`` unless ``head_dim`` is set.
        n_embd: Width of the residual stream.
        block_size: Longest sequence, in tokens. None = as long as the data's windows.
        vocab_size: Number of token ids. None = the vocabulary of the data's tokenizer.
        dropout: Probability of zeroing an element of the embeddings, the attention weights and the residual branches
            while training; 0 <= dropout < 1.
        bias: Whether the blocks' linear layers and layer norms have a bias, as GPT-2's do.
        n_kv_head: Heads of keys and values, each shared by neighbouring query heads (grouped-query attention, Ainslie
            et al. 2023); must divide ``n_head``. None = one for each query head.
        head_dim: Width of one attention head. None = n_embd / n_head, and all heads together are as wide as
            the stream.
        n_inner: Width inside the MLP. None = 4 n_embd, or for a gated MLP 8/3 n_embd rounded up to a multiple of 64.
        norm: ``layer`` (Ba et al. 2016) or ``rms`` (Zhang & Sennrich 2019: only the scale, no mean and no shift).
        norm_eps: Added to the variance inside every norm.
        mlp: ``gelu`` (tanh form), ``relu2`` (squared ReLU, So et al. 2021) or ``swiglu`` (Shazeer 2020).
        rope_theta: Base of the wavelengths of rotary positions (Su et al. 2021), usually 10000. None = learned
            positions.
        rope_factor: Longer texts than a model was first trained with: the long wavelengths of its rotary positions are
            stretched so many times (Llama 3.1, 2024; ``rope.RopeStretch`` has the rule). None = not. The next three
            count only with it.
        rope_low_factor: Angles with fewer turns than this in ``rope_context`` tokens are stretched in full.
        rope_high_factor: Angles with more turns than this are left as they are.
        rope_context: Tokens of the texts the model was first trained with.
        qk_norm: RMS norm over each query and key head before they meet (Henry et al. 2020), with learned scales.
        window: Positions a local layer sees, the own one included (Beltagy et al. 2020). None = all.
        global_every: With a ``window``: every so-many-th layer sees all positions. None = no layer does.
        tie_embeddings: Whether the head is the token embedding (Press & Wolf 2017).
        vocab_multiple: The rows of the token embedding and the head are filled up to a multiple of this, for speed;
            128 suits GPUs. The filling has no logit, so it is neither learned nor sampled nor counted.
        zero_init: The matrices that end a branch, and an untied head, start at zero: at first every block is the
            identity.
        logit_softcap: Logits are squeezed into (-cap, cap) by cap tanh(logit / cap) (Gemma 2, 2024). None = not.
        value_embeddings: Every second layer, the last one included, adds an embedding of the token itself to its
            attention values, from a table of its own.
        smear: The embedding of the token before is added to each token's, with a learned scale per channel.
        bigram_rows: Rows of a table of embeddings for pairs of neighbouring tokens, added to the token embedding. One
            row is for tokens with none before; vocab_size^2 + 1 rows give every pair its own, with fewer they are
            shared by hashing. None = no table.

    Raises:
        ConfigError: A value is out of range, or two of them do not go together.
    """

    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    block_size: int | None = None
    vocab_size: int | None = None
    dropout: float = 0.0
    bias: bool = True
    n_kv_head: int | None = None
    head_dim: int | None = None
    n_inner: int | None = None
    norm: Literal["layer", "rms"] = "layer"
    norm_eps: float = 1e-5
    mlp: Literal["gelu", "relu2", "swiglu"] = "gelu"
    rope_theta: float | None = None
    rope_factor: float | None = None
    rope_low_factor: float = 1.0
    rope_high_factor: float = 4.0
    rope_context: int = 8192
    qk_norm: bool = False
    window: int | None = None
    global_every: int | None = None
    tie_embeddings: bool = True
    vocab_multiple: int = 1
    zero_init: bool = False
    logit_softcap: float | None = None
    value_embeddings: bool = False
    smear: bool = False
    bigram_rows: int | None = None

    def __post_init__(self) -> None:
        _check_ranges(self)
        _check_heads(self)
        _check_stretch(self)
        if self.global_every is not None and self.window is None:
            raise ConfigError(
                "global_every is set, but there are no local layers",
                got=self.global_every,
                allowed="only together with window",
                fix="Set window as well, or leave global_every out.",
            )
        if self.bigram_rows == 1:
            raise ConfigError("bigram_rows has no row for a pair", got=1, allowed="2 or more, or none")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> GPTConfig:
        """The sizes of a known model.

        Args:
            name: ``gpt2`` (124M parameters), ``gpt2-medium`` (355M), ``gpt2-large`` (774M) or ``gpt2-xl`` (1558M);
                ``modern-nano`` (29M), ``modern-small`` (114M), ``modern-medium`` (317M) or ``modern-large`` (690M).
            changes: Fields that differ from the preset's.

        Raises:
            ConfigError: The name or a field is unknown.
        """
        if name not in PRESETS:
            raise ConfigError("unknown model preset", got=name, allowed=", ".join(PRESETS), fix=_guess(name, PRESETS))
        return cls.from_dict({**PRESETS[name], **changes})

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

    def to_dict(self) -> dict[str, int | float | bool | str | None]:
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
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head if self.head_dim is None else self.head_dim

    @property
    def query_size(self) -> int:
        """Width of the queries of all heads, which is that of what attention gives."""
        return self.n_head * self.head_size

    @property
    def rope_scaling(self) -> RopeStretch | None:
        """The stretching of rotary positions; None = they are not stretched."""
        if self.rope_factor is None:
            return None
        return RopeStretch(self.rope_factor, self.rope_low_factor, self.rope_high_factor, self.rope_context)

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values in every block."""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def is_gated(self) -> bool:
        """Whether the MLP has a third matrix, whose output multiplies the activation."""
        return self.mlp in _GATED_MLPS

    @property
    def inner_size(self) -> int:
        """Width inside the MLP."""
        if self.n_inner is not None:
            return self.n_inner
        # A gated MLP has three matrices instead of two: two thirds of the width cost the same.
        return -(-8 * self.n_embd // 192) * 64 if self.is_gated else 4 * self.n_embd

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the token embedding, filling included."""
        vocab_size, _ = self.data_sizes()
        return -(-vocab_size // self.vocab_multiple) * self.vocab_multiple

    def window_of(self, layer: int) -> int | None:
        """Positions that the layer (0, 1, ...) sees at most; None = all."""
        is_global = self.global_every is not None and (layer + 1) % self.global_every == 0
        return None if is_global else self.window

    def has_value_embedding(self, layer: int) -> bool:
        """Whether the layer (0, 1, ...) has a table of value embeddings."""
        return self.value_embeddings and (self.n_layer - 1 - layer) % 2 == 0

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers, without building the model.

        A tied embedding counts once; the rows that fill the vocabulary up to a multiple are not trained and not
        counted.
        """
        vocab_size, block_size = self.data_sizes()
        norm = (2 if self.norm == "layer" and self.bias else 1) * self.n_embd
        outside = vocab_size * (1 if self.tie_embeddings else 2) + (self.bigram_rows or 0)
        outside += block_size if self.rope_theta is None else 0
        outside += 1 if self.smear else 0
        value_tables = sum(self.has_value_embedding(layer) for layer in range(self.n_layer))
        return (
            outside * self.n_embd
            + value_tables * vocab_size * self.key_value_heads * self.head_size
            + self.n_layer * (count_block_weights(self) + _count_block_vectors(self) + 2 * norm)
            + norm
        )


def count_block_weights(config: GPTConfig) -> int:
    """Elements of the matrices of one block: queries, keys, values, output, and the MLP's."""
    attention = 2 * (config.query_size + config.key_value_heads * config.head_size)
    return config.n_embd * (attention + (3 if config.is_gated else 2) * config.inner_size)


def _count_block_vectors(config: GPTConfig) -> int:
    """Biases of one block's linear layers, and the scales of its query and key norms."""
    scales = 2 * config.head_size if config.qk_norm else 0
    if not config.bias:
        return scales
    attention = config.query_size + config.n_embd + 2 * config.key_value_heads * config.head_size
    return scales + attention + (2 if config.is_gated else 1) * config.inner_size + config.n_embd


def _check_ranges(config: GPTConfig) -> None:
    for name in (*_COUNTS, *_OPEN_COUNTS):
        value = getattr(config, name)
        left_open = value is None and name in _OPEN_COUNTS
        if not left_open and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ConfigError(f"{name} is not a positive whole number", got=value, allowed="1, 2, 3, ...")
    for name in _POSITIVE:
        value = getattr(config, name)
        if value is not None and not 0.0 < value < math.inf:
            raise ConfigError(f"{name} is not a positive number", got=value, allowed="above 0, finite")
    for name, words in _WORDS.items():
        value = getattr(config, name)
        if value not in words:
            raise ConfigError(f"unknown {name}", got=value, allowed=", ".join(words), fix=_guess(value, words))
    if not 0.0 <= config.dropout < 1.0:
        raise ConfigError("dropout is not a probability below 1", got=config.dropout, allowed="0 <= dropout < 1")


def _check_heads(config: GPTConfig) -> None:
    if config.head_dim is None and config.n_embd % config.n_head:
        lower = config.n_embd // config.n_head * config.n_head
        nearest = " or ".join(str(width) for width in (lower, lower + config.n_head) if width)
        raise ConfigError(
            f"n_embd is not divisible by n_head={config.n_head}",
            got=config.n_embd,
            allowed=f"multiples of {config.n_head}",
            fix=f"The nearest widths that work are {nearest}.",
        )
    if config.n_head % config.key_value_heads:
        divisors = [str(number) for number in range(1, config.n_head + 1) if config.n_head % number == 0]
        raise ConfigError(
            f"n_kv_head does not divide n_head={config.n_head}", got=config.n_kv_head, allowed=", ".join(divisors)
        )
    if config.rope_theta is not None and config.head_size % 2:
        raise ConfigError(
            "rotary positions turn pairs of channels, and a head has an odd number of them",
            got=config.head_size,
            allowed="an even n_embd / n_head, or head_dim",
            fix="Change n_embd, n_head or head_dim, or set rope_theta to null.",
        )


def _check_stretch(config: GPTConfig) -> None:
    if config.rope_scaling is None:
        changed = {
            name: getattr(config, name) for name in _STRETCH if getattr(config, name) != getattr(GPTConfig, name)
        }
        if changed:
            raise ConfigError(
                "rotary positions are not stretched, so this counts for nothing", got=changed, fix="Set rope_factor."
            )
    elif config.rope_theta is None:
        raise ConfigError(
            "rope_factor stretches rotary positions, and there are none",
            got=config.rope_factor,
            allowed="only together with rope_theta",
            fix="Set rope_theta as well, or leave rope_factor out.",
        )


def _guess(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else ""

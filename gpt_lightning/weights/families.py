"""The architectures of other projects that this decoder can be: one object for each, with its ``config.json``.

    family    class there           asks of model.config
    gpt2      GPT2LMHeadModel       norm layer, mlp gelu, learned positions
    llama     LlamaForCausalLM      norm rms, mlp swiglu, rotary positions, no biases
    qwen3     Qwen3ForCausalLM      the same with qk_norm

``read_settings`` turns a ``config.json`` into a ``GPTConfig`` and refuses, with every reason, what it cannot be;
``write_settings`` is the way back. A file written here also carries our own record, so that what theirs has no word for
(how many rows fill the vocabulary, how branches begin) comes back; it counts only while the two agree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.weights import gpt2, llama
from gpt_lightning.weights.llama import list_rope_obstacles, read_rope, write_rope

OWN_ENTRY = "gpt_lightning"
_TIED = "tie_word_embeddings"


class Family(ABC):
    """One architecture of another project.

    Attributes:
        model_type: Its name in ``config.json``.
        class_name: The class that loads it.
        required: Fields of ``GPTConfig`` that must have one value.
    """

    model_type: ClassVar[str]
    class_name: ClassVar[str]
    required: ClassVar[Mapping[str, object]]

    @abstractmethod
    def read(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of ``GPTConfig`` from a ``config.json``."""

    @abstractmethod
    def list_obstacles(self, settings: Mapping[str, Any]) -> list[str]:
        """Entries of a ``config.json`` that this decoder cannot follow."""

    @abstractmethod
    def write(self, config: GPTConfig) -> dict[str, Any]:
        """Entries of a ``config.json`` that say the architecture."""

    @abstractmethod
    def check(self, shapes: Mapping[str, torch.Size], config: GPTConfig) -> None:
        """Refuse names and shapes that ``take`` would refuse, before anything is read."""

    @abstractmethod
    def take(self, theirs: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
        """Our state dict from theirs."""

    @abstractmethod
    def give(self, ours: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
        """Their state dict from ours."""

    def list_reasons(self, config: GPTConfig) -> list[str]:
        """Why a decoder of ours is not of this family; none = it is."""
        found = {name: getattr(config, name) for name, value in self.required.items()}
        return [
            f"{name}={found[name]!r} (not {value!r})" for name, value in self.required.items() if found[name] != value
        ]


class GPT2(Family):
    """Radford et al. 2019."""

    model_type = "gpt2"
    class_name = "GPT2LMHeadModel"
    required = gpt2.REQUIRED

    def read(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of ``GPTConfig`` from a ``config.json``."""
        dropouts = {settings.get(f"{place}_pdrop", 0.1) for place in ("resid", "embd", "attn")}
        return {
            "n_layer": settings.get("n_layer", 12),
            "n_head": settings.get("n_head", 12),
            "n_embd": settings.get("n_embd", 768),
            "block_size": settings.get("n_positions", settings.get("n_ctx", 1024)),
            "vocab_size": settings.get("vocab_size", 50257),
            "n_inner": settings.get("n_inner"),
            "norm_eps": settings.get("layer_norm_epsilon", 1e-5),
            # Ours is one probability for all three places.
            "dropout": dropouts.pop() if len(dropouts) == 1 else 0.0,
            "tie_embeddings": settings.get(_TIED, True),
        }

    def list_obstacles(self, settings: Mapping[str, Any]) -> list[str]:
        """Entries of a ``config.json`` that this decoder cannot follow."""
        allowed: dict[str, tuple[Any, ...]] = {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        }
        return _compare(settings, allowed)

    def write(self, config: GPTConfig) -> dict[str, Any]:
        """Entries of a ``config.json`` that say the architecture."""
        vocab_size, block_size = config.data_sizes()
        return {
            "vocab_size": vocab_size,
            "n_positions": block_size,
            "n_ctx": block_size,
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_inner": config.n_inner,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm_eps,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
            "scale_attn_weights": True,
            _TIED: config.tie_embeddings,
        }

    def check(self, shapes: Mapping[str, torch.Size], config: GPTConfig) -> None:
        """Refuse names and shapes that ``take`` would refuse, before anything is read."""
        gpt2.check_gpt2(shapes, config)

    def take(self, theirs: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
        """Our state dict from theirs."""
        return gpt2.from_gpt2(theirs, config)

    def give(self, ours: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
        """Their state dict from ours."""
        return gpt2.to_gpt2(ours, config)

    def list_reasons(self, config: GPTConfig) -> list[str]:
        """Why a decoder of ours is not of this family; none = it is."""
        reasons = super().list_reasons(config)
        if config.key_value_heads != config.n_head:
            reasons.append(f"n_kv_head={config.n_kv_head} (not n_head)")
        if config.query_size != config.n_embd:
            reasons.append(f"head_dim={config.head_dim} (not n_embd / n_head)")
        return reasons


class Llama(Family):
    """Touvron et al. 2023; grouped queries and a tied head where ``config.json`` says so."""

    model_type = "llama"
    class_name = "LlamaForCausalLM"
    required: ClassVar[Mapping[str, object]] = {**llama.REQUIRED, "qk_norm": False}
    positions = 2048
    """Positions where ``config.json`` does not say."""
    head_size: ClassVar[int | None] = None
    """Width of a head where it does not say; None = that of the stream over the number of heads."""

    def read(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of ``GPTConfig`` from a ``config.json``."""
        return {
            **{ours: settings[theirs] for ours, theirs in _SIZES.items()},
            "n_kv_head": settings.get("num_key_value_heads"),
            "block_size": settings.get("max_position_embeddings", self.positions),
            "norm_eps": settings.get("rms_norm_eps", 1e-6),
            **self._read_heads(settings),
            **read_rope(settings),
            "tie_embeddings": settings.get(_TIED, False),
            "bias": False,
            "norm": "rms",
            "mlp": "swiglu",
            "qk_norm": bool(self.required["qk_norm"]),
        }

    def list_obstacles(self, settings: Mapping[str, Any]) -> list[str]:
        """Entries of a ``config.json`` that this decoder cannot follow."""
        missing = [f"no {name}" for name in _SIZES.values() if name not in settings]
        allowed: dict[str, tuple[Any, ...]] = {
            "hidden_act": ("silu", "swish"),
            "attention_bias": (False,),
            "mlp_bias": (False,),
            "use_sliding_window": (False,),
        }
        found = missing + _compare(settings, allowed)
        layers = settings.get("layer_types")
        if layers and set(layers) != {"full_attention"}:
            found.append(f"layer_types with {', '.join(sorted(set(map(str, layers)) - {'full_attention'}))}")
        return found + list_rope_obstacles(settings)

    def _read_heads(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The width of a head where it is not that of the stream over the number of heads."""
        width, heads = settings["hidden_size"], settings["num_attention_heads"]
        stated = settings.get("head_dim") or self.head_size
        return {"head_dim": None if stated is None or stated * heads == width else stated}

    def write(self, config: GPTConfig) -> dict[str, Any]:
        """Entries of a ``config.json`` that say the architecture."""
        _, block_size = config.data_sizes()
        return {
            "vocab_size": config.vocab_size,
            "hidden_size": config.n_embd,
            "intermediate_size": config.inner_size,
            "num_hidden_layers": config.n_layer,
            "num_attention_heads": config.n_head,
            "num_key_value_heads": config.key_value_heads,
            "head_dim": config.head_size,
            "max_position_embeddings": block_size,
            "hidden_act": "silu",
            "rms_norm_eps": config.norm_eps,
            **write_rope(config),
            "attention_bias": False,
            "attention_dropout": 0.0,
            _TIED: config.tie_embeddings,
            **self._more(),
        }

    def _more(self) -> dict[str, Any]:
        return {"mlp_bias": False}

    def check(self, shapes: Mapping[str, torch.Size], config: GPTConfig) -> None:
        """Refuse names and shapes that ``take`` would refuse, before anything is read."""
        llama.check_llama(shapes, config)

    def take(self, theirs: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
        """Our state dict from theirs."""
        return llama.from_llama(theirs, config)

    def give(self, ours: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
        """Their state dict from ours."""
        return llama.to_llama(ours, config)

    def list_reasons(self, config: GPTConfig) -> list[str]:
        """Why a decoder of ours is not of this family; none = it is."""
        return super().list_reasons(config) + (["rope_theta=None"] if config.rope_theta is None else [])


class Qwen3(Llama):
    """Llama with norms over queries and keys (Qwen3, 2025)."""

    model_type = "qwen3"
    class_name = "Qwen3ForCausalLM"
    required: ClassVar[Mapping[str, object]] = {**llama.REQUIRED, "qk_norm": True}
    positions = 32768
    head_size: ClassVar[int | None] = 128

    def _more(self) -> dict[str, Any]:
        return {"use_sliding_window": False}


FAMILIES: dict[str, Family] = {family.model_type: family for family in (GPT2(), Llama(), Qwen3())}
_SIZES = {
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_embd": "hidden_size",
    "n_inner": "intermediate_size",
    "vocab_size": "vocab_size",
}


def family_of(settings: Mapping[str, Any], source: object) -> Family:
    """The family that a ``config.json`` names.

    Raises:
        CheckpointError: Its ``model_type`` is none of ours; says which are.
    """
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(
            f"{source} is of an architecture that this decoder cannot be",
            got=kind,
            allowed=f"model_type {', '.join(FAMILIES)}",
            fix="Fine-tune a model of one of these.",
        )
    return FAMILIES[kind]


def read_settings(settings: Mapping[str, Any], source: object) -> GPTConfig:
    """The architecture that a ``config.json`` describes.

    Args:
        settings: Its content.
        source: Named in messages.

    Raises:
        CheckpointError: An unknown architecture, or a known one with options that this decoder does not have; all of
            them are named.
    """
    family = family_of(settings, source)
    try:
        obstacles = family.list_obstacles(settings)
    except TypeError as error:
        raise CheckpointError(f"{source} states values of the wrong type: {error}") from error
    if "quantization_config" in settings:
        obstacles.append("quantized weights")
    if obstacles:
        raise CheckpointError(
            f"{source} is a {family.model_type} with what this decoder does not have: {'; '.join(obstacles)}",
            fix="Choose a model without.",
        )
    try:
        config = GPTConfig.from_dict(family.read(settings))
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source} states sizes that make no model: {str(error).rstrip('.')}") from error
    own = _read_own(settings.get(OWN_ENTRY), family)
    agrees = own is not None and all(settings.get(name) == value for name, value in family.write(own).items())
    return own if own is not None and agrees else config


def _read_own(entry: Any, family: Family) -> GPTConfig | None:
    try:
        config = GPTConfig.from_dict(entry["model"])
        config.data_sizes()
    except (ConfigError, TypeError, KeyError, AttributeError):
        return None  # none, or of a version that knows more: their words are enough
    return None if family.list_reasons(config) else config


def choose_family(config: GPTConfig) -> Family:
    """The family that can express a decoder of ours.

    Raises:
        ConfigError: None can; gives the reasons of the nearest.
    """
    reasons = {name: family.list_reasons(config) for name, family in FAMILIES.items()}
    name = min(reasons, key=lambda name: len(reasons[name]))
    if reasons[name]:
        raise ConfigError(
            f"No architecture of other libraries can express this model; the nearest is {FAMILIES[name].class_name}, "
            f"but for {', '.join(reasons[name])}",
            fix="Train with --preset modern-nano to modern-large or gpt2 to gpt2-xl, whose options all can leave.",
        )
    return FAMILIES[name]


def write_settings(config: GPTConfig, family: Family) -> dict[str, Any]:
    """The entries of ``config.json`` that say the architecture, ours among them."""
    return {
        "architectures": [family.class_name],
        "model_type": family.model_type,
        **family.write(config),
        OWN_ENTRY: {"model": config.to_dict()},
    }


def _compare(settings: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...]]) -> list[str]:
    return [
        f"{name} {settings[name]!r} (not {values[0]!r})"
        for name, values in allowed.items()
        if name in settings and settings[name] not in values
    ]

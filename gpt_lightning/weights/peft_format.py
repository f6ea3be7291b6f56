"""Adapters in peft's format: adapter_config.json and adapter_model.safetensors, out and in.

What is written loads in ``PeftModel`` on the base as ``export`` writes it. Theirs has one matrix each where ours stacks
several (Llama) or one where ours has three adapters (GPT-2's c_attn), so factors are put together and taken apart:

    ours                               theirs
    query, key, value of rank r        GPT-2: c_attn of rank 3 r, A one above the other, B block by block
    LoRA, RsLoRA, AdaLoRA              LoRA; scale and singular values multiplied in, so that lora_alpha = r
    PiSSA                              LoRA of rank 2 r: what was trained, and the beginning taken away
    DoRA                               the same
    PrefixTuning, PromptTuning         see ``peft_prompts``
    IA3, Houlsby, Pfeiffer, Freeze     nothing: refused
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt_lightning.adapters.adalora import SingularValues
from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.adapters.layers import Delta, adapted_layers
from gpt_lightning.adapters.lora import Decomposed, DoRA, LoRA, LowRank
from gpt_lightning.adapters.prefix import Beginning, Beginnings
from gpt_lightning.adapters.targets import block_of, find_places
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.weights.peft_prompts import describe_beginning, read_beginning

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_LORA, _PROMPTS = "LORA", ("PREFIX_TUNING", "PROMPT_TUNING")
_LLAMA = {
    **{"query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj"},
    **{"output": "self_attn.o_proj", "gate": "mlp.gate_proj", "expand": "mlp.up_proj", "contract": "mlp.down_proj"},
}
_GPT2 = {
    **dict.fromkeys(("query", "key", "value"), "attn.c_attn"),
    **{"output": "attn.c_proj", "expand": "mlp.c_fc", "contract": "mlp.c_proj"},
}
_BLOCKS = {"gpt2": ("transformer.h", _GPT2), "llama": ("model.layers", _LLAMA), "qwen3": ("model.layers", _LLAMA)}


def is_peft(path: Path) -> bool:
    """Whether a folder holds an adapter of peft."""
    return (path / CONFIG_FILE).is_file()


def _module_of(family: str, layer: str, word: str) -> str:
    block = block_of(layer)
    if block is None:
        return "lm_head"
    beginning, words = _BLOCKS[family]
    return f"{beginning}.{block}.{words[word]}"


def write_peft(model: GPT, family: str, folder: Path, base: str) -> None:
    """Write the adapter of a model.

    Args:
        model: With one adapter, not merged.
        family: The other architecture, by its ``model_type``.
        folder: An empty folder.
        base: What ``base_model_name_or_path`` is to say.

    Raises:
        CheckpointError: The adapter is of a kind that peft does not have.
        DataError: safetensors is not installed.
    """
    save_file = import_extra("safetensors.torch", "hf").save_file
    beginning = model.ahead.deltas["default"] if isinstance(model.ahead, Beginnings) else None
    if isinstance(beginning, Beginning):
        tensors, settings = describe_beginning(model, beginning)
    else:
        tensors, settings = _describe_layers(model, family)
    shared = {"task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": True}
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps({**settings, **shared}, indent=2) + "\n", encoding="utf-8")


def _describe_layers(model: GPT, family: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and settings of an adapter of linear layers."""
    parts: dict[str, list[tuple[tuple[int, int], Delta]]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    for name, layer in adapted_layers(model):
        deltas = dict(layer.deltas_of("default"))
        for word, rows in layer.sections.items():
            module = _module_of(family, name, word)
            if word in deltas:
                parts[module].append(((sizes[module], sizes[module] + rows[1] - rows[0]), deltas[word]))
            sizes[module] += rows[1] - rows[0]
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for module, found in parts.items():
        a, b, magnitude = _join(found, sizes[module])
        ranks[module] = len(a)
        tensors |= {f"{_PREFIX}{module}.lora_A.weight": a, f"{_PREFIX}{module}.lora_B.weight": b}
        if magnitude is not None:
            tensors[f"{_PREFIX}{module}.lora_magnitude_vector"] = magnitude
    largest = max(ranks.values())
    settings = {
        "peft_type": _LORA,
        "r": largest,
        "lora_alpha": largest,
        "rank_pattern": {module: rank for module, rank in ranks.items() if rank != largest},
        "alpha_pattern": {module: rank for module, rank in ranks.items() if rank != largest},
        "target_modules": sorted(ranks),
        "use_dora": any(name.endswith("magnitude_vector") for name in tensors),
        "fan_in_fan_out": family == "gpt2",
        **{"lora_dropout": 0.0, "bias": "none"},
    }
    return tensors, settings


def _join(parts: list[tuple[tuple[int, int], Delta]], rows: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """A, B and magnitude of one of their layers, out of those of its rows."""
    factors = [_factors(delta) for _, delta in parts]
    a = torch.cat([a for a, _ in factors])
    b = a.new_zeros(rows, len(a))
    column = 0
    for ((first, end), _), (_, values) in zip(parts, factors, strict=True):
        b[first:end, column : column + values.shape[1]] = values
        column += values.shape[1]
    magnitudes: list[Tensor] = [delta.magnitude for _, delta in parts if isinstance(delta, Decomposed)]
    if magnitudes and sum(map(len, magnitudes)) != rows:
        raise CheckpointError(
            "DoRA of some of the rows of a layer cannot be said in peft's format",
            allowed="query, key and value together, for GPT-2",
            fix="Export it merged, without --adapter_only.",
        )
    return a, b, torch.cat(magnitudes) if magnitudes else None


def _factors(delta: Delta) -> tuple[Tensor, Tensor]:
    """A and B whose product is the change."""
    if isinstance(delta, LowRank | SingularValues):
        return delta.factors()
    raise CheckpointError(
        "peft has no adapter like this one",
        got=type(delta).__name__,
        allowed="LoRA, RsLoRA, PiSSA, DoRA, AdaLoRA, PrefixTuning, PromptTuning",
        fix="Export the run merged where that is possible, without --adapter_only.",
    )


def read_peft(path: Path, model: GPT, family: str) -> tuple[Adaptation, dict[str, Tensor]]:
    """An adapter of peft as one of ours: the adaptation, and its state for ``load_adapter``.

    Args:
        path: Its folder.
        model: The base, for its shapes.
        family: What the base is called there.

    Raises:
        CheckpointError: Another kind of adapter, or of another base.
        DataError: safetensors is not installed.
    """
    settings = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    kind = settings.get("peft_type")
    if kind not in (_LORA, *_PROMPTS) or settings.get("modules_to_save") or settings.get("bias", "none") != "none":
        raise CheckpointError(
            f"{path} is an adapter of another kind",
            got={name: settings.get(name) for name in ("peft_type", "modules_to_save", "bias")},
            allowed="peft_type LORA, also with use_dora, PREFIX_TUNING and PROMPT_TUNING, without modules_to_save and "
            "biases",
        )
    found = import_extra("safetensors.torch", "hf").load_file(path / WEIGHTS_FILE)
    if kind in _PROMPTS:
        return read_beginning(model, settings, {name: value.float() for name, value in found.items()}, path)
    return _read_layers(path, model, family, settings, found)


def _read_layers(
    path: Path, model: GPT, family: str, settings: Mapping[str, Any], found: Mapping[str, Tensor]
) -> tuple[LoRA, dict[str, Tensor]]:
    """An adapter of linear layers."""
    tensors = {name.removeprefix(_PREFIX): value.float() for name, value in found.items()}
    kind = DoRA if settings.get("use_dora") else LoRA
    places = [
        (place, module)
        for place in find_places(model, None)
        if f"{(module := _module_of(family, place.layer, place.word))}.lora_A.weight" in tensors
    ]
    unused = {name.rpartition(".lora_")[0] for name in tensors} - {module for _, module in places}
    if unused or not places:
        raise CheckpointError(
            f"{path} adapts layers that this model does not have", got=min(unused, default="none"), allowed=family
        )
    rank = max(len(tensors[f"{module}.lora_A.weight"]) for _, module in places)
    state: dict[str, Tensor] = {}
    used: dict[str, int] = defaultdict(int)
    words = sorted({place.word for place, _ in places})
    for place in find_places(model, words):
        name = f"{place.layer}.deltas.default.{place.word}"
        module = _module_of(family, place.layer, place.word)
        height = place.rows[1] - place.rows[0]
        inputs = model.get_parameter(f"{place.layer}.weight").shape[1]
        a = tensors.get(f"{module}.lora_A.weight", torch.zeros(0, inputs))
        b = tensors.get(f"{module}.lora_B.weight", torch.zeros(used[module] + height, 0))
        first = used[module] if len(b) > height else 0
        used[module] += height
        scaled = b[first : first + height] * _scale(settings, module, len(a))
        state[f"{name}.a"] = torch.nn.functional.pad(a, (0, 0, 0, rank - len(a)))
        state[f"{name}.b"] = torch.nn.functional.pad(scaled, (0, rank - scaled.shape[1]))
        magnitude = tensors.get(f"{module}.lora_magnitude_vector")
        if magnitude is not None:
            state[f"{name}.magnitude"] = magnitude[first : first + height]
    return kind(r=rank, alpha=float(rank), targets=words), state


def _scale(settings: Mapping[str, Any], module: str, rank: int) -> float:
    """What theirs multiplies the product with; a pattern may name the end of a module."""
    patterns = settings.get("alpha_pattern") or {}
    named = (value for key, value in patterns.items() if module == key or module.endswith(f".{key}"))
    alpha = float(next(named, settings.get("lora_alpha", rank)))
    return alpha / (rank**0.5 if settings.get("use_rslora") else rank) if rank else 1.0

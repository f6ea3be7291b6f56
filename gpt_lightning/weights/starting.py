"""Weights to start a new run from: a run, a checkpoint, a file of weights, or another project's folder.

What tells its architecture (all but the file) also gives the defaults of ``model.config``, so that only what is to be
different has to be said; and its tokenizer must be that of the data, because an id means nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt_lightning.checkpoints.checkpoint_dir import locate
from gpt_lightning.checkpoints.durable import local_path, read_manifest
from gpt_lightning.checkpoints.folder import load_plain, read_checkpoint
from gpt_lightning.data.tokenizers.tokenizer import text_fingerprint
from gpt_lightning.errors import CheckpointError, ConfigError, DataError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.adapted import attach_trained, find_base, names_base, plain_weights
from gpt_lightning.weights.checking import check_finite, check_fit, decoder_weights, hash_weights
from gpt_lightning.weights.foreign import as_parameters, read_foreign, read_foreign_config
from gpt_lightning.weights.gpt2 import rename_gpt2
from gpt_lightning.weights.hub import is_foreign
from gpt_lightning.weights.keys import own_names
from gpt_lightning.weights.resizing import resize

TOKENIZER_FILE = "tokenizer.json"
"""Where an imported folder keeps its vocabulary."""
_NANOGPT = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size", "bias", "dropout")


@dataclass(frozen=True)
class InitialWeights:
    """What a run starts from.

    Attributes:
        weights: Our state dict.
        path: Where it was found.
        config: Its architecture; None for a file of weights that does not tell.
        tokenizer: Description of its tokenizer; None where it is not told.
    """

    weights: dict[str, Tensor]
    path: Path
    config: GPTConfig | None = None
    tokenizer: Mapping[str, Any] | None = None

    def fit(self, wanted: GPTConfig) -> dict[str, Tensor]:
        """The weights for a model of a complete record; vocabulary and positions follow it by ``resizing``'s rules.

        Raises:
            CheckpointError: Anything else differs; names every weight that is missing, unknown or mis-shaped.
        """
        with torch.device("meta"):
            model = GPT(wanted)
        if self.config is None:
            check_fit(self.weights, model, self.path)
            return self.weights
        with torch.device("meta"):
            check_fit(self.weights, GPT(self.config), self.path)
        weights = resize(self.weights, self.config, wanted)
        check_fit(weights, model, self.path)
        return weights

    def check_tokenizer(self, data: Mapping[str, Any], allowed: list[str]) -> None:
        """Refuse data whose ids mean something else.

        Args:
            data: Description of the data's tokenizer.
            allowed: ``run.allow_changes``; with ``data.tokenizer`` in it every tokenizer will do.

        Raises:
            DataError: Another tokenizer.
        """
        theirs = self.tokenizer
        if theirs is None or "data.tokenizer" in allowed or text_fingerprint(theirs) == text_fingerprint(data):
            return
        raise DataError(
            f"The weights of {self.path} were trained with tokenizer {theirs['name']} ({theirs['fingerprint'][:12]}), "
            f"and the data are in {data['name']} ({data['fingerprint'][:12]})",
            fix=f"Use its tokenizer (--data.tokenizer {_spec_of(theirs, self.path)}), or, if ids shall mean something "
            "new from now on, say --run.allow_changes '[data.tokenizer]'.",
        )


def read_initial_weights(path: Path | str) -> InitialWeights:
    """Weights of a decoder to start from.

    Args:
        path: Run folder, checkpoint folder, ``torch.save`` of a ``state_dict`` (nanoGPT's checkpoint too), or a folder
            in Hugging Face's layout.

    Raises:
        CheckpointError: Nothing usable there.
    """
    found = _read_initial_weights(local_path(path))
    check_finite(found.weights, found.path)
    return found


def _read_initial_weights(place: Path) -> InitialWeights:
    if is_foreign(place):
        found = read_foreign(place)
        return InitialWeights(as_parameters(found.weights), place, found.config, found.tokenizer.describe())
    if place.is_file():
        return _read_file(place)
    checkpoint = locate(place)
    state = read_checkpoint(checkpoint)
    card = state.get("gpt_lightning") or {}
    if names_base(card):
        weights = plain_weights(open_adapted(checkpoint, state), checkpoint)
    else:
        weights = decoder_weights(state["state_dict"])
    config = GPTConfig.from_dict(card["model"]) if "model" in card else None
    return InitialWeights(weights, checkpoint, config, card.get("tokenizer"))


def open_adapted(checkpoint: Path, state: Mapping[str, Any], merge: bool = True) -> GPT:
    """The model of a checkpoint that holds an adapter, on the base it names.

    Args:
        checkpoint: Where it lies.
        state: What was read there.
        merge: As ``attach_trained`` takes.

    Raises:
        CheckpointError: The base is gone, or another one.
    """
    card = state["gpt_lightning"]
    model = GPT(GPTConfig.from_dict(card["model"]))
    base = read_initial_weights(find_base(checkpoint, card)).fit(model.config)
    model.load_state_dict(base)
    return attach_trained(model, hash_weights(base), card, state["state_dict"], checkpoint, merge)


def _read_file(place: Path) -> InitialWeights:
    """A ``state_dict``, alone or under ``state_dict`` or ``model``, with our names or GPT-2's (as nanoGPT saves)."""
    saved = load_plain(place)
    nested = (saved[name] for name in ("state_dict", "model") if isinstance(saved.get(name), Mapping))
    state = next(nested, saved)
    wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CheckpointError(
            f"{place} holds {wrong[0]!r}, which is no tensor",
            allowed="a state_dict, alone or under state_dict or model",
            fix="Save the model's state_dict.",
        )
    weights = own_names(state)
    if not any(name.endswith("wte.weight") for name in weights):
        return InitialWeights(decoder_weights(weights), place)
    sizes = saved.get("model_args")
    config = _read_model_args(sizes, place) if isinstance(sizes, Mapping) else None
    return InitialWeights(rename_gpt2(weights), place, config)


def _read_model_args(sizes: Mapping[str, Any], place: Path) -> GPTConfig:
    """NanoGPT's record of its sizes."""
    known = {name: sizes[name] for name in _NANOGPT if sizes.get(name) is not None}
    try:
        return GPTConfig.from_dict({**known, "tie_embeddings": True})
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{place} states sizes that make no model ({str(error).rstrip('.')})") from error


def read_initial_settings(path: Path | str) -> dict[str, Any]:
    """Defaults that starting from somewhere gives, as dotted settings: its architecture, and its tokenizer if told.

    Nothing for a file of weights that does not tell.

    Raises:
        CheckpointError: Nothing usable there.
    """
    place = local_path(path)
    if is_foreign(place):
        config, tokenizer = read_foreign_config(place)
        return _as_settings(config, tokenizer)
    if place.is_file():
        told = _read_file(place).config
        return {} if told is None else _as_settings(told, None)
    checkpoint = locate(place)
    facts = read_manifest(checkpoint)["facts"]
    if "model" not in facts:
        return {}
    try:
        config = GPTConfig.from_dict(facts["model"])
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{checkpoint} describes a model of another version ({error})") from error
    own = checkpoint.parent.parent / TOKENIZER_FILE
    return _as_settings(config, str(own) if own.is_file() else None)


def _as_settings(config: GPTConfig, tokenizer: str | None) -> dict[str, Any]:
    settings: dict[str, Any] = {f"model.config.{name}": value for name, value in config.to_dict().items()}
    return settings | ({} if tokenizer is None else {"data.tokenizer": tokenizer})


def _spec_of(description: Mapping[str, Any], path: Path) -> str:
    own = [folder / TOKENIZER_FILE for folder in (path, *path.parents[:2]) if (folder / TOKENIZER_FILE).is_file()]
    return str(own[0] if own else description["name"])

"""A model that is served: its weights, the engine that runs it, and the name that says which weights they are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gpt_lightning.adapters.layers import adapter_names
from gpt_lightning.checkpoints.checkpoint_dir import locate
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.generation.command import choose_device
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import check_weights, pack
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.classifier import Classifier, classifier_of
from gpt_lightning.serving.settings import EngineSettings
from gpt_lightning.weights.adapted import attach_adapters
from gpt_lightning.weights.checking import hash_weights
from gpt_lightning.weights.loading import LoadedModel, load_model


@dataclass(frozen=True, eq=False)
class Version:
    """Certain weights, ready to answer.

    Attributes:
        loaded: Model (packed) and tokenizer.
        engine: Runs it, and those that differ from it by an adapter; only the worker's thread touches it.
        fingerprint: Names all that an answer's bytes depend on: weights, adapter, tokenizer, kind of weights, prompt
            pieces.
        max_tokens: Most tokens of an answer.
        adapter: As the engine knows it; "" = the base alone, None = what the model has in use by itself.
        source: Folder that it was loaded from: the checkpoint, or the adapter's.
        classifier: Of a model that labels texts; None = it only writes.
    """

    loaded: LoadedModel
    engine: Engine
    fingerprint: str
    max_tokens: int
    adapter: str | None = None
    source: str = ""
    classifier: Classifier | None = None

    @property
    def capacity(self) -> int:
        """Positions of the model."""
        return self.engine.capacity


Versions = Mapping[str | None, Version]
"""Of one engine: the base (None), and each of its adapters by its folder."""
Loader = Callable[[str, Sequence[str]], Versions]
"""From the folders of a base and of its adapters."""


def load_versions(base: str, adapters: Sequence[str], settings: EngineSettings) -> Versions:
    """Load a run folder, a checkpoint, or a folder in Hugging Face's layout, and adapters that were trained on it.

    Raises:
        UserError: One cannot be loaded or run so.
    """
    check_weights(settings.weights)
    loaded = load_model(base, prefer=settings.prefer, device=choose_device(settings.device))
    return build_versions(loaded, adapters, settings)


def build_versions(loaded: LoadedModel, adapters: Sequence[str], settings: EngineSettings) -> Versions:
    """The versions of a model that is loaded and not packed yet."""
    parts = [_hash_model(loaded.model), loaded.tokenizer.fingerprint, settings.weights, str(settings.piece_tokens)]
    if loaded.head is not None:
        parts.append(hash_weights({"score.weight": loaded.head}))
    known = set(adapter_names(loaded.model))
    attach_adapters(loaded.model, adapters, loaded.path)
    named = dict(zip(adapters, (name for name in adapter_names(loaded.model) if name not in known), strict=True))
    marks = {folder: _hash_adapter(loaded.model, name, folder) for folder, name in named.items()}
    packed = dataclasses.replace(loaded, model=pack(loaded.model, settings.weights))
    engine = Engine(
        packed.model,
        packed.tokenizer,
        slots=settings.slots,
        piece_tokens=settings.piece_tokens,
        prompt_cache_bytes=settings.prompt_cache_mb * 1_000_000,
    )
    base = Version(packed, engine, _name(parts), settings.max_tokens, "" if named else None, str(loaded.path))
    if loaded.head is not None:
        base = dataclasses.replace(base, classifier=classifier_of(packed))
    return {
        None: base,
        **{
            folder: dataclasses.replace(
                base, fingerprint=_name([*parts, marks[folder]]), adapter=name, source=folder, classifier=None
            )
            for folder, name in named.items()
        },
    }


def _name(parts: Sequence[str]) -> str:
    return f"fp_{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:16]}"


def _hash_model(model: GPT) -> str:
    """Of a model's architecture and all its weights."""
    return json.dumps(model.config.to_dict(), sort_keys=True, default=str) + hash_weights(model.state_dict())


def _hash_adapter(model: GPT, name: str, folder: str) -> str:
    """Of an adapter's weights and settings."""
    own = {key: value for key, value in model.state_dict().items() if f".deltas.{name}." in key}
    card = read_checkpoint(locate(folder))["gpt_lightning"]
    return json.dumps(card["adaptation"], sort_keys=True, default=str) + hash_weights(own)

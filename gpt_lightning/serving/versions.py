"""A model that is served: its weights, the engine that runs it, and the name that says which weights they are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from gpt_lightning.generation.command import choose_device
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import check_weights, pack
from gpt_lightning.model.gpt import GPT
from gpt_lightning.serving.settings import EngineSettings
from gpt_lightning.weights.loading import LoadedModel, load_model


@dataclass(frozen=True, eq=False)
class Version:
    """Certain weights, ready to answer.

    Attributes:
        loaded: Model (packed) and tokenizer.
        engine: Runs it; only the worker's thread touches it.
        fingerprint: Names all that an answer's bytes depend on: weights, tokenizer, kind of weights, prompt pieces.
        max_tokens: Most tokens of an answer.
        source: Where it was loaded from.
    """

    loaded: LoadedModel
    engine: Engine
    fingerprint: str
    max_tokens: int
    source: str

    @property
    def capacity(self) -> int:
        """Positions of the model."""
        return self.engine.capacity


def load_version(source: str, settings: EngineSettings) -> Version:
    """Load a run folder, a checkpoint, or a folder in Hugging Face's layout.

    Raises:
        UserError: It cannot be loaded or run so.
    """
    check_weights(settings.weights)
    loaded = load_model(source, prefer=settings.prefer, device=choose_device(settings.device))
    return build_version(loaded, settings, source)


def build_version(loaded: LoadedModel, settings: EngineSettings, source: str = "") -> Version:
    """A version of a model that is loaded and not packed yet."""
    parts = [loaded.tokenizer.fingerprint, settings.weights, str(settings.piece_tokens)]
    fingerprint = hashlib.sha256("\n".join([hash_weights(loaded.model), *parts]).encode()).hexdigest()
    packed = dataclasses.replace(loaded, model=pack(loaded.model, settings.weights))
    engine = Engine(
        packed.model,
        packed.tokenizer,
        slots=settings.slots,
        piece_tokens=settings.piece_tokens,
        prompt_cache_bytes=settings.prompt_cache_mb * 1_000_000,
    )
    return Version(packed, engine, f"fp_{fingerprint[:16]}", settings.max_tokens, source or str(Path(loaded.path)))


def hash_weights(model: GPT) -> str:
    """SHA-256 of a model's architecture, and of every tensor with its name, type and shape."""
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()

"""A model with its tokenizer, from a checkpoint or another project's folder alone: no store, no run, no Lightning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gpt_lightning.checkpoints.checkpoint_dir import check_prefer, locate
from gpt_lightning.checkpoints.durable import local_path
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.data.tokenizers.kinds import Tokenizer, from_description
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.adapted import names_base
from gpt_lightning.weights.calibration import with_calibration
from gpt_lightning.weights.checking import check_finite, check_fit, decoder_weights
from gpt_lightning.weights.foreign import ForeignModel, read_foreign
from gpt_lightning.weights.hub import is_foreign
from gpt_lightning.weights.starting import open_adapted


@dataclass(frozen=True)
class LoadedModel:
    """A decoder in evaluation mode, its tokenizer, and the checkpoint's card (plain data).

    Attributes:
        head: Of a model that labels texts (``card["use"]``), ``(labels, embed)``; None = it has none.
    """

    model: GPT
    tokenizer: Tokenizer
    card: dict[str, Any]
    path: Path
    head: Float[Tensor, "labels embed"] | None = None


def load_model(path: Path | str, *, prefer: str = "best", device: str = "cpu") -> LoadedModel:
    """Load the decoder of a run folder, a checkpoint, or a folder in Hugging Face's layout.

    That of an adapted run comes with its base, and with its adapter merged where that is exact.

    Args:
        path: Run folder, checkpoint folder, or a folder with ``config.json`` and weights.
        prefer: Which checkpoint of a run folder: "best" or "last".
        device: Where the weights go.

    Raises:
        ConfigError: ``prefer`` is neither.
        CheckpointError: Nothing usable there, damaged, or an architecture that this decoder cannot be.
        DataError: A foreign tokenizer that cannot be expressed.
    """
    check_prefer(prefer)
    if is_foreign(path):
        return _load_foreign(local_path(path), device)
    checkpoint = locate(path, prefer=prefer)
    state = read_checkpoint(checkpoint)
    card = state.get("gpt_lightning")
    if not isinstance(card, dict):
        raise CheckpointError(
            f"{checkpoint} does not describe its model", fix="Pass a checkpoint of gpt-lightning fit."
        )
    if names_base(card):
        model = open_adapted(checkpoint, state)
    else:
        model = GPT(GPTConfig.from_dict(card["model"]))
        weights = decoder_weights(state["state_dict"])
        check_fit(weights, model, checkpoint)
        check_finite(weights, checkpoint)
        model.load_state_dict(weights)
    model.sights = frozenset(card.get("sights", model.sights))
    head: Tensor | None = None
    if "use" in card:
        card = {**card, "use": with_calibration(card["use"], checkpoint)}
        head = state["state_dict"]["extras.score.weight"].to(device)
    return LoadedModel(model.to(device).eval(), from_description(card["tokenizer"]), card, checkpoint, head)


def _load_foreign(path: Path, device: str) -> LoadedModel:
    found = read_foreign(path)
    check_finite(found.weights, found.path)
    model = GPT(found.config)
    model.load_state_dict(found.weights)
    head = None if found.head is None else found.head.to(device)
    return LoadedModel(model.to(device).eval(), found.tokenizer, describe_foreign(found), found.path, head)


def describe_foreign(found: ForeignModel) -> dict[str, Any]:
    """The card of a model of another project: as a run's, without what only a run knows."""
    return {
        "format": 1,
        "model": found.config.to_dict(),
        "tokenizer": found.tokenizer.describe(),
        "imported_from": str(found.path),
        **({"use": dict(found.use)} if found.use else {}),
    }

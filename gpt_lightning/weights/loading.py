"""A model with its tokenizer, from a checkpoint or another project's folder alone: no store, no run, no Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gpt_lightning.checkpoints.checkpoint_dir import check_prefer, locate
from gpt_lightning.checkpoints.durable import local_path
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.data.tokenizers.kinds import Tokenizer, from_description
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.foreign import ForeignModel, read_foreign
from gpt_lightning.weights.hub import is_foreign

_PREFIX, _EXTRAS = "model.", "extras."
"""Where the Lightning module keeps the decoder, and what its objective trains beside it."""


@dataclass(frozen=True)
class LoadedModel:
    """A decoder in evaluation mode, its tokenizer, and the checkpoint's card (plain data)."""

    model: GPT
    tokenizer: Tokenizer
    card: dict[str, Any]
    path: Path


def load_model(path: Path | str, *, prefer: str = "best", device: str = "cpu") -> LoadedModel:
    """Load the decoder of a run folder, a checkpoint, or a folder in Hugging Face's layout.

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
    model = GPT(GPTConfig.from_dict(card["model"]))
    weights = decoder_weights(state["state_dict"])
    check_fit(weights, model, checkpoint)
    check_finite(weights, checkpoint)
    model.load_state_dict(weights)
    return LoadedModel(model.to(device).eval(), from_description(card["tokenizer"]), card, checkpoint)


def _load_foreign(path: Path, device: str) -> LoadedModel:
    found = read_foreign(path)
    check_finite(found.weights, found.path)
    model = GPT(found.config)
    model.load_state_dict(found.weights)
    return LoadedModel(model.to(device).eval(), found.tokenizer, describe_foreign(found), found.path)


def describe_foreign(found: ForeignModel) -> dict[str, Any]:
    """The card of a model of another project: as a run's, without what only a run knows."""
    return {
        "format": 1,
        "model": found.config.to_dict(),
        "tokenizer": found.tokenizer.describe(),
        "imported_from": str(found.path),
    }


def decoder_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's own names: without the prefix under which the Lightning module keeps it, and without the extras."""
    return {name.removeprefix(_PREFIX): value for name, value in state_dict.items() if not name.startswith(_EXTRAS)}


def check_fit(weights: Mapping[str, Tensor], model: GPT, source: Path | str) -> None:
    """Name every missing, extra or mis-shaped weight.

    Raises:
        CheckpointError: The weights are of another architecture.
    """
    wanted = model.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in wanted]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, needed {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if problems:
        shown = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        raise CheckpointError(
            f"{source} holds another architecture: {shown}",
            fix="Leave model.config out: it is taken from there. Or give it the sizes of the checkpoint.",
        )


def check_finite(weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse weights that hold NaN or infinity, instead of leaving it to whatever is done with them.

    Raises:
        CheckpointError: They do; names the first tensor, and how many there are.
    """
    wrong = [name for name, tensor in weights.items() if not _is_finite(tensor)]
    if wrong:
        found = "NaN" if any(bool(weights[name].isnan().any()) for name in wrong) else "infinity"
        more = f" and {len(wrong) - 1} other tensors" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"The weights of {source} hold {found}, in {wrong[0]}{more}: training diverged, or the file is damaged",
            fix="Take an earlier checkpoint of the run, train again with a lower --model.optimizer.lr, or copy the "
            "file again.",
        )


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # NaN spreads into both, and neither needs a mask of the tensor's size.
    low, high = tensor.aminmax()
    return bool(low.isfinite()) and bool(high.isfinite())

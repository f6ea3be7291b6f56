"""Whether weights are those of a decoder, and fit to be used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.gpt import GPT

_PREFIX, _EXTRAS = "model.", "extras."
"""Where the Lightning module keeps the decoder, and what its objective trains beside it."""


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


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of names, types, shapes and numbers, in the order of the names."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

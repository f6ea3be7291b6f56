"""The tensors of a folder in Hugging Face's layout: what is there first, the numbers when they are asked for.

    model.safetensors                     one file
    model.safetensors.index.json          names -> files of the same folder
    pytorch_model.bin (.index.json)       the older form, read as plain data only

Names may carry what a wrapper put before them (``module.`` of DataParallel, ``_orig_mod.`` of torch.compile), and files
may hold buffers that the model computes itself (causal masks, rotary frequencies), in whatever number format: the
first are cut off, the second left out.

Whoever opens such a folder compares names and shapes with what its ``config.json`` promises before ``read`` allocates
anything: a folder that lies is refused for the price of its headers. A file is named by the index without a path, or
it would be a way to read what lies elsewhere.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt_lightning.checkpoints.folder import load_plain
from gpt_lightning.errors import CheckpointError
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.weights.keys import own_name, own_names

SAFETENSORS, PICKLES = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
_LARGEST_INDEX = 1 << 26
_FLOATS = {"F64", "F32", "F16", "BF16"}


class TensorFiles(ABC):
    """Names and shapes of tensors on disk.

    Attributes:
        folder: Where they lie.
        shapes: Of every tensor, by name.
    """

    def __init__(self, folder: Path, shapes: Mapping[str, torch.Size]) -> None:
        self.folder, self.shapes = folder, dict(shapes)

    @abstractmethod
    def read(self) -> dict[str, Tensor]:
        """All tensors, in the number format of the files."""


class SafeTensors(TensorFiles):
    """``.safetensors`` files; their headers are checked when they are opened, their numbers mapped when read."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._files = {name: _open_safetensors(folder / name) for name in names}
        super().__init__(
            folder, _merge(folder, {name: _list_shapes(folder / name, file) for name, file in self._files.items()})
        )

    def read(self) -> dict[str, Tensor]:
        """All tensors, in the number format of the files."""
        return {
            own: file.get_tensor(name)
            for file in self._files.values()
            for name in file.keys()  # noqa: SIM118 (no mapping)
            if (own := own_name(name)) is not None
        }


class Pickles(TensorFiles):
    """``.bin`` files, loaded as plain data; the numbers are in memory once their shapes are known."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._tensors: dict[str, Tensor] = {}
        shapes = {}
        for name in names:
            found = load_plain(folder / name)
            wrong = [key for key, value in found.items() if not isinstance(value, Tensor)]
            if wrong:
                raise CheckpointError(
                    f"{folder / name} holds {wrong[0]!r}, which is no tensor", fix="Save a state_dict."
                )
            tensors = own_names(found)
            shapes[name] = {key: tensor.shape for key, tensor in tensors.items()}
            self._tensors |= tensors
        super().__init__(folder, _merge(folder, shapes))

    def read(self) -> dict[str, Tensor]:
        """All tensors, in the number format of the files."""
        return self._tensors


def open_tensors(folder: Path) -> TensorFiles:
    """Look at the weights of a folder.

    Raises:
        CheckpointError: None there, damaged, or an index that names what it must not.
    """
    for kind, single in ((SafeTensors, SAFETENSORS), (Pickles, PICKLES)):
        if (folder / f"{single}{INDEX}").is_file():
            return kind(folder, _read_index(folder / f"{single}{INDEX}"))
        if (folder / single).is_file():
            return kind(folder, [single])
    found = sorted(path.name for path in folder.iterdir())[:8]
    raise CheckpointError(
        f"{folder} holds no weights",
        got=", ".join(found),
        allowed=f"{SAFETENSORS}, {SAFETENSORS}{INDEX}, {PICKLES}",
        fix="Fetch the whole folder again.",
    )


def _read_index(path: Path) -> list[str]:
    """Files that an index names, each once."""
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = list(dict.fromkeys(places.values()))
        unsafe = [name for name in names if not isinstance(name, str) or name != Path(name).name or "\\" in name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error})", fix="Fetch the file again.") from error
    if unsafe:
        raise CheckpointError(
            f"{path} was refused: it names a file outside its folder", got=unsafe[0], allowed="names without a path"
        )
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{path} names {missing[0]} and {len(missing) - 1} other files that are not there",
            fix="Fetch the whole folder again.",
        )
    return names


def _open_safetensors(path: Path) -> Any:
    safetensors = import_extra("safetensors", "hf")
    try:
        return safetensors.safe_open(path, framework="pt")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error})", fix="Fetch the file again.") from error


def _list_shapes(path: Path, file: Any) -> dict[str, torch.Size]:
    shapes = {}
    for name in file.keys():  # noqa: SIM118 (no mapping)
        own = own_name(name)
        if own is None:
            continue
        piece = file.get_slice(name)
        if piece.get_dtype() not in _FLOATS:
            raise CheckpointError(
                f"{path} holds {name} as {piece.get_dtype()}",
                allowed="floating-point weights",
                fix="Import the model in its original precision, not a quantized copy.",
            )
        shapes[own] = torch.Size(piece.get_shape())
    return shapes


def _merge(folder: Path, shapes: Mapping[str, Mapping[str, torch.Size]]) -> dict[str, torch.Size]:
    merged: dict[str, torch.Size] = {}
    for file, found in shapes.items():
        twice = merged.keys() & found.keys()
        if twice:
            raise CheckpointError(f"{folder / file} holds {min(twice)}, which another file holds too")
        merged |= found
    return merged

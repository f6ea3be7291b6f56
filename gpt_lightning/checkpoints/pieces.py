"""Tensors that no process holds whole: written in pieces, one file for each process, and read in any other division.

A piece is a box of a tensor: where it begins on every axis, and its values. All boxes are in coordinates of the whole,
so it does not matter how many processes wrote and how many read::

    step-000000600/
        state.pt                plain data, with ``None`` where a tensor in pieces belongs, and the index of the pieces
        pieces-00000.pt         {key: [boxes of process 0]}
        pieces-00001.pt         ...
        manifest.json           size and SHA-256 of every file

torch.distributed.checkpoint is not used: its index is a pickle, which can run code when it is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpt_lightning.errors import CheckpointError

Place = tuple[str | int, ...]
INDEX = "pieces"
"""Where ``state.pt`` keeps the index."""


class Box(NamedTuple):
    """A box of a tensor: its first corner and its sizes."""

    offset: tuple[int, ...]
    size: tuple[int, ...]

    def meet(self, other: Box) -> Box | None:
        """What both have in common."""
        first = [max(one, two) for one, two in zip(self.offset, other.offset, strict=True)]
        ends = zip(self.offset, self.size, other.offset, other.size, strict=True)
        size = [min(a + n, b + m) - start for start, (a, n, b, m) in zip(first, ends, strict=True)]
        return Box(tuple(first), tuple(size)) if all(length > 0 for length in size) else None

    def inside(self, tensor: Tensor, origin: Sequence[int]) -> Tensor:
        """The view of this box in a tensor whose first corner is ``origin``."""
        for axis, (start, length) in enumerate(zip(self.offset, self.size, strict=True)):
            tensor = tensor.narrow(axis, start - origin[axis], length)
        return tensor


@dataclass(frozen=True)
class Part:
    """What one process holds of a tensor.

    Attributes:
        place: Where the tensor belongs in the checkpoint's state.
        shape: Of the whole.
        boxes: The pieces; none where another process writes the same ones.
        values: Of every box.
    """

    place: Place
    shape: tuple[int, ...]
    boxes: list[Box]
    values: list[Tensor]


def pieces_file(number: int) -> str:
    """Name of the file of process ``number``."""
    return f"pieces-{number:05d}.pt"


def describe_parts(parts: Sequence[Part], number: int) -> list[dict[str, Any]]:
    """The index of one process's file as plain data."""
    return [
        {
            "path": list(part.place),
            "shape": list(part.shape),
            "dtype": str(part.values[0].dtype).removeprefix("torch."),
            "pieces": [[number, place, list(box.offset), list(box.size)] for place, box in enumerate(part.boxes)],
        }
        for part in parts
        if part.boxes
    ]


def pack_parts(parts: Sequence[Part]) -> dict[str, list[Tensor]]:
    """What a process writes into its file; copies, or ``torch.save`` would write what a view was cut from."""
    return {_key(part.place): [_copy(value) for value in part.values] for part in parts if part.boxes}


def _copy(value: Tensor) -> Tensor:
    return value.detach().cpu() if value.device.type != "cpu" else value.detach().clone()


def _key(path: Sequence[str | int]) -> str:
    return "/".join(map(str, path))


class Pieces:
    """The tensors of a checkpoint in pieces, read box by box; files are mapped, not loaded.

    Args:
        folder: A verified checkpoint.
        index: The lists of ``describe_parts`` of all processes, joined.

    Raises:
        CheckpointError: The pieces of a tensor do not fill it.
    """

    def __init__(self, folder: Path, index: Sequence[Mapping[str, Any]]) -> None:
        self._folder = folder
        self._files: dict[int, dict[str, list[Tensor]]] = {}
        self.paths: dict[str, Place] = {}
        self._wholes: dict[str, Tensor] = {}
        self._boxes: dict[str, list[tuple[int, int, Box]]] = {}
        for entry in index:
            key = _key(entry["path"])
            self.paths[key] = tuple(entry["path"])
            dtype = getattr(torch, entry["dtype"])
            self._wholes[key] = torch.empty(entry["shape"], dtype=dtype, device="meta")
            boxes = self._boxes.setdefault(key, [])
            boxes += [(file, place, Box(tuple(offset), tuple(size))) for file, place, offset, size in entry["pieces"]]
        for key, boxes in self._boxes.items():
            if sum(math.prod(box.size) for _, _, box in boxes) != self._wholes[key].numel():
                raise CheckpointError(f"{folder} lacks pieces of {key}", fix="Use an older checkpoint of the run.")

    def outlines(self) -> Iterator[tuple[Place, Tensor]]:
        """Every tensor without its values (on the meta device), with its place in the state."""
        for key, path in self.paths.items():
            yield path, self._wholes[key]

    def read(self, path: Sequence[str | int], box: Box | None = None) -> Tensor:
        """A box of a tensor (None = all of it), put together from the pieces that meet it."""
        key = _key(path)
        whole = self._wholes[key]
        box = box or Box((0,) * whole.ndim, tuple(whole.shape))
        result = torch.empty(box.size, dtype=whole.dtype)
        for file, place, piece in self._boxes[key]:
            common = piece.meet(box)
            if common is not None:
                source = self._open(file)[key][place]
                common.inside(result, box.offset).copy_(common.inside(source, piece.offset))
        return result

    def _open(self, number: int) -> dict[str, list[Tensor]]:
        if number not in self._files:
            file = self._folder / pieces_file(number)
            self._files[number] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        return self._files[number]


def put(state: Any, path: Place, value: Any) -> None:
    """Set the place ``path`` in nested dictionaries and lists."""
    for step in path[:-1]:
        state = state[step]
    state[path[-1]] = value


def pick(state: Any, path: Sequence[str | int]) -> Any:
    """The value at ``path`` in nested dictionaries and lists."""
    for step in path:
        state = state[step]
    return state

"""A model in Hugging Face's layout as one of ours: architecture, weights, tokenizer.

The order is what makes a strange folder harmless: ``config.json`` (text) gives the names and shapes to expect, the
headers of the weight files are compared with them, and only then is a number read.

Rows and ids: where the embedding has more rows than the tokenizer has ids (they fill it up to a round number), those
rows are left out, or a model could choose an id that no text has. Fewer are refused, unless a size is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.data.tokenizers.tokenizer_json_reading import (
    FILE,
    read_end_ids,
    read_json_file,
    read_tokenizer_folder,
)
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.weights.families import OWN_ENTRY, family_of, read_settings
from gpt_lightning.weights.hub import CONFIG_FILE, find_folder
from gpt_lightning.weights.labelling import HEAD, check_labels_agree
from gpt_lightning.weights.resizing import resize
from gpt_lightning.weights.tensor_files import TensorFiles, open_tensors

_MOST_FILLING = 1024
"""Rows that may fill up an embedding to a round number; more, and a tokenizer that was given is another model's."""


@dataclass(frozen=True)
class ForeignModel:
    """What a folder holds, in our terms.

    Attributes:
        config: Architecture, with the sizes that were chosen.
        weights: Our state dict for it, in the number format of the files.
        tokenizer: The one given, else the folder's.
        path: The folder.
        notes: What was changed on the way, a sentence each.
        head: Of a model that labels texts, as we exported it; None = it has none.
        use: What it says of its use.
    """

    config: GPTConfig
    weights: dict[str, Tensor]
    tokenizer: Tokenizer
    path: Path
    notes: tuple[str, ...] = ()
    head: Tensor | None = None
    use: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_foreign(
    path: Path | str,
    *,
    tokenizer: Tokenizer | None = None,
    vocab_size: int | None = None,
    block_size: int | None = None,
) -> ForeignModel:
    """Read a whole model.

    Args:
        path: Folder, file in it, or name on the hub.
        tokenizer: Instead of the folder's own.
        vocab_size: Token ids to have, see ``resizing``; None = as many as the tokenizer has.
        block_size: Positions to have; None = as many as there are.

    Raises:
        CheckpointError: Unknown architecture, options this decoder does not have, or weights that do not fit.
        DataError: No tokenizer, or one that cannot be expressed.
    """
    folder = find_folder(path)
    stated, files = open_foreign(folder)
    own = (tokenizer or read_tokenizer_folder(folder)).ending_at(read_end_ids(folder))
    rows, positions = stated.data_sizes()
    wanted = vocab_size if vocab_size is not None else min(own.vocab_size, rows)
    if own.vocab_size > wanted:
        raise CheckpointError(
            f"The tokenizer has more ids than {folder} has rows of the embedding"
            if vocab_size is None
            else "vocab_size is smaller than the tokenizer",
            got=wanted,
            allowed=f"{own.vocab_size} or more",
            fix=f"Import it with --vocab_size {own.vocab_size}: new rows become the mean of the old ones.",
        )
    if tokenizer is not None and vocab_size is None and rows - wanted > _MOST_FILLING:
        raise CheckpointError(
            f"Tokenizer {own.name} has {own.vocab_size} ids, and {folder} has {rows} rows of the embedding",
            fix=f"Is it the model's? If ids shall mean something else from now on, say --vocab_size {own.vocab_size}.",
        )
    config = dataclasses.replace(stated, vocab_size=wanted, block_size=block_size or positions)
    settings, read = read_json_file(folder / CONFIG_FILE), files.read()
    use = _read_use(settings, folder)
    head = read.pop(HEAD) if use else None
    weights = family_of(settings, folder).take(read, stated)
    notes = [
        f"vocabulary {rows:,} -> {wanted:,} rows" * (rows != wanted),
        f"positions {positions:,} -> {config.block_size:,}" * (config.block_size != positions),
    ]
    return ForeignModel(
        config, resize(weights, stated, config), own, folder, tuple(note for note in notes if note), head, use
    )


def open_foreign(folder: Path) -> tuple[GPTConfig, TensorFiles]:
    """Architecture and weight files of a folder; every name and shape agrees, and no number was read.

    Raises:
        CheckpointError: As ``read_foreign``.
    """
    settings = read_json_file(folder / CONFIG_FILE)
    config = read_settings(settings, folder)
    files = open_tensors(folder)
    if config.n_layer > len(files.shapes):
        raise CheckpointError(
            f"{folder} states {config.n_layer} layers and has {len(files.shapes)} tensors",
            fix="Fetch the whole folder again.",
        )
    try:
        shapes = {
            name: shape for name, shape in files.shapes.items() if name != HEAD or not _read_use(settings, folder)
        }
        family_of(settings, folder).check(shapes, config)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {str(error).rstrip('.')}") from error
    except (RuntimeError, OverflowError) as error:
        raise CheckpointError(f"{folder} states sizes that no memory holds ({str(error).splitlines()[0]})") from error
    return config, files


def _read_use(settings: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """What a folder that we wrote says of a model that labels texts."""
    use: Mapping[str, Any] = (settings.get(OWN_ENTRY) or {}).get("use") or {}
    if use:
        check_labels_agree(use, settings, folder)
    return use


def read_foreign_config(path: Path | str) -> tuple[GPTConfig, str | None]:
    """Architecture of a folder and the path of its tokenizer, without its weights; vocabulary as ``read_foreign``.

    Raises:
        CheckpointError: Unknown architecture, or options this decoder does not have.
        DataError: A tokenizer that cannot be expressed.
    """
    folder = find_folder(path)
    config = read_settings(read_json_file(folder / CONFIG_FILE), folder)
    rows, _ = config.data_sizes()
    size = read_tokenizer_folder(folder).vocab_size
    return dataclasses.replace(config, vocab_size=min(size, rows)), str(folder / FILE)


def as_parameters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float32, which half-precision formats enter without loss."""
    return {name: tensor.to(torch.float32) for name, tensor in weights.items()}

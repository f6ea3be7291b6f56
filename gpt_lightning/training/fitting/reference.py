"""What the model that training begins from says of the answers of a store: a column beside them, computed once.

Its weights never change, so its log-probabilities are numbers of the data. They are kept under a key of all they depend
on (``data.store.derived``): a resumed run, the trials of a sweep and a later validation read them again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gpt_lightning.data.store.columns import Column
from gpt_lightning.data.store.derived import DerivedKey, find_or_derive
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.stream import EvaluationWindows
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Learner
from gpt_lightning.objectives.preferences import REFERENCE, read_answers
from gpt_lightning.training.loading.loaders import make_batch
from gpt_lightning.training.parts import RunParts
from gpt_lightning.training.runs.start import began_with
from gpt_lightning.weights.checking import hash_weights
from gpt_lightning.weights.starting import read_initial_weights

_log = logging.getLogger("gpt_lightning")
_BATCH = 16
_SPLITS = ("train", "val", "test")


def attach_reference(run: RunParts, folder: Path) -> None:
    """Give every split of the data what the reference says of it, where the objective asks for that.

    Args:
        run: Not started yet.
        folder: Of the run, whose manifest tells what it began with; or of the run of a checkpoint that is measured.

    Raises:
        ConfigError: The run began from nothing.
        CheckpointError: What it began with has changed since, or is gone, and was not asked before.
    """
    needs, data = run.module.objective.needs(run.module.config), run.datamodule
    if not needs.reference:
        return
    store, known = data.open_store(), _find_beginning(run, folder)
    device = run.trainer.strategy.root_device
    facts: dict[str, str | int] = {
        "weights": known["sha256"],
        "block_size": data.block_size,
        "packing": type(data.packing).__name__,
        "device": device.type,
        "version": 1,
    }
    for name in _SPLITS:
        if (record := store.manifest.splits.get(name)) is None or not record.shards:
            continue
        split = store.split(name)
        values = find_or_derive(
            DerivedKey(REFERENCE, store.fingerprint, name, facts),
            documents=split.num_documents,
            width=needs.reference,
            compute=partial(_compute, run, known, split, needs.reference),
        )
        split.attach(Column(REFERENCE, "document", "float32", needs.reference), values)


def _find_beginning(run: RunParts, folder: Path) -> Mapping[str, str]:
    """Path and SHA-256 of the weights that a run began with, whatever ``--init_from`` says when it goes on."""
    known = began_with(folder)
    while "checkpoint" in known:  # it went on from another run, with that one's reference
        known = began_with(Path(known["checkpoint"]).parent.parent)
    if "weights" not in known:
        raise ConfigError(
            f"{type(run.module.objective).__name__} compares with the model that training begins from",
            got="a run that begins from nothing",
            allowed="a run of this project, or a folder in Hugging Face's layout",
            fix="Name it with --init_from.",
        )
    return known


@torch.inference_mode()
def _compute(run: RunParts, known: Mapping[str, str], split: TokenSplit, width: int) -> npt.NDArray[np.float32]:
    """Log-probabilities of every document's answer, and of another's behind its prompt where those are asked for.

    Returns:
        Nats, ``(documents, width)``.
    """
    _log.info("%s: what the reference says of %d documents", split.name, split.num_documents)
    data, device = run.datamodule, run.trainer.strategy.root_device
    learner = Learner(_load(run.module.config, known).to(device))
    windows = EvaluationWindows(split, data.block_size, packing=data.packing, documents=data.document_mask)
    found = [
        read_answers(learner, make_batch(rows).to(device)).log_probabilities.cpu() for rows in windows.batches(_BATCH)
    ]
    numbers = torch.cat(found).reshape(-1, width)[: split.num_documents]
    return np.asarray(numbers.numpy(), dtype=np.float32)


def _load(config: GPTConfig, known: Mapping[str, str]) -> GPT:
    weights = read_initial_weights(known["weights"]).fit(config)
    if (found := hash_weights(weights)) != known["sha256"]:
        raise CheckpointError(
            f"{known['weights']} has changed since the run began with it",
            got=found[:12],
            allowed=known["sha256"][:12],
            fix="Put the old weights back, or begin a new run.",
        )
    model = GPT(config)
    model.load_state_dict(weights)
    return model.float().eval()

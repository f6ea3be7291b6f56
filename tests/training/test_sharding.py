"""FSDP2 and tensor parallelism on gloo processes: the curve of one process, and checkpoints for any number of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.checkpoints.shelf import SHELF, list_checkpoints
from gpt_lightning.training.loggers import read_metrics
from tests.training.forked import run_child, write_corpus
from tests.training.together import fit, run_together

STEPS = 5
PLAIN = {"model": {"config": {"dropout": 0.0}}, "trainer": {"max_steps": STEPS}}
MODERN = {
    "model": {
        "config": {
            "n_head": 4,
            "n_kv_head": 2,
            "n_embd": 32,
            "norm": "rms",
            "mlp": "swiglu",
            "rope_theta": 10000.0,
            "qk_norm": True,
            "bias": False,
            "tie_embeddings": False,
            "value_embeddings": True,
            "smear": True,
            "bigram_rows": 64,
            "dropout": 0.0,
        }
    },
    "trainer": {"max_steps": STEPS},
}


def changed(settings: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    return {**settings, "trainer": {**settings["trainer"], **trainer}}


def curve(folder: Path) -> list[tuple[float, float]]:
    return [(line["train/loss"], line["optim/grad_norm"]) for line in read_metrics(folder) if "train/loss" in line]


def validation(folder: Path) -> list[float]:
    return [line["val/loss"] for line in read_metrics(folder) if "val/loss" in line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    write_corpus(folder)
    return folder


@pytest.mark.parametrize("settings", [PLAIN, MODERN], ids=["gpt2", "modern"])
def test_all(place: Path, settings: dict[str, Any]) -> None:
    name = "plain" if settings is PLAIN else "modern"
    assert (
        run_child(place, fit, place / f"{name}-one", changed(settings, devices=1, accumulate_grad_batches=2), "never")
        == 0
    )
    import time

    for label, world, trainer in [
        ("fsdp2", 2, {"devices": 2, "strategy": "fsdp2"}),
        ("tp", 2, {"devices": 2, "strategy": "tp", "accumulate_grad_batches": 2}),
        (
            "both",
            4,
            {
                "devices": 4,
                "strategy": {
                    "class_path": "ModelParallelStrategy",
                    "init_args": {"data_parallel_size": 2, "tensor_parallel_size": 2},
                },
            },
        ),
    ]:
        t = time.time()
        assert (
            run_together(place, world, fit, place / f"{name}-{label}", changed(settings, **trainer), "never")
            == [0] * world
        )
        print(label, time.time() - t)
        for a, b in zip(curve(place / f"{name}-{label}"), curve(place / f"{name}-one"), strict=True):
            print(a, b)
        print(validation(place / f"{name}-{label}"), validation(place / f"{name}-one"))

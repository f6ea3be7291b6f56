"""Precisions and compilation under the Trainer; each resumes bit for bit as well."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.selections import seldom
from tests.training.forked import run_child, train, write_corpus
from tests.training.test_resume_exact import assert_equal, outcome


def losses(folder: Path) -> list[float]:
    return [line["train/loss"] for line in read_metrics(folder) if "train/loss" in line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("precision")
    write_corpus(folder)
    assert run_child(folder, train, folder / "32-true", short("32-true"), None) == 0
    return folder


def short(precision: str, **model: Any) -> dict[str, Any]:
    return {"trainer": {"precision": precision, "max_steps": 8}, "model": {"config": {"dropout": 0.0}, **model}}


@pytest.mark.parametrize("precision", ["bf16-mixed", *seldom("bf16-true")])
def test_reduced_precision_follows_fp32_and_resumes_exactly(place: Path, precision: str) -> None:
    """bf16 keeps 8 bits: losses near 5 agree to a few hundredths over eight steps."""
    settings = short(precision)
    assert run_child(place, train, place / precision, settings, None) == 0
    assert losses(place / precision) == pytest.approx(losses(place / "32-true"), abs=0.1)
    killed = place / f"{precision}-killed"
    assert run_child(place, train, killed, settings, ("batch_start", 4)) == -signal.SIGKILL
    assert run_child(place, train, killed, settings, None) == 0
    assert_equal(outcome(killed), outcome(place / precision))


@pytest.mark.slow
def test_compiled_follows_eager_and_keeps_the_names(place: Path) -> None:
    assert run_child(place, train, place / "compiled", short("32-true", compile=True), None, timeout=600) == 0
    assert losses(place / "compiled") == pytest.approx(losses(place / "32-true"), rel=1e-4)

    def names(folder: Path) -> list[str]:
        return list(read_checkpoint(list_checkpoints(folder / CHECKPOINTS_DIR)[-1])["state_dict"])

    assert names(place / "compiled") == names(place / "32-true")

"""``doctor`` and ``fit --dry_run``: figures that add up, findings with a fix, nothing left behind."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.cli import main
from gpt_lightning.training.profiling import bench, doctor
from gpt_lightning.training.profiling.advice import Measurement
from gpt_lightning.training.profiling.checkup import Checkup, find_problems
from gpt_lightning.training.profiling.checkup_report import describe_checkup
from gpt_lightning.training.profiling.memory_estimate import MemoryEstimate
from gpt_lightning.training.profiling.step_parts import PARTS
from tests.training.forked import write_corpus
from tests.training.runs import tiny_run
from tests.training.test_bench import LINE, names


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_corpus(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(bench, "measure_matrix_peak", lambda _device, dtype: {torch.float32: 1e12}.get(dtype, 1e11))
    return tmp_path


def test_figures_add_up_and_nothing_remains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(folder)
    assert main(["doctor", *LINE, "--steps", "3", "--watts", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert names(folder) == before
    assert sum(found["parameters"].values()) == tiny_run(args=LINE).module.config.num_parameters
    assert (found["total_steps"], found["tokens_per_step"], found["total_tokens"]) == (12, 64, 768)
    assert found["memory"]["weights"] < found["memory"]["peak"] < found["available_bytes"]
    assert (
        found["training_seconds"] == pytest.approx(12 * 64 / found["measured"]["tokens_per_second"])
        if ("tokens_per_second" in found["measured"])
        else found["training_seconds"] > 0
    )
    assert found["watt_hours"] == pytest.approx(100 * found["seconds"] / 3600)
    assert found["checkpoint_bytes"] == found["memory"]["weights"] + found["memory"]["optimizer"]


def test_dry_run_of_fit_reads_as_one_screen_and_starts_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *LINE, "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["parameters", "operations", "length", "data"]
    assert len(lines) < 40
    assert max(map(len, lines)) <= 150
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("wrong", "code", "message"),
    [
        (["--model.optimizer.lr=0"], 2, "The learning rate is 0"),
        (["--data.block_size=100000"], 3, "block_size"),
        (["--data.batch_size=4000"], 3, "has only 127"),
        (["--trainer.precision=16-mixed"], 2, "precision"),
        (["--model.config.vocab_size=10"], 3, "10"),
        (["--data.source=nothing.txt"], 3, "nothing.txt"),
        (["--resume=auto"], 2, "doctor goes on with no run"),
        (["--steps=-1"], 2, "steps >= 0"),
        (["--watts=0"], 2, "watts > 0"),
    ],
)
def test_what_is_wrong_is_told_with_its_code(
    wrong: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [arg for arg in LINE if arg.partition("=")[0] not in {each.partition("=")[0] for each in wrong}]
    assert main(["doctor", *line, "--steps", "0", *wrong]) == code
    captured = capsys.readouterr()
    assert message in captured.out + captured.err
    assert "Traceback" not in captured.err


def test_what_cannot_be_measured_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    short = [arg for arg in LINE if "max_steps" not in arg]
    assert main(["doctor", *short, "--trainer.max_steps=3"]) == 0
    assert "not estimated: the run is too short to be measured (fewer than 5 steps)" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "free_memory", lambda _device: 1000)
    assert main(["doctor", *LINE]) == 2
    text = capsys.readouterr().out
    assert "a step does not fit into memory" in text
    assert "error: The step needs" in text


_HEALTHY = Checkup(
    parameters={"MLPs": 100},
    total_steps=1000,
    tokens_per_step=64,
    train_tokens=64_000,
    val_tokens=640,
    val_windows=10,
    validations=10,
    save_every=100,
    memory=MemoryEstimate(1000, 1000, 2000, 0, 3000, 10, 8000),
    available_bytes=100_000,
    disk_free_bytes=10**9,
    measured=Measurement(
        parts=dict.fromkeys(PARTS, 0.0) | {"forward": 1.0, "backward": 2.0}, tokens_per_step=64, steps=3
    ),
)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"peak_rate": 0.0}, "error", "--model.optimizer.lr"),
        ({"available_bytes": 9000}, "warning", "89% of the memory"),
        ({"available_bytes": 8000}, "error", "100% of the memory"),
        ({"memory": MemoryEstimate(1, 1, 1, 0, 3000, 2000, 8000), "available_bytes": 9}, "error", "chunk_size"),
        (
            {"memory": MemoryEstimate(1, 1, 1, 0, 7000, 10, 8000), "available_bytes": 9},
            "error",
            "checkpoint_activations",
        ),
        ({"memory": MemoryEstimate(2000, 2000, 4000, 0, 9, 1, 8000), "available_bytes": 9}, "error", "smaller model"),
        ({"val_windows": 0}, "warning", "not one whole window"),
        ({"disk_free_bytes": 3100, "kept_checkpoints": 1}, "warning", "keep_checkpoints"),
        ({"disk_free_bytes": 2900, "kept_checkpoints": 1}, "error", "keep_checkpoints"),
        ({"train_tokens": 12_000}, "warning", "seen 5.3 times"),
        ({"save_every": 4000}, "warning", "up to 3.3 hours of work"),
        ({"val_tokens": 64_000}, "warning", "Validation takes 77% of the run"),
    ],
)
def test_findings(changes: dict[str, Any], level: str, words: str) -> None:
    quiet = [finding for finding in find_problems(_HEALTHY) if finding.level != "advice"]
    assert quiet == []
    (found,) = [finding for finding in find_problems(replace(_HEALTHY, **changes)) if finding.level != "advice"]
    assert found.level == level
    assert words in str(found)


def test_costs_follow_from_the_measured_steps() -> None:
    checkup = replace(_HEALTHY, watts=360.0)
    assert checkup.training_seconds == 3000
    assert checkup.validation_seconds == 10 * 640 / 64 * 1.0
    assert checkup.watt_hours == 3100 * 360 / 3600
    assert replace(checkup, measured=None).watt_hours is None
    assert replace(checkup, grown_bytes=10_000, device="cuda").memory_error == pytest.approx(-0.2)


def test_a_small_estimate_is_not_compared_with_resident_code() -> None:
    """Of 40 MiB that the process grew by, 8 kB are tensors: "-98 %" would say nothing of the estimate."""
    checkup = replace(_HEALTHY, grown_bytes=40 << 20, measured=None)
    assert checkup.memory_error is None
    text = describe_checkup(checkup, [])
    assert "measured 40.0 MiB resident, with code and buffers that are no tensors\n" in text
    assert "estimate of the tensors is" not in text


@pytest.mark.gpu
def test_the_estimate_fits_cudas_allocator(capsys: pytest.CaptureFixture[str]) -> None:
    line = [arg for arg in LINE if "accelerator" not in arg]
    assert main(["doctor", *line, "--trainer.accelerator=cuda", "--model.config.n_embd=512", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert abs(found["memory_error"]) < 0.2
    assert found["watts"] > 0

"""Global batches in tokens, and ramps: every sample once, in order; exact after kill -9; the same as by hand."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.batch import Batch
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.errors import ConfigError
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import add_callbacks
from gpt_lightning.training.modules.module import GPTModule
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.objectives.applying import apply
from tests.training.forked import TINY, run_child, train, write_corpus
from tests.training.runs import tiny_run
from tests.training.test_resume_exact import assert_equal, outcome

_RAMP = {"class_path": "LinearRamp", "init_args": {"start_tokens": 64, "length": 6}}
"""Steps of 64, 64, 128, 128, 192, 192 and then 256 tokens, in micro-batches of 64."""
RAMPED: dict[str, Any] = {"data": {"global_batch_tokens": 256, "batch_ramp": _RAMP}, "trainer": {"max_steps": 12}}
TOKENS = [64, 64, 128, 128, 192, 192, *[256] * 6]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ramp")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def whole(place: Path) -> Any:
    assert run_child(place, train, place / "whole", RAMPED, None) == 0
    return outcome(place / "whole")


class _Witness(Callback):
    """Which samples every step takes."""

    def __init__(self) -> None:
        self.samples: dict[int, list[int]] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        taken = self.samples.setdefault(trainer.global_step, [])
        taken += range(batch.position, batch.position + len(batch.tokens))


def watched(folder: Path, settings: dict[str, Any], total: int) -> None:
    run = build(TINY, settings, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    witness = _Witness()
    add_callbacks(run.trainer, witness)
    run.fit()
    assert [16 * len(samples) for samples in witness.samples.values()] == TOKENS
    assert [k for samples in witness.samples.values() for k in samples] == list(range(total))


def test_every_sample_once_in_order_and_counted(place: Path) -> None:
    folder = place / "watched"
    assert run_child(place, watched, folder, RAMPED, sum(TOKENS) // 16) == 0
    lines = read_metrics(folder)
    points = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in points] == list(range(1, 13))
    assert [line["data/tokens"] for line in points] == [sum(TOKENS[: step + 1]) for step in range(12)]
    assert [line["step"] for line in lines if "val/loss" in line] == [5, 10, 12]
    state = read_checkpoint(list_checkpoints(folder / CHECKPOINTS_DIR)[-1])
    assert state["TokenDataModule"]["consumed_samples"] == sum(TOKENS) // 16


def test_learning_rate_follows_the_step_alone(place: Path, whole: Any) -> None:
    assert run_child(place, train, place / "level", {"trainer": {"max_steps": 12}}, None) == 0

    def rates(lines: list[dict[str, Any]]) -> list[float]:
        return [line["optim/lr/matrix"] for line in lines if "optim/lr/matrix" in line]

    assert rates(whole[0]) == rates(outcome(place / "level")[0])


@pytest.mark.parametrize(
    "kill",
    [
        ("validation", 5),
        pytest.param(("before_update", 3), marks=pytest.mark.slow),
        *(pytest.param(("batch_start", step), marks=pytest.mark.slow) for step in (4, 8)),
    ],
)
def test_killed_in_a_ramp_resumes_bit_for_bit(place: Path, whole: Any, kill: tuple[str, int]) -> None:
    folder = place / f"{kill[0]}{kill[1]}"
    assert run_child(place, train, folder, RAMPED, kill) == -signal.SIGKILL
    assert run_child(place, train, folder, RAMPED, None) == 0
    assert_equal(outcome(folder), whole)


class _ByHand(Callback):
    """The gradient of every step is that of all its windows at once."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.compared = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self.batches.append(batch)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        assert isinstance(pl_module, GPTModule)
        together = Batch(torch.cat([batch.tokens for batch in self.batches]))
        parameters = list(pl_module.parameters())
        expected = torch.autograd.grad(apply(pl_module.objective, pl_module.model, together).loss, parameters)
        for parameter, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)
        self.batches, self.compared = [], self.compared + 1


def by_hand(folder: Path) -> None:
    settings = {"model.config.dropout": 0.0, "run.dir": str(folder)}
    run = build(TINY, RAMPED, settings, {"data.source": str(folder.parent / "corpus.txt")})
    witness = _ByHand()
    add_callbacks(run.trainer, witness)
    run.fit()
    assert witness.compared == 12


def test_a_step_is_the_mean_over_its_windows(place: Path) -> None:
    assert run_child(place, by_hand, place / "by-hand") == 0


def test_tokens_give_the_accumulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    by_tokens = tiny_run({"data.global_batch_tokens": 192})
    assert by_tokens.trainer.accumulate_grad_batches == 3
    assert by_tokens.plan.horizon.tokens_per_step == 192
    assert by_tokens.module.card["global_batch_size"] == 12
    assert by_tokens.config["data"]["global_batch_tokens"] == 192
    budget = tiny_run(RAMPED, {"trainer.max_steps": -1, "run.max_tokens": 1500})
    assert budget.plan.horizon.total_steps == 8  # 768 tokens in six steps, then 256 each
    epoch = tiny_run(RAMPED, {"trainer.max_steps": -1, "trainer.max_epochs": 1})
    windows = epoch.datamodule.windows_per_epoch()
    assert windows is not None
    assert epoch.plan.horizon.total_steps == 6 + (windows * 16 - 768) // 256


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"data.global_batch_tokens": 200}, ["multiples of 64", "The nearest are 192 or 256"]),
        ({"data.global_batch_tokens": 0}, ["got 0", "The nearest are 64;"]),
        ({"data.global_batch_tokens": 128, "trainer.accumulate_grad_batches": 2}, ["global batch is given twice"]),
        (
            {
                "data.global_batch_tokens": 256,
                "data.batch_ramp": {"class_path": "LinearRamp", "init_args": {"start_tokens": 32, "length": 2}},
            },
            ["a size of data.batch_ramp is no whole number", "multiples of 64"],
        ),
        (
            {
                "data.global_batch_tokens": 256,
                "data.batch_ramp": {"class_path": "LinearRamp", "init_args": {"start_tokens": 64, "length": 50}},
            },
            ["LinearRamp is longer than the run: got '50 steps'"],
        ),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], parts: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    with pytest.raises(ConfigError) as caught:
        tiny_run(settings)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_another_ramp_is_no_way_to_go_on(place: Path) -> None:
    folder = place / "changed"
    assert run_child(place, train, folder, RAMPED, ("batch_start", 4)) == -signal.SIGKILL
    assert run_child(place, train, folder, {**RAMPED, "data": {"global_batch_tokens": 256}}, None) == 3
    assert "data.batch_ramp" in (place / "error.txt").read_text()

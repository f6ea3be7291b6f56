"""``bench`` through the command line: one screen, true figures, nothing left behind."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.cli import main
from gpt_lightning.model.flops import count_training_flops, measure_matrix_peak
from gpt_lightning.training.engine.processes import StopFlag
from gpt_lightning.training.fitting.run import add_callbacks
from gpt_lightning.training.profiling import bench
from tests.training.forked import write_corpus
from tests.training.runs import Crash, crash_at, tiny_run

LINE = [
    *("--model.config.n_layer=1", "--model.config.n_head=2", "--model.config.n_embd=16", "--data.tokenizer=bytes"),
    *("--data.source=corpus.txt", "--data.val_fraction=0.1", "--data.block_size=16", "--data.batch_size=4"),
    *("--trainer.accelerator=cpu", "--trainer.devices=1", "--model.schedule.warmup=1", "--trainer.max_steps=12"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the corpus; matrix peaks known, since measuring them takes seconds."""
    write_corpus(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(bench, "measure_matrix_peak", lambda _device, dtype: {torch.float32: 1e12}.get(dtype, 1e11))
    return tmp_path


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "cache" not in path.parts}


def test_json_is_consistent_and_nothing_remains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(folder)
    assert main(["bench", *LINE, "--steps", "5", "--json", "--trainer.accumulate_grad_batches=2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert names(folder) == before
    assert found["steps"] == 5
    assert found["tokens_per_step"] == 4 * 16 * 2
    assert sum(found["parts"].values()) == pytest.approx(found["step_seconds"])
    assert found["fastest_seconds"] <= found["step_seconds"] <= found["slowest_seconds"]
    assert min(found["parts"].values()) > 0
    assert found["tokens_per_second"] == pytest.approx(128 / found["step_seconds"])
    assert found["mfu"] == pytest.approx(found["flops_per_token"] * found["tokens_per_second"] / 1e12)
    assert found["setup"]["fused"] is True
    assert 2**26 < found["memory_bytes"] < found["memory_total_bytes"]
    config = tiny_run(args=LINE).module.config
    assert found["flops_per_token"] == count_training_flops(config, 16)


def test_a_ramp_is_measured_at_its_full_batch(capsys: pytest.CaptureFixture[str]) -> None:
    """The first steps are small; counted as full ones they made tokens/s several times too high."""
    ramp = ["--data.global_batch_tokens=256", "--data.batch_ramp=LinearRamp", "--data.batch_ramp.start_tokens=64"]
    assert main(["bench", *LINE, "--steps", "3", "--json", *ramp, "--data.batch_ramp.length=12"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tokens_per_step"], found["setup"]["accumulate"]) == (256, 4)


def test_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *LINE, "--steps", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 118
    assert [line.split()[0] for line in lines[3:10]] == [
        *("part", "data", "forward", "backward", "optimizer", "rest", "step"),
    ]
    assert any("--model.compile true" in line for line in lines)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--steps", "0"], "steps >= 1"),
        (["--seconds", "-1"], "seconds > 0"),
        (["--steps", "many"], "invalid int value"),
        (["--trainer.max_steps=4"], "too short to be measured: got 4"),
        (["--resume=auto"], "bench goes on with no run"),
        (["--stepps", "3"], "There is no setting --stepps"),
    ],
)
def test_mistakes_take_one_line(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *LINE, *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_run_bounds_the_steps_and_its_rates_stay(folder: Path) -> None:
    run = tiny_run(args=[*LINE, "--trainer.max_steps=7"])
    rates: list[float] = []

    class Rates(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    add_callbacks(run.trainer, Rates())
    assert bench.measure_run(run, steps=20).steps == 3
    horizon = run.module.horizon
    assert horizon is not None
    expected = [1e-2 * run.module.schedule.factor(step, horizon) for step in range(7)]
    assert rates == pytest.approx(expected)


def test_time_ends_it_after_three_steps() -> None:
    run = tiny_run(args=[*LINE, "--trainer.max_steps=90"])
    assert bench.measure_run(run, steps=80, seconds=1e-9).steps == 3


def test_a_signal_ends_it(folder: Path) -> None:
    class Interrupt(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, index: int) -> None:
            if index == 2:
                signal.raise_signal(signal.SIGTERM)

    run, stop = tiny_run(args=LINE), StopFlag()
    add_callbacks(run.trainer, Interrupt())
    previous = signal.getsignal(signal.SIGTERM)
    assert bench.measure_run(run, steps=5, stop=stop).steps == 0
    assert run.trainer.global_step == 3
    assert stop.received is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is previous
    assert list((folder / "temporary").iterdir()) == []


def test_an_error_leaves_no_signal_handler(folder: Path) -> None:
    previous = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Crash):
        bench.measure_run(crash_at(tiny_run(args=LINE), 2), steps=5)
    assert signal.getsignal(signal.SIGTERM) is previous


def test_own_loggers_and_profilers_are_left_out(folder: Path) -> None:
    before = names(folder)
    args = ["--trainer.logger=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=mine"]
    assert main(["bench", *LINE, *args, "--trainer.profiler=simple", "--steps", "1"]) == 0
    assert names(folder) == before


def test_matrix_peak_is_that_of_a_product() -> None:
    width = 96
    slow = measure_matrix_peak(torch.device("cpu"), torch.float64, seconds=0.02, width=width)
    assert 1e6 < slow < 1e13


def test_a_slow_kind_of_product_is_measured_on_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    def multiply(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> None:
        widths.append(len(left))
        time.sleep(0.02)

    # As bfloat16 is where a CPU has no instructions for it.
    monkeypatch.setattr(torch, "mm", multiply)
    slow = measure_matrix_peak(torch.device("cpu"), torch.float32, seconds=0.05)
    assert set(widths) == {256}
    assert slow == pytest.approx(2 * 256**3 / 0.02, rel=0.5)


def test_the_fastest_of_several_sizes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    rates = {256: 1e9, 512: 4e9, 1024: 2e9, 2048: 1e9}
    seen: set[tuple[int, bool]] = set()

    def multiply(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> None:
        width = len(left)
        # Every second product is disturbed.
        disturbed = 10 if (width, True) not in seen else 1
        seen.symmetric_difference_update({(width, True)})
        clock[0] += disturbed * 2 * width**3 / rates[width]

    monkeypatch.setattr(torch, "mm", multiply)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert measure_matrix_peak(torch.device("cpu"), torch.float32, seconds=1000.0) == pytest.approx(4e9)


def test_no_step_is_faster_than_the_peak(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measure_matrix_peak", lambda _device, _dtype: 1.0)
    measured = bench.measure_run(tiny_run(args=LINE), steps=3)
    assert 0.5 < measured.mfu <= 1.0

"""What a run logs, read back: JSON lines with our own reader, events with TensorBoard's."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.errors import DivergedError, MachineError
from gpt_lightning.tracking.names import is_known
from gpt_lightning.training.engine import checkpoint_io
from gpt_lightning.training.runs.run_folder import cut_metrics, read_metrics
from gpt_lightning.training.watch.loggers import JsonLines, RunTensorBoard
from tests.training.forked import write_corpus
from tests.training.runs import STEPS, crash_at, tiny_run

MEASURED: dict[str, Any] = {"monitor": {"mfu": True}}


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of a run folder as TensorBoard shows it: name -> (step, value)."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    names = accumulator.Tags()["scalars"]
    return {name: [(event.step, event.value) for event in accumulator.Scalars(name)] for name in names}


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The same from ``metrics.jsonl``."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in read_metrics(folder):
        for name in line.keys() - {"step", "time"}:
            found.setdefault(name, []).append((line["step"], line[name]))
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``full``: six steps at once. ``resumed``: crashed after five with four saved, then finished."""
    folder = tmp_path_factory.mktemp("loggers")
    write_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        tiny_run(MEASURED, {"run.dir": "full"}).fit()
        with pytest.raises(DivergedError):  # after any other error the fifth step would be saved
            crash_at(tiny_run(MEASURED, {"run.dir": "resumed"}), 5, DivergedError("nan")).fit()
        assert read_metrics(folder / "resumed")[-1]["step"] == 5, "the crash should cost a point"
        tiny_run(MEASURED, {"run.dir": "resumed"}).fit(resume="auto")
    return folder


@pytest.mark.parametrize("name", ["full", "resumed"])
def test_every_name_is_in_the_table_and_every_point_there_once(place: Path, name: str) -> None:
    for found in (curves(place / name), points(place / name)):
        assert [key for key in found if not is_known("scalars", key)] == []
        assert {"train/loss", "val/loss", "val/bits_per_byte", "optim/grad_norm", "data/epoch"} <= found.keys()
        assert {"perf/mfu", "perf/data_wait", "memory/process_gib", "optim/grad_norm_clipped"} <= found.keys()
        assert any(key.startswith("optim/lr/") for key in found)
        for key, values in found.items():
            wanted = [3, STEPS] if key.startswith("val/") else list(range(1, STEPS + 1))
            assert [step for step, _ in values] == wanted, key


def test_both_files_hold_the_same_numbers(place: Path) -> None:
    """TensorBoard keeps float32."""
    events, lines = curves(place / "full"), points(place / "full")
    assert events.keys() == lines.keys()
    for key, values in lines.items():
        assert [value for _, value in events[key]] == pytest.approx([value for _, value in values], rel=1e-6)


def test_curves_over_a_resume_are_those_of_one_run(place: Path) -> None:
    clocks = ("perf/", "memory/")
    for read in (curves, points):
        full, resumed = read(place / "full"), read(place / "resumed")
        assert {key: values for key, values in full.items() if not key.startswith(clocks)} == {
            key: values for key, values in resumed.items() if not key.startswith(clocks)
        }


def test_losses_over_tokens_are_those_over_steps(place: Path) -> None:
    """64 tokens a step; without duplicates after a resume as well."""
    for name in ("full", "resumed"):
        by_steps, by_tokens = curves(place / name), curves(place / name / "by_tokens")
        assert by_tokens.keys() == {f"by_tokens/{key}" for key in by_steps if key.startswith("val/")} | {
            "by_tokens/train/loss"
        }
        for key, values in by_tokens.items():
            wanted = by_steps[key.removeprefix("by_tokens/")]
            assert values == [(step * 64, value) for step, value in wanted]


def test_numbers_follow_from_the_step(place: Path) -> None:
    found = points(place / "full")
    assert [tokens for _, tokens in found["data/tokens"]] == [64.0 * step for step in range(1, STEPS + 1)]
    rates = [value for _, value in found["perf/tokens_per_second"]]
    assert min(rates) > 0
    for rate, (step, left), (_, seconds) in zip(
        rates, found["perf/eta_seconds"], found["perf/step_seconds"], strict=True
    ):
        assert left == pytest.approx((STEPS - step) * 64 / rate)
        assert seconds == pytest.approx(64 / rate)
    assert all(0 <= value <= 1 for _, value in found["perf/data_wait"])
    for (_, before), (_, after) in zip(found["optim/grad_norm"], found["optim/grad_norm_clipped"], strict=True):
        assert after == min(before, 1.0)
    for (_, loss), (_, perplexity) in zip(found["train/loss"], found["train/perplexity"], strict=True):
        assert perplexity == pytest.approx(math.exp(loss))


def test_lines_are_complete_when_they_are_written(tmp_path: Path) -> None:
    logger = JsonLines(tmp_path)
    logger.log_metrics({"train/loss": 0.1 + 0.2}, step=7)
    (record,) = read_metrics(tmp_path)
    assert record["step"] == 7
    assert record["train/loss"] == 0.1 + 0.2, "the last bit counts"
    assert record["time"] > 1.7e9


def written(folder: Path, *records: dict[str, Any], tail: str = "") -> Path:
    folder.mkdir()
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text(text + tail, encoding="utf-8")
    return folder


def test_line_cut_off_by_a_kill_is_left_out_and_cut_away(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", {"step": 1}, {"step": 2}, tail='{"step": 3, "trai')
    assert read_metrics(folder) == [{"step": 1}, {"step": 2}]
    cut_metrics(folder, 2)
    JsonLines(folder).log_metrics({}, step=3)
    assert [record["step"] for record in read_metrics(folder)] == [1, 2, 3]


@pytest.mark.parametrize("torn", ['{"step": 2, "train', "\x00\x00\x00", "[1, 2]", '{"train/loss": 1.0}', "\udcff"])
def test_a_torn_line_in_the_middle_takes_no_others_with_it(tmp_path: Path, torn: str) -> None:
    """All behind it was lost at the next resume, though the checkpoint counts on it."""
    lines = [json.dumps({"step": step}) for step in (1, 3, 4)]
    text = "\n".join([lines[0], torn, *lines[1:], ""])
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8", errors="surrogateescape")
    cut_metrics(tmp_path, 3)
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 3}]


def test_lines_are_durable_before_the_checkpoint_that_counts_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every checkpoint is written after an fsync of all lines up to its step."""
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    durable: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        if (Path("run") / "metrics.jsonl").exists():
            durable.append(sum(1 for line in read_metrics(Path("run")) if "train/loss" in line))

    written: list[tuple[int, int]] = []
    save = write_checkpoint

    def write(*args: Any, **kwargs: Any) -> Path:
        written.append((kwargs["step"], durable[-1]))
        return save(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(checkpoint_io, "write_checkpoint", write)
    tiny_run({"run.dir": "run"}).fit()
    assert written
    assert all(step == lines for step, lines in written)


def test_a_full_disk_between_two_checkpoints_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The logs are on a disk that is full from the beginning."""
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    Path("run").mkdir()
    Path("run/metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(MachineError, match=r"metrics\.jsonl could not be written: No space left on device"):
        tiny_run({"run.dir": "run"}).fit()
    assert not list(Path("run/checkpoints").glob("step-*")), "it would count on lines that are not there"


class _Full:
    """A file on a full disk."""

    closed = False

    def write(self, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    flush = close = lambda self: None


def test_tensorboards_thread_does_not_raise_where_nobody_catches(tmp_path: Path) -> None:
    """It printed its traceback for every record, and the last one ended the run with exit code 1."""
    board = RunTensorBoard(tmp_path)
    board.log_metrics({"train/loss": 1.0}, 1)
    board.save()
    before = board.problem
    assert before is None
    vars(board._patient[0])["_file"] = _Full()
    for step in range(2, 40):
        board.log_metrics({"train/loss": 1.0}, step)
    board.save()
    board.finalize("failed")
    assert isinstance(board.problem, MachineError)
    assert "No space left on device" in str(board.problem)


def test_cut_keeps_the_step_itself_and_takes_a_branch_from_its_source(tmp_path: Path) -> None:
    source = written(tmp_path / "run", *({"step": step} for step in (1, 2, 2, 3)))
    (tmp_path / "branch").mkdir()
    cut_metrics(tmp_path / "branch", 2, source)
    assert [record["step"] for record in read_metrics(tmp_path / "branch")] == [1, 2, 2]
    assert len(read_metrics(source)) == 4
    assert [path.name for path in (tmp_path / "branch").iterdir()] == ["metrics.jsonl"]


def test_a_run_without_a_log_has_no_lines(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    cut_metrics(tmp_path, 5)
    assert read_metrics(tmp_path) == []

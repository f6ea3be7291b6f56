"""``runs list | show | compare | plot``: what a user reads."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.monitoring.comparing import student_quantile, welch_interval
from gpt_lightning.monitoring.plotting import axis_values, smoothed
from gpt_lightning.monitoring.records import RunRecord
from gpt_lightning.reports.text_table import format_table
from tests.monitoring.folders import write_run


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")


def _say(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> str:
    assert main(["runs", *args]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_list_sorts_filters_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No runs in runs. Train one:" in _say(capsys, "list")
    write_run(Path("runs/a-1"), losses=(4.0, 3.25))
    write_run(Path("runs/a-2"), losses=(2.5,), ends=(None,))
    write_run(Path("runs/b-1"), losses=(3.0,))
    write_run(Path("runs/sweep/trials/00000"))
    text = _say(capsys, "list", "--sort", "loss")
    assert [line.split()[:2] for line in text.splitlines()[2:5]] == [
        ["a-2", "crashed"],
        ["b-1", "finished"],
        ["a-1", "finished"],
    ]
    assert "2.5000    100  50.0 s    100k" in text
    assert "sweep runs/sweep: gpt-lightning runs list runs/sweep" in text
    listed = json.loads(_say(capsys, "list", "--status", "finished", "--name", "a-*", "--json", "true"))
    assert [(run["run"], run["best_val_loss"], run["best_step"]) for run in listed] == [("runs/a-1", 3.25, 100)]
    assert len(json.loads(_say(capsys, "list", "--limit", "2", "--json", "true"))) == 2
    write_run(Path("runs/a[1]-1"))
    listed = json.loads(_say(capsys, "list", "--name", "a[1]-1", "--json", "true"))
    assert [run["run"] for run in listed] == ["runs/a[1]-1"], "a name fits itself"
    assert "00000" in _say(capsys, "list", "runs/sweep")
    for wrong in (["--sort", "x"], ["--status", "done"], ["--limit", "0"]):
        assert "allowed" in _say(capsys, "list", *wrong, code=2)
    assert "There is no run: got 'nowhere'" in _say(capsys, "list", "nowhere", code=3)


def test_lines_fit_the_screen_and_numbers_stand_at_the_right() -> None:
    rows: list[list[object]] = [["a" * 80, "running", 1.5, 12], ["\u4e2d\u6587", None, 22.25, 3]]
    for width in (40, 60, 140):
        lines = format_table(["run", "status", "loss", "steps"], rows, width=width).splitlines()
        assert all(len(line) <= max(width, 60) for line in lines)
    assert lines[0].endswith("loss  steps")
    assert lines[2].endswith("1.500     12")
    assert "(no room for: steps)" in format_table(["run", "status", "loss", "steps"], rows, width=34)


def test_show_tells_a_run_and_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"state": "failed", "reason": "TrainingError: nan", "step": 70, "total_steps": 100, "seconds": 35.0}
    write_run(Path("runs/a-1"), ends=(None, failed))
    text = _say(capsys, "show", "a-1")
    assert "runs/a-1 is failed: TrainingError: nan" in text
    assert "best val/loss  3.00000 at step 66" in text
    assert "fit --resume runs/a-1" in text
    assert [line.split()[3] for line in text.splitlines() if "2023-" in line] == ["crashed", "failed"]
    assert json.loads(_say(capsys, "show", "a-1", "--json", "true"))["history"][1]["end"]["step"] == 70


def test_compare_shows_settings_that_differ_and_says_what_one_seed_is_worth(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("runs/a"), losses=(3.0,))
    write_run(Path("runs/b"), losses=(2.9,), settings={"model.optimizer.init_args.lr": 0.002}, tokens_per_step=2000)
    text = _say(capsys, "compare", "a", "b")
    assert "model.optimizer.init_args.lr  0.001  0.002" in text
    assert "run.name" not in text
    assert "b against a: val/loss -0.1000. This may be chance" in text
    assert "same number of tokens (100,000 to 200,000)" in text
    content = json.loads(_say(capsys, "compare", "a", "b", "--json", "true"))
    assert content["settings"]["model.optimizer.init_args.lr"] == [0.001, 0.002]


def test_compare_measures_a_difference_against_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    for name, rate, losses in (("a", 0.001, (3.0, 3.1, 3.2)), ("b", 0.002, (2.0, 2.1, 2.2)), ("c", 0.003, (3.05, 3.2))):
        for seed, loss in enumerate(losses):
            settings = {"seed_everything": seed, "model.optimizer.init_args.lr": rate}
            write_run(Path(f"runs/{name}-{seed}"), losses=(loss,), settings=settings)
    text = _say(capsys, "compare", "runs")
    assert "b-0 and 2 repeats against a-0 and 2 repeats: val/loss -1.0000, more than seeds explain" in text
    # Welch: standard error sqrt(0.01/3 + 0.01/3), 4 degrees of freedom, t = 2.776.
    assert "(95 % interval -1.2267 to -0.7733, Welch; 3 and 3 seeds)" in text
    assert "c-0 and 1 repeat against a-0 and 2 repeats: val/loss +0.0250, no more than seeds may explain" in text
    assert "Repeats with 3 seeds" in _say(capsys, "compare", "a-0", "a-1", "a-2")


def test_other_data_and_unfinished_runs_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("runs/a"), ends=(None,))
    write_run(Path("runs/b"), facts={"data_fingerprint": "other"})
    text = _say(capsys, "compare", "a", "b")
    assert "losses per token are not comparable" in text
    assert "may be chance" not in text, "what cannot be compared is no question of chance"
    assert "Not finished: a." in text


@pytest.mark.parametrize(
    ("share", "freedom", "t"),
    # Table III of Fisher and Yates.
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 5, 2.571),
        (0.975, 30, 2.042),
        (0.95, 10, 1.812),
        (0.995, 4, 4.604),
    ],
)
def test_student_quantiles(share: float, freedom: int, t: float) -> None:
    assert student_quantile(share, float(freedom)) == pytest.approx(t, abs=6e-4)


def test_intervals_hold_the_true_difference_as_often_as_they_say() -> None:
    dice = random.Random(0)
    hits = 0
    for _ in range(100):
        first = [dice.gauss(0, 1) for _ in range(4)]
        other = [dice.gauss(0.5, 3) for _ in range(4)]
        low, high = welch_interval(first, other)
        hits += low <= 0.5 <= high
    assert 0.90 <= hits / 100 <= 0.99
    assert welch_interval([1.0, 1.0], [2.0, 2.0]) == (1.0, 1.0)


def test_plot_draws_runs_over_steps_and_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("runs/a"))
    write_run(Path("runs/b"), tokens_per_step=3000)
    text = _say(capsys, "plot", "a", "b", "--metric", "val/loss", "--x", "tokens", "--output", "out/l.svg")
    assert "a  a: 3.5 at 100,000 tokens" in text
    assert "b  b: 3.5 at 300,000 tokens" in text
    assert all(len(line) <= 140 for line in text.splitlines())
    svg = Path("out/l.svg").read_text()
    assert "nats per token" in svg
    assert ">tokens<" in svg
    assert "train/loss: 3 at 100 steps" in _say(capsys, "plot", "a", "--smooth", "0")
    assert (
        "train/loss, val/loss"
        in Path(
            _say(capsys, "plot", "a", "--metric", "train/loss,val/loss", "--output", "b.svg").splitlines()[-1]
        ).read_text()
    )
    for wrong in (["--metric", "val/los"], ["--x", "days"], ["--smooth", "1"], ["--output", "a.pdf"]):
        assert "allowed" in _say(capsys, "plot", "a", *wrong, code=3 if wrong[0] == "--metric" else 2)
    assert "Did you mean val/loss" in _say(capsys, "plot", "a", "--metric", "val/los", code=3)


def test_curves_that_are_not_finite_are_drawn_as_far_as_they_go(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("runs/a"), losses=(4.0, math.nan, 3.0))
    assert "1 points are not finite" in _say(capsys, "plot", "a", "--metric", "val/loss")
    write_run(Path("runs/b"), losses=(math.nan,))
    assert "No finite value" in _say(capsys, "plot", "b", "--metric", "val/loss")


def test_axes_and_running_means() -> None:
    run = RunRecord(write_run(Path("runs/a"), ends=(None, None)))
    assert axis_values(run, "val/loss", "tokens") == [33_000.0, 66_000.0, 100_000.0]
    assert axis_values(run, "val/loss", "seconds") == pytest.approx([16.5, 33.0, 50.0]), "the hour between is left out"
    assert smoothed([2.0, 4.0], 0.5) == [2.0, pytest.approx((0.25 * 2 + 0.5 * 4) / 0.75)]
    assert smoothed([1.0, math.nan, 1.0], 0.9)[2] == pytest.approx(1.0)
    noise = [random.Random(1).gauss(0, 1) for _ in range(5)]
    assert smoothed(noise, 0.0) == noise
    assert statistics.pstdev(smoothed([(-1.0) ** n for n in range(50)], 0.9)[20:]) < 0.1

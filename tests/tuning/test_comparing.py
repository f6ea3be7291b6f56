"""Several sweeps in one report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.report.report import report_command
from gpt_lightning.tuning.report.report_comparing import build_comparison, paired, values_by_seed
from gpt_lightning.tuning.report.report_reading import read_sweep
from gpt_lightning.tuning.study.best import add_repeats
from gpt_lightning.tuning.study.sweep import Sweep
from tests.tuning.sweeping import bare_sweep, pretend

SPACE = {
    "model.optimizer.lr": {"distribution": "log_grid", "min": 1e-3, "max": 8e-3},
    "model.schedule": {"values": ["WSD", "Cosine"]},
}


def made(place: Path, name: str, offset: float, seeds: list[int], **content: Any) -> Sweep:
    """Four trials, the best at the highest rate; a repetition is worse by a thousandth of its place."""
    repeats = {"top_k": 1, "seeds": seeds}
    content = {"parameters": SPACE, "budget": {"trials": 4}, "repeat_best": repeats, **content}
    sweep, again = bare_sweep(place, content, name), iter(range(9))

    def value(values: Mapping[str, Any]) -> float:
        return offset - math.log2(float(values["model.optimizer.lr"])) + 1e-3 * max(0, next(again) - 3)

    pretend(sweep, 4, value)
    add_repeats(sweep)
    pretend(sweep, len(seeds), value)
    return sweep


def test_the_best_are_compared_on_the_seeds_that_both_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweeps = [made(tmp_path, "one", 0.0, [1, 2]), made(tmp_path, "two", -0.5, [2, 3], seed=9)]
    studies = [read_sweep(each.folder.path) for each in sweeps]
    first, second = map(values_by_seed, studies)
    best = [study.best.values[0] for study in studies if study.best is not None and study.best.values is not None]
    assert first == {1337: best[0], 1: best[0] + 1e-3, 2: best[0] + 2e-3}
    assert second.keys() == {9, 2, 3}
    count, mean, error = paired(first, second)
    assert count == 1
    assert mean == pytest.approx(best[1] + 1e-3 - best[0] - 2e-3)
    assert math.isnan(error)
    assert list(paired({1: 1.0, 2: 2.0, 3: 4.0}, {1: 2.0, 2: 4.0, 3: 7.0})) == pytest.approx([3, 2.0, 1 / math.sqrt(3)])
    text = build_comparison(studies).markdown()
    assert "Against the best of one, on the same seeds" in text
    assert "val/loss by optimizer.lr" in text
    assert "Best val/loss so far over finished trials" in text
    pytest.importorskip("plotly")
    report_command(["one", "runs/two", "one"], "both.html")
    assert "2 sweeps: one, two" in Path("both.html").read_text(encoding="utf-8")
    report_command(["one", "two"])
    assert Path("runs/report.md").read_text(encoding="utf-8").startswith("# 2 sweeps")


def test_what_is_not_comparable_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path, "one", 0.0, [])
    made(tmp_path, "two", 0.0, [], metric={"name": "val/perplexity"})
    with pytest.raises(ConfigError, match="one: minimize val/loss, two: minimize val/perplexity"):
        report_command(["one", "two"], "both.html")
    assert not Path("both.html").exists()

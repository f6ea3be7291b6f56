"""Ladders: the plan, the runs, the laws and the suggestion, on models of a tenth of a second."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpt_lightning.cli import main
from gpt_lightning.errors import ConfigError
from gpt_lightning.training.fitting.build import build
from gpt_lightning.tuning.scaling import ladder as ladders
from gpt_lightning.tuning.scaling.fixed_trials import FixedTrials, Outcome
from gpt_lightning.tuning.scaling.ladder import climb, suggest
from gpt_lightning.tuning.scaling.ladder_file import LadderSpec, Target, read_ladder
from gpt_lightning.tuning.scaling.ladder_report import make_page
from tests.reports.documents import Document
from tests.training.forked import TINY, write_corpus

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = {
    "name": "small",
    "base": ["base.yaml"],
    "sizes": {"one": {"model.config.n_layer": 1}, "two": {"model.config.n_layer": 2}},
    "horizons": [10, 5],
    "learning_rates": [1e-3, "3e-3"],
    "warmup": 2,
    "cooldown": "40%",
    "target": {"settings": {"model.config.n_layer": 3}, "steps": 20},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "cache"))
    write_corpus(tmp_path)
    base = {**TINY, "data": {**TINY["data"], "source": "corpus.txt"}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    return tmp_path


def write(**changes: Any) -> Path:
    path = Path("ladder.yaml")
    path.write_text(yaml.safe_dump({**FILE, **changes}), encoding="utf-8")
    return path


ONE_RATE = {"sizes": {"one": {"model.config.n_layer": 1}}, "learning_rates": [3e-3]}


def test_a_ladder_suggests_a_config(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "ladder", str(write(**ONE_RATE))]) == 0
    told = capsys.readouterr()
    # The longer run stores its state at 4 of 5 steps, behind the last full rate of the shorter: 10 + 1 steps.
    assert "2 runs of 960 tokens; what they share is done once: 11 of 15 steps (73%)" in told.out
    assert "2/2 one, rate 0.003, 5 steps: val/loss" in told.err
    assert "11 of 15 steps done (73%)" in told.out
    facts = json.loads(Path("runs/small/ladder.json").read_text())
    assert [rung["steps"] for rung in facts["rungs"]] == [5, 10]
    assert facts["suggestion"]["tokens"] == 20 * 64
    run = build("runs/small/suggested.yaml")
    assert run.module.config.num_parameters == facts["suggestion"]["parameters"]
    assert run.plan.horizon.total_steps == 20
    assert run.module.optimizer_recipe.rates["matrix"] == facts["suggestion"]["rate"] == 3e-3
    assert Document(Path("runs/small/report.html").read_text()).figures()


@pytest.mark.slow
def test_a_ladder_is_climbed_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    assert main(["sweep", "ladder", str(path), "--dry_run", "true"]) == 0
    assert "8 runs of 3,840 tokens; what they share is done once: 44 of 60 steps (73%)" in capsys.readouterr().out
    assert not Path("runs").exists()
    assert main(["sweep", "ladder", str(path)]) == 0
    first = capsys.readouterr()
    assert "44 of 60 steps done (73%)" in first.out
    checkpoints = {path: path.stat().st_mtime_ns for path in Path("runs/small/trials").rglob("state.pt")}
    assert checkpoints
    assert main(["sweep", "ladder", str(path)]) == 0
    assert capsys.readouterr().out == first.out
    assert checkpoints == {path: path.stat().st_mtime_ns for path in Path("runs/small/trials").rglob("state.pt")}


class _Known(FixedTrials):
    """Trials whose losses follow a law; nothing is trained."""

    def train(self, name: str, settings: Any, at: tuple[int, ...] = ()) -> Outcome:
        n, steps = 10.0 ** settings["model.config.n_layer"], settings["trainer.max_steps"]
        best = 0.1 * n**-0.5
        distance = settings["model.optimizer.lr"] / best
        loss = 1.0 + 20 / n**0.3 + 50 / (64 * steps) ** 0.4 + 0.01 * math.log(distance) ** 2
        return Outcome(name, loss, int(n), 64 * steps, steps, 0)


def test_laws_are_found_and_reported(place: Path) -> None:
    spec = LadderSpec(
        name="known",
        base=(Path("base.yaml"),),
        sizes={f"n{k}": {"model.config.n_layer": k} for k in (3, 4, 5, 6)},
        horizons=(100, 1000, 10000),
        rates=tuple(1e-5 * 10 ** (k / 2) for k in range(8)),
        rate_key="model.optimizer.lr",
        warmup=10,
        cooldown="20%",
        target=Target({"model.config.n_layer": 2}, 30),
        metric="val/loss",
        budget_bytes=10**9,
    )
    trials = _Known(place / "known", spec.base, spec.metric, None)
    ladder = climb(spec, trials, lambda _: None)
    assert ladder.loss_law is not None
    assert ladder.rate_law is not None
    constants = {name: interval.value for name, interval in ladder.loss_law.constants().items()}
    assert constants == pytest.approx({"E": 1.0, "A": 20, "a": 0.3, "B": 50, "b": 0.4}, rel=2e-2)
    rates = {name: interval.value for name, interval in ladder.rate_law.constants().items()}
    assert rates == pytest.approx({"c": 0.1, "p": -0.5, "q": 0.0}, rel=1e-6, abs=1e-6)
    suggestion = suggest(ladder, trials)
    assert suggestion.rate == pytest.approx(0.1 * suggestion.parameters**-0.5, rel=5e-3)
    page = make_page(place, ladder, suggestion)
    assert "n4, law" in page.html()
    assert "E 1" in page.markdown()


def test_a_rung_at_the_edge_is_named_and_kept_out_of_the_law(place: Path) -> None:
    rung = ladders._find_rung("s", {1e-3: Outcome("a", 2.0, 10, 64, 1, 0), 2e-3: Outcome("b", 3.0, 10, 64, 1, 0)})
    assert (rung.loss, rung.inside, rung.losses) == (2.0, False, {1e-3: 2.0, 2e-3: 3.0})
    assert rung.best_rate == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizons": [10, 10]}, r"ladder\.yaml:\d+: horizons are numbers of steps, each once"),
        ({"horizons": ["long"]}, "horizons holds something that is no whole number: got 'long'"),
        ({"sizes": {}}, "sizes names no size"),
        ({"warmup": "5%"}, "warmup is a share"),
        ({"cooldown": "lots"}, "cooldown is not a length"),
        ({"learning_rates": [0]}, "learning_rates are numbers above 0"),
        ({"learning_rates": {"min": 1}}, "min and max are needed"),
        ({"base": ["no.yaml"]}, "base is not a file: got 'no.yaml'"),
        ({"target": {"settings": {}}}, "target.steps is missing"),
        ({"horizon": 3}, "horizon is not a key"),
    ],
)
def test_mistakes_are_told_with_file_and_line(place: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_ladder(write(**changes))


def test_a_wrong_setting_of_a_size_is_told_before_anything_is_trained(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "ladder", str(write(sizes={"one": {"model.config.n_layers": 1}}))]) == 2
    assert "n_layer" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_the_shipped_ladder_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = read_ladder(Path("sweeps/ladders/ladder_tiny.yaml"))
    assert (len(spec.sizes), spec.horizons, len(spec.rates)) == (3, (100, 200, 400), 5)

"""A sweep that goes on from an ended one: what it begins with, what is trained, what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError, UserError
from gpt_lightning.tuning.launch.extending import extend, lengthen
from gpt_lightning.tuning.launch.live import status_text
from gpt_lightning.tuning.report.report_reading import read_sweep
from gpt_lightning.tuning.spec.parameters import LogGrid, Range, Values
from gpt_lightning.tuning.study.edges import adding, edge_notes, widening
from gpt_lightning.tuning.study.entries import feasible
from gpt_lightning.tuning.study.sweep import Sweep
from gpt_lightning.tuning.workers.claiming import claim
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper
from tests.tuning.sweeping import BASE, bare_sweep, make_sweep, pretend, train_all

RATE = {"model.optimizer.lr": {"distribution": "log_grid", "min": 1e-3, "max": 8e-3, "per_octave": 1}}
GRID: dict[str, Any] = RATE | {"model.schedule": {"values": ["WSD", "Cosine"]}}
LIMIT = [{"name": "time", "metric": "seconds", "max": 0.5}]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def falling(values: Mapping[str, Any]) -> float:
    """Better and better with the rate, until it diverges beyond 2.5e-2."""
    rate = float(values["model.optimizer.lr"])
    return math.nan if rate > 2.5e-2 else -math.log2(rate)


def notes(sweep: Sweep) -> list[str]:
    return edge_notes(sweep.spec, sweep.entries(), sweep.folder.path)


def points(found: list[dict[str, Any]]) -> set[str]:
    return {json.dumps(each, sort_keys=True) for each in found}


def test_a_grid_with_one_more_value_trains_exactly_the_new_points(tmp_path: Path) -> None:
    old = bare_sweep(tmp_path, {"method": "grid", "parameters": GRID, "constraints": LIMIT})
    before = pretend(old, 8, falling)
    new, _ = extend(old, add=["model.schedule=Linear"])
    assert (new.spec.name, new.num_trials) == ("s-2", 12)
    assert [entry.values for entry in new.entries()] == before
    assert [entry.last.values for entry in new.entries()] == [entry.last.values for entry in old.entries()]
    assert not any(feasible(entry) for entry in new.entries()), "what was beyond a limit stays so"
    found = pretend(new, 4, falling)
    assert {point["model.schedule"] for point in found} == {"Linear"}
    assert len(points(before + found)) == 12
    assert claim(new, StaleTrialReaper(new), Lease()) is None
    assert len(old.entries()) == 8


def test_a_range_is_widened_at_the_end_where_its_best_value_lies(tmp_path: Path) -> None:
    old = bare_sweep(tmp_path, {"parameters": RATE, "budget": {"trials": 4}})
    pretend(old, 4, falling)
    (note,) = notes(old)
    assert note.endswith(f"sweep extend {old.folder.path} --widen model.optimizer.lr")
    assert "0.008, is the last of its range" in note
    assert note in status_text(old, as_json=False)
    assert read_sweep(old.folder.path).notes == (note,)
    new, _ = extend(old, widen=["model.optimizer.lr"], trials=2)
    assert sorted(point["model.optimizer.lr"] for point in pretend(new, 2, falling)) == [1.6e-2, 3.2e-2]
    assert {entry.state for entry in new.entries()} == {"complete", "diverged"}
    assert notes(new) == [], "1.6e-2 is followed by one that diverges"
    third, _ = extend(new, trials=1, widen=["model.optimizer.lr"])
    assert third.spec.name == "s-3"
    assert third.spec.parameters["model.optimizer.lr"].edges() == [2.5e-4, 0.128], "at both ends"
    assert len(third.entries()) == 6


def test_an_ended_trial_is_extended_with_its_repetitions_and_an_open_one_is_not(tmp_path: Path) -> None:
    from gpt_lightning.tuning.study.best import add_repeats, noise

    content = {"parameters": RATE, "budget": {"trials": 3}, "repeat_best": {"top_k": 1, "seeds": [1, 2]}, "seed": 4}
    old = bare_sweep(tmp_path, content)
    pretend(old, 3, falling)
    assert add_repeats(old)
    with pytest.raises(UserError, match=r"2 trials of .* have not ended \(waiting\)"):
        extend(old, trials=3)
    pretend(old, 2, falling)
    new, _ = extend(old, trials=1)
    assert noise(new, new.entries()) == noise(old, old.entries()) != {}
    assert len(pretend(new, 1, falling)) == 1, "repetitions are no trials of the budget"


@pytest.mark.parametrize(
    ("parameter", "up", "fields"),
    [
        (LogGrid("k", minimum=1e-3, maximum=8e-3), True, {"max": 3.2e-2}),
        (LogGrid("k", minimum=1e-3, maximum=8e-3, per_octave=2), False, {"min": 2.5e-4}),
        (Range("k", minimum=1e-4, maximum=1e-2, log=True), True, {"max": 4e-2}),
        (Range("k", minimum=0.1, maximum=0.5), True, {"max": 0.7}),
        (Range("k", minimum=0.1, maximum=0.6, quantum=0.05), False, {"min": -0.15}),
        (Range("k", minimum=2, maximum=5, whole=True), True, {"max": 7}),
        (Values("k", [1e-3, 2e-3, 4e-3]), True, {"values": [1e-3, 2e-3, 4e-3, 8e-3]}),
        (Values("k", [2, 4, 6]), False, {"values": [0, 2, 4, 6]}),
        (Values("k", [0.1, 0.2, 0.3]), True, {"values": [0.1, 0.2, 0.3, 0.4]}),
    ],
)
def test_what_widening_means(parameter: Any, up: bool, fields: dict[str, Any]) -> None:
    assert parameter.widen(up=up) == {name: pytest.approx(value) for name, value in fields.items()}


def test_what_cannot_be_extended_is_said_before_anything_is_written(tmp_path: Path) -> None:
    old = bare_sweep(tmp_path, {"method": "grid", "parameters": GRID})
    pretend(old, 8, falling)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: extend(old), "told nothing to extend"),
        (lambda: extend(old, widen=["model.schedule"]), "no list of rising numbers"),
        (lambda: extend(old, widen=["model.optimizer.rate"]), "no parameter of this sweep"),
        (lambda: extend(old, add=["model.schedule"]), "--add takes key=values"),
        (lambda: extend(old, add=["model.optimizer.lr=1"]), "Say --widen model.optimizer.lr"),
        (lambda: extend(old, add=["model.schedule=[WSD]"]), "names a value twice"),
        (lambda: extend(old, add=["model.schedule=NoSuch"]), "NoSuch"),
        (lambda: lengthen(old, top=1, steps="half"), "no factor of the length"),
    ]
    for call, told in wrong:
        with pytest.raises(ConfigError, match=told):
            call()
    assert [each.name for each in Path("runs").iterdir()] == ["s"]
    assert adding(old.spec, "model.schedule=[Linear, {class_path: WSD}]")
    assert widening(old, "model.optimizer.lr") == ["parameters.model.optimizer.lr.max=0.032"]


def longer_base(steps: int) -> dict[str, Any]:
    return {**BASE, "trainer": BASE["trainer"] | {"max_steps": steps}}


def executed(sweep: Sweep) -> int:
    return sum(int(entry.fact("executed_steps", 0)) for entry in sweep.entries())


@pytest.mark.slow
def test_the_best_go_on_over_a_longer_run_from_their_own_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two decays of one trunk: of 2 x 20 steps those before the first decay are there, and the second shares more."""
    monkeypatch.setattr("tests.tuning.sweeping.BASE", longer_base(10))
    space = {
        "model.optimizer.lr": {"value": 1e-2},
        "model.schedule": {"value": "WSD"},
        "model.schedule.warmup": {"value": "10%"},
        "model.schedule.decay": {"values": ["20%", "40%"]},
    }
    old = make_sweep(tmp_path, {"method": "grid", "parameters": space, "reuse": {"every": 1}})
    assert train_all(old) == {"complete": 2}
    new, _ = lengthen(old, top=2, steps="2x")
    assert train_all(new) == {"complete": 2}
    assert {entry.fact("steps") for entry in new.entries()} == {20}
    assert executed(new) <= 0.6 * 40
    assert {str(entry.values["model.schedule.warmup"])[:3] for entry in new.entries()} == {"5.0"}
    assert not (new.folder.path / "prefixes").exists(), "the store is that of the first one"
    plain = make_sweep(
        tmp_path,
        {"method": "grid", "parameters": dict(new.spec.raw["parameters"]), "derive": dict(new.spec.derive),
         "reuse": {"enabled": "false"}},
        "alone",
    )  # fmt: skip
    assert train_all(plain) == {"complete": 2}
    alone = {entry.values["model.schedule.decay"]: entry.last.values for entry in plain.entries()}
    assert {entry.values["model.schedule.decay"]: entry.last.values for entry in new.entries()} == alone
    assert executed(plain) == 40

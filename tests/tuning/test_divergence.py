"""A trial that diverges is one event with one answer, from which samplers learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from gpt_lightning.tuning.launch.live import status_text, summarize
from gpt_lightning.tuning.report.report_reading import read_sweep
from gpt_lightning.tuning.study.best import rows
from gpt_lightning.tuning.study.sweep import Sweep
from gpt_lightning.tuning.trial.mailbox import Exit, Report, Result
from gpt_lightning.tuning.workers.claiming import claim
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper, tell
from gpt_lightning.tuning.workers.slots import Slot
from gpt_lightning.tuning.workers.supervisor import Supervisor, _Attempt
from tests.tuning.sweeping import bare_sweep, pretend

RATE = {"model.optimizer.lr": {"distribution": "log_uniform", "min": 1e-4, "max": 1.0}}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def attempt(sweep: Sweep) -> _Attempt:
    trial = claim(sweep, StaleTrialReaper(sweep), Lease())
    assert trial is not None
    found = _Attempt(Supervisor(sweep, Slot(threads=1), Lease(), lambda: False), trial)
    found._mailbox.clear()
    return found


def report(value: float, tokens: int = 128) -> Report:
    return Report(n=0, step=2, tokens=tokens, metrics={"val/loss": value}, total_tokens=384, executed=2)


def test_one_event_has_one_answer(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 9}})
    first = attempt(sweep)
    first._hear(report(2.0))
    tell(sweep, 0, Result("complete", value=2.0))
    ends = []
    ends.append(attempt(sweep)._result(Exit("diverged", "diverged", "the gradient is not finite")))
    for value in (math.nan, math.inf, 5.0):  # 5 is more than twice the best
        mine = attempt(sweep)
        mine._hear(report(value))
        assert mine._verdict is not None
        ends.append(mine._result(Exit("pruned", mine._verdict)))
    last = attempt(sweep)
    last._hear(report(math.nan, tokens=384))
    ends.append(last._result(Exit("finished", step=6)))
    assert [end.state for end in ends] == ["diverged"] * 5
    assert all(str(end.reason).startswith("diverged") and end.value is None for end in ends)
    pruned = attempt(sweep)
    pruned._hear(report(2.5))
    assert pruned._result(Exit("pruned", "behind the median")).state == "pruned"


def claim_number(sweep: Sweep) -> int:
    trial = claim(sweep, StaleTrialReaper(sweep), Lease())
    assert trial is not None
    return trial.number


@pytest.mark.parametrize(
    ("goal", "impute", "told"),
    [
        ("minimize", "worst", math.inf),
        ("minimize", "best", 1.5),
        ("minimize", "latest", 7.0),
        ("maximize", "worst", -math.inf),
        ("maximize", "best", 2.0),
        ("maximize", "latest", 7.0),
    ],
)
def test_the_sampler_is_told_what_the_file_says_and_nobody_else(
    tmp_path: Path, goal: str, impute: str, told: float
) -> None:
    metric = {"name": "val/loss", "goal": goal, "impute": impute}
    sweep = bare_sweep(tmp_path, {"metric": metric, "budget": {"trials": 3}})
    for value in (1.5, 2.0):
        tell(sweep, claim_number(sweep), Result("complete", value=value))
    tell(sweep, claim_number(sweep), Result("diverged", reason="diverged: nan", metrics={"val/loss": 7.0}))
    entry = sweep.entries()[2]
    assert (entry.last.state, entry.last.values) == (TrialState.COMPLETE, [told])
    assert (entry.state, entry.ended, len(sweep.ranked())) == ("diverged", True, 2)
    assert summarize(sweep, sweep.entries())["trials"] == {
        "complete": 2, "diverged": 1, "pruned": 0, "failed": 0, "running": 0, "waiting": 0,
    }  # fmt: skip
    assert "[diverged: nan]" in status_text(sweep, as_json=False)
    assert rows(sweep)[2].get("val/loss") is None
    shown = read_sweep(sweep.folder.path).trials[2]
    assert (shown.state, shown.values, shown.counts) == ("diverged", None, False)


def beyond(limit: float) -> Any:
    """The loss falls with the rate until training diverges."""

    def value(values: Mapping[str, Any]) -> float:
        rate = values["model.optimizer.lr"]
        return math.nan if rate > limit else -math.log10(rate)

    return value


@pytest.mark.parametrize("method", ["tpe", "cmaes", "nsga2", "qmc", pytest.param("gp", marks=pytest.mark.slow)])
def test_every_sampler_takes_what_it_is_told(tmp_path: Path, method: str) -> None:
    for package, needing in (("cmaes", ["cmaes"]), ("scipy", ["qmc", "gp"])):
        if method in needing:
            pytest.importorskip(package)
    space = RATE | {"model.config.dropout": {"min": 0.0, "max": 0.5}}
    sweep = bare_sweep(tmp_path, {"method": method, "parameters": space, "budget": {"trials": 14}})
    pretend(sweep, 14, beyond(1e-2))
    assert {entry.state for entry in sweep.entries()} == {"complete", "diverged"}


def test_several_metrics(tmp_path: Path) -> None:
    metrics = [{"name": "val/loss"}, {"name": "perf/tokens_per_second", "goal": "maximize"}]
    sweep = bare_sweep(tmp_path, {"metrics": metrics, "parameters": RATE, "budget": {"trials": 14}})
    for number in range(14):
        lost = number % 3 == 0
        result = Result("diverged") if lost else Result("complete", value=[float(number), 5.0 + number])
        tell(sweep, claim_number(sweep), result)
    assert [entry.last.values for entry in sweep.entries()][::3] == [[math.inf, -math.inf]] * 5


def share_diverged(place: Path, seed: int, name: str, *, taught: bool, monkeypatch: pytest.MonkeyPatch) -> float:
    sweep = bare_sweep(place, {"parameters": RATE, "budget": {"trials": 40}, "seed": seed}, name)
    with monkeypatch.context() as patch:
        if not taught:  # as it was: failed, and left out
            patch.setattr("gpt_lightning.tuning.study.entries.DIVERGED", "nothing")
        pretend(sweep, 40, beyond(3e-2))
    rates = [float(entry.values["model.optimizer.lr"]) for entry in sweep.entries()[10:]]
    return sum(rate > 3e-2 for rate in rates) / 30


@pytest.mark.slow
def test_a_region_that_diverges_is_not_proposed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is best just before divergence, as for a learning rate; a quarter of later trials may be beyond."""
    taught, ignorant = (
        sum(share_diverged(tmp_path, seed, f"{on}-{seed}", taught=on, monkeypatch=monkeypatch) for seed in range(4)) / 4
        for on in (True, False)
    )
    assert taught < 0.5 * ignorant
    assert ignorant > 0.5

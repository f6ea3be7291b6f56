"""Trials are runs: the same loss by hand, the same again after every kind of end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.parsing.trust import TRUST_VARIABLE
from gpt_lightning.training.fitting.build import build
from gpt_lightning.tuning.study.best import write_best
from gpt_lightning.tuning.study.entries import feasible
from gpt_lightning.tuning.trial.mailbox import read_result, read_trial_spec, write_trial_spec
from tests.tuning.saboteurs import sabotage
from tests.tuning.sweeping import again, make_sweep, train_all


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUST_VARIABLE, "tests.tuning.saboteurs")


def test_a_trial_and_the_best_configuration_give_the_same_loss_by_hand(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, {"budget": {"trials": 2}, "seed": 5, "storage": "sqlite"})
    assert train_all(sweep) == {"complete": 2}
    best = sweep.ranked()[0]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        by_hand = build(write_best(sweep, Path("best.yaml")), {"run.dir": "hand"}).fit()
    finally:
        torch.set_num_threads(threads)
    assert by_hand.metrics["val/loss"] == best.last.values[0]
    result = read_result(sweep.folder.trial(best.first))
    assert result is not None
    assert (result.state, result.value, result.steps, result.executed_steps) == ("complete", best.last.values[0], 6, 6)
    assert result.seed == 5
    header = Path("best.yaml").read_text().splitlines()[:4]
    assert header[0].startswith(f"# Trial {best.first} of sweep s: val/loss")
    assert "OMP_NUM_THREADS=1 gpt-lightning fit --config best.yaml" in header[2]
    assert [report.tokens for report in best.reports("val/loss")] == [128, 256, 384]
    assert best.last.intermediate_values[384] == best.last.values[0]


def deeds(*values: Any) -> dict[str, Any]:
    return {"method": "grid", "parameters": {"trainer.callbacks": {"values": list(values)}}}


@pytest.mark.slow
def test_every_kind_of_failure_is_told_and_costs_one_trial(tmp_path: Path) -> None:
    ways = [sabotage("nothing"), sabotage("memory"), sabotage("value"), sabotage("nan"), sabotage("sleep")]
    sweep = make_sweep(tmp_path, {**deeds(*ways), "retry": {"timeout": "12s", "max": 0}})
    assert train_all(sweep) == {"complete": 1, "failed": 3, "diverged": 1}
    reasons = [str(entry.reason) for entry in sweep.entries()]
    assert [entry.state for entry in sweep.entries()] == ["complete", "failed", "failed", "diverged", "failed"]
    assert reasons[1] == "oom: MemoryError: on purpose"
    assert reasons[2] == "exception: ValueError: on purpose"
    assert reasons[3].startswith("diverged: ")
    assert reasons[4] == "timeout after 12 s"
    kept = [path.name for path in (sweep.folder.trial(2) / "checkpoints").glob("step-*")]
    assert kept == ["step-000000003"], "sweep retry goes on from there"
    assert (sweep.folder.trial(2) / "metrics.jsonl").exists()
    told = json.loads((sweep.folder.trial(2) / "result.json").read_text())
    assert (told["state"], told["reason"]) == ("failed", reasons[2])


def test_a_killed_trial_goes_on_from_its_checkpoint_and_ends_the_same(tmp_path: Path) -> None:
    ways = [sabotage("nothing"), sabotage("segfault", once=str(tmp_path / "done")), sabotage("kill")]
    sweep = make_sweep(tmp_path, {**deeds(*ways), "retry": {"max": 1}})
    assert train_all(sweep) == {"complete": 2, "died": 3}
    clean, once, always = sweep.entries()
    assert once.last.values == clean.last.values
    assert (once.fact("attempts"), len(once.attempts), once.fact("executed_steps")) == (2, 2, 6)
    assert always.state == "failed"
    assert len(always.attempts) == 2
    assert str(always.reason).startswith("killed by SIGKILL")
    assert str(always.reason).endswith("(2 times)")


@pytest.mark.slow
def test_a_trial_that_is_asked_to_stop_saves_and_waits(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, {**deeds(sabotage("nothing"), sabotage("sleep", 99))})
    assert train_all(sweep, most=1) == {"complete": 1}
    folder = sweep.folder.trial(1)
    ends = train_all(sweep, lambda: (folder / "mailbox" / "reports.jsonl").exists())
    assert ends == {"stopped": 1}
    assert [entry.state for entry in sweep.entries()] == ["complete", "waiting"]
    assert list((folder / "checkpoints").glob("step-*"))
    assert train_all(again(sweep)) == {"complete": 1}
    first, second = sweep.entries()
    assert second.last.values == first.last.values
    assert second.fact("executed_steps") == 6
    assert second.fact("deaths") == 0
    lease = first.fact("lease")
    assert lease["owner"]["pid"] == os.getpid()
    assert lease["child"]["pid"] != os.getpid(), "signals to this process must not reach the trial by themselves"


@pytest.mark.slow
def test_a_trial_outlives_its_server_and_the_next_one_gets_another(tmp_path: Path) -> None:
    ways = [sabotage("orphan"), sabotage("nothing")]
    sweep = make_sweep(tmp_path, {**deeds(*ways), "retry": {"max": 0}})
    assert train_all(sweep) == {"complete": 2}
    first, second = sweep.entries()
    assert first.last.values == second.last.values


@pytest.mark.slow
def test_a_process_whose_start_is_not_the_last_saves_ends_and_is_not_heard(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, {**deeds(sabotage("slow")), "derive": {"trainer.max_steps": 20}})
    folder, begun_anew = sweep.folder.trial(0), tmp_path / "begun"

    def begin_anew() -> bool:
        """As a worker does that takes over a trial of which it cannot know the process."""
        if (folder / "mailbox" / "reports.jsonl").exists() and not begun_anew.exists():
            write_trial_spec(folder, {**read_trial_spec(folder), "start": "another"})
            begun_anew.touch()
        return False

    assert train_all(sweep, begin_anew) == {"died": 1, "complete": 1}
    assert begun_anew.exists()
    (entry,) = sweep.entries()
    assert (entry.reason, entry.fact("executed_steps"), entry.fact("attempts")) == (None, 20, 2)


LIMITS = [
    {"name": "size", "metric": "model/parameters", "max": 4500},
    {"name": "data", "metric": "tokens", "max": 500},
    {"name": "time", "metric": "seconds", "max": 999},
]


def test_a_limit_that_is_known_before_training_costs_no_step(tmp_path: Path) -> None:
    """A wider model has too many parameters, a longer run too many tokens; the first one is trained."""
    space = {"model.config.n_embd": {"values": [8, 16]}, "trainer.max_steps": {"values": [6, 12]}}
    sweep = make_sweep(tmp_path, {"method": "grid", "parameters": space, "constraints": LIMITS})
    assert train_all(sweep) == {"complete": 1, "pruned": 3}
    first, *others = sweep.entries()
    assert (first.state, feasible(first), first.fact("executed_steps")) == ("complete", True, 6)
    assert set(first.last.constraints) == {"size", "data", "time"}
    for entry in others:
        assert not feasible(entry)
        assert entry.fact("executed_steps") == 0
        assert "before a step was trained" in str(entry.reason)
    assert others[0].last.constraints == {"size": first.last.constraints["size"], "data": 12 * 64 - 500}
    assert others[1].last.constraints["size"] > 0 >= others[1].last.constraints["data"]


@pytest.mark.slow
def test_memory_is_estimated_before_training(tmp_path: Path) -> None:
    space = {"data.batch_size": {"values": [4, 64]}}
    limit = [{"name": "memory", "metric": "sys/peak_mem_gb", "max": 1e-3}]
    sweep = make_sweep(tmp_path, {"method": "grid", "parameters": space, "constraints": limit})
    train_all(sweep)
    small, large = sweep.entries()
    assert (small.state, large.state) == ("complete", "pruned"), "a small step is trained, and its process measured"
    assert large.fact("executed_steps") == 0
    assert 0.0 < large.last.constraints["memory"] < 1.0

"""Trials that share their beginning: the same weights and the same lines as from scratch, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.checkpoints.best import read_best
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints, read_manifest
from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.checkpoints.prefixes import PrefixStore
from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.strict_yaml import flatten
from gpt_lightning.training.fitting.run import FitResult
from gpt_lightning.training.profiling.reuse_commands import compare_runs, compare_with_scratch, is_chosen
from gpt_lightning.training.reuse import fingerprint as trajectory
from gpt_lightning.training.reuse.fingerprint import INDIFFERENT, trace
from gpt_lightning.training.reuse.reuse import Reuse
from tests.training.forked import write_corpus
from tests.training.runs import Crash, crash_at, tiny_run
from tests.training.test_resume_exact import assert_equal, outcome

STEPS = 20
BASE: dict[str, Any] = {
    "trainer": {"max_steps": STEPS, "log_every_n_steps": 3, "logger": False},
    "run": {"validate_every": 4, "save_every": 7},
}


def wsd(decay: float, **options: Any) -> dict[str, Any]:
    return {"model": {"schedule": {"class_path": "WSD", "init_args": {"warmup": 2, "decay": decay, **options}}}}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write_corpus(tmp_path)
    yield tmp_path
    torch.set_num_threads(threads)


def fit(name: str, *settings: Mapping[str, Any], reuse: Reuse | None = None, resume: str = "never") -> FitResult:
    return tiny_run(BASE, *settings, {"run": {"dir": name}}).fit(resume, reuse)


def shared(**options: Any) -> Reuse:
    return Reuse(**{"folder": Path("prefixes"), "every": 2, **options})


def assert_same(one: str, other: str) -> None:
    assert_equal(outcome(Path(one)), outcome(Path(other)))
    assert read_best(Path(one) / CHECKPOINTS_DIR) == read_best(Path(other) / CHECKPOINTS_DIR)


def test_trials_share_what_agrees_and_end_as_from_scratch(place: Path) -> None:
    decays = {"a": 0.5, "b": 0.3, "c": 0.7}
    for name, decay in decays.items():
        fit(f"scratch-{name}", wsd(decay))
    results = {name: fit(name, wsd(decay), reuse=shared()) for name, decay in decays.items()}
    for name in decays:
        assert_same(name, f"scratch-{name}")
    # The rate of a falls for the first time in step 12 (of 1, 2, ...), that of c in step 8.
    counts = {name: (result.executed_steps, result.reused_steps, result.step) for name, result in results.items()}
    assert counts == {"a": (20, 0, 20), "b": (10, 10, 20), "c": (14, 6, 20)}
    assert results["b"].metrics["val/loss"] == outcome(Path("b"))[0][-1]["val/loss"]


def test_a_duplicate_does_no_step_and_has_the_same_numbers(place: Path) -> None:
    first = fit("first", wsd(0.5), reuse=shared())
    second = fit("second", wsd(0.5), {"run": {"name": "twin"}}, reuse=shared())
    assert (second.executed_steps, second.reused_steps, second.step) == (0, STEPS, STEPS)
    assert second.metrics == first.metrics
    assert_same("second", "first")
    checkpoint = list_checkpoints(Path("second") / CHECKPOINTS_DIR)[-1]
    assert read_manifest(checkpoint)["facts"]["config"]["run"]["name"] == "twin"
    assert not list(Path("prefixes/pins").iterdir())


@pytest.mark.slow
def test_best_may_lie_in_the_prefix(place: Path) -> None:
    """A rate that ruins the model behind step 5: the validation of step 4 stays the best, and another run saw it."""

    def ruin(*ending: dict[str, float]) -> dict[str, Any]:
        points = [{"at": 4, "factor": 0.001}, {"at": 5, "factor": 1.0}, *ending]
        return {
            "model": {
                "optimizer": {"lr": 3.0},
                "schedule": {"class_path": "Piecewise", "init_args": {"points": points, "warmup": 0}},
            }
        }

    other = ruin({"at": 12, "factor": 1.0}, {"at": 13, "factor": 0.9})
    fit("scratch", other)
    fit("first", ruin(), reuse=shared())
    result = fit("second", other, reuse=shared())
    best = read_best(Path("scratch") / CHECKPOINTS_DIR)
    assert best is not None
    assert best["checkpoint"] == "step-000000004"
    assert result.reused_steps == 12
    assert_same("second", "scratch")


@pytest.mark.slow
def test_means_snapshots_ramps_and_accumulation_travel(place: Path) -> None:
    ramp = {"class_path": "StagedRamp", "init_args": {"tokens": [64], "milestones": [3]}}
    many: dict[str, Any] = {
        "model": {"ema_decay": 0.9, "nonfinite": {"class_path": "Rollback", "init_args": {"every_steps": 5}}},
        "data": {"batch_ramp": ramp, "global_batch_tokens": 128},
    }
    fit("scratch", wsd(4), many, {"trainer": {"max_steps": 18}})
    fit("first", wsd(8), many, reuse=shared())
    result = fit("second", wsd(4), many, {"trainer": {"max_steps": 18}}, reuse=shared())
    assert result.reused_steps == 12
    assert_same("second", "scratch")


def test_a_longer_run_goes_on_from_the_end_of_a_shorter_one(place: Path) -> None:
    """Step 14 is neither a multiple of 3 (log) nor of 4 (validation): what it logged at its end is left out."""
    constant = {"model": {"schedule": {"class_path": "Constant", "init_args": {"warmup": 2}}}}
    fit("scratch", constant)
    fit("short", constant, {"trainer": {"max_steps": 14}}, reuse=shared(every="100%"))
    result = fit("long", constant, reuse=shared(every="100%"))
    assert result.reused_steps == 14
    assert_same("long", "scratch")


@pytest.mark.slow
def test_a_prefix_without_the_validations_of_a_run_is_not_taken(place: Path) -> None:
    fit("first", wsd(0.5), reuse=shared())
    finer = {"run": {"validate_every": 2}}
    assert fit("second", wsd(0.3), finer, reuse=shared()).reused_steps == 0
    # It has added what the entries lacked.
    assert fit("third", wsd(0.5), finer, reuse=shared()).reused_steps == 10


@pytest.mark.slow
def test_a_crashed_run_begins_at_what_it_stored(place: Path) -> None:
    rare = {"run": {"validate_every": 20, "save_every": 20}}
    fit("scratch", wsd(0.5), rare)
    with pytest.raises(Crash):
        crash_at(tiny_run(BASE, wsd(0.5), rare, {"run": {"dir": "run"}}), 13).fit("auto", shared())
    result = fit("run", wsd(0.5), rare, reuse=shared(), resume="auto")
    assert (result.resumed_step, result.executed_steps, result.reused_steps) == (12, 8, 12)
    assert_same("run", "scratch")


def test_a_resumed_run_that_is_not_what_its_settings_say_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first steps were done by other code, which is no setting."""
    with pytest.raises(Crash):
        crash_at(tiny_run(BASE, wsd(0.5), {"run": {"dir": "run"}}), 9).fit("auto", shared(folder=Path("elsewhere")))
    monkeypatch.setattr(trajectory, "CODE", "another")
    result = fit("run", wsd(0.5), reuse=shared(), resume="auto")
    assert (result.resumed_step, result.reused_steps) == (9, 0)
    assert PrefixStore(Path("prefixes")).entries() == []


@pytest.mark.slow
def test_tensorboard_shows_the_steps_of_others_once(place: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = {"trainer": {"logger": None}}
    fit("first", wsd(0.5), reuse=shared())
    fit("second", wsd(0.3), board, reuse=shared())
    events = EventAccumulator("second")
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [3, 6, 9, 12, 15, 18, 20]
    assert [event.step for event in events.Scalars("val/loss")] == [4, 8, 12, 16, 20]


def base_of(*settings: Mapping[str, Any]) -> str:
    return trace(tiny_run(BASE, wsd(0.5), *settings)).base


def test_whatever_changes_the_weights_changes_the_key(place: Path) -> None:
    base = base_of()
    assert base == base_of(wsd(0.2), {"trainer": {"max_steps": 30}, "run": {"save_every": 3, "name": "x"}})
    (place / "other.txt").write_text("Another text. " * 200, encoding="utf-8")
    other = [
        base_of({"model": {"optimizer": {"lr": 2e-2}}}),
        base_of({"seed_everything": 2}),
        base_of({"data": {"source": "other.txt"}}),
        base_of({"model": {"config": {"n_head": 1}}}),
        base_of({"trainer": {"accumulate_grad_batches": 2}}),
        base_of({"data": {"batch_size": 2}, "trainer": {"accumulate_grad_batches": 2}}),
    ]
    assert len({base, *other}) == 7
    run = tiny_run(BASE, wsd(0.5))
    run.module.initial_weights = {"head.weight": torch.ones(2)}
    first = trace(run).base
    run.module.initial_weights = {"head.weight": torch.zeros(2)}
    assert len({base, first, trace(run).base}) == 3


def test_every_setting_is_in_the_key_unless_it_is_listed(place: Path) -> None:
    """And so is one that does not exist yet."""
    run = tiny_run(BASE, wsd(0.5))
    config, base = run.config, trace(run).base
    settings = flatten(config)
    for key in [*settings, "model.brand_new", "run.brand_new", "brand_new"]:
        run.config = {**settings, key: "changed"}
        listed = any(key == entry or key.startswith(f"{entry}.") for entry in INDIFFERENT)
        assert (trace(run).base == base) == listed, key
    assert [entry for entry in INDIFFERENT if not any(f"{key}.".startswith(f"{entry}.") for key in settings)] == []


def test_keys_of_the_chain_agree_for_as_long_as_the_rates_do(place: Path) -> None:
    long, short = (trace(tiny_run(BASE, wsd(0.5), {"trainer": {"max_steps": steps}})) for steps in (20, 16))
    one, other = long.keys(range(1, 40)), short.keys(range(1, 40))
    assert list(one) == list(range(1, 21))
    assert len({*one.values(), *other.values()}) == 20 + 16 - 9
    assert [step for step in other if one[step] == other[step]] == list(range(1, 10))


def test_step_values_of_an_objective_are_in_the_chain(place: Path) -> None:
    """Two ratios of masked tokens that part in step 12: without their values in the key, all steps were shared."""

    def masked(decay: float) -> dict[str, Any]:
        schedule = {"class_path": "WSD", "init_args": {"warmup": 0, "decay": decay}}
        return {"model": {"objective": {"class_path": "MaskedLM", "init_args": {"ratio_schedule": schedule}}}}

    one, other = (trace(tiny_run(BASE, wsd(0.5), masked(decay))) for decay in (0.5, 0.3))
    keys, others = one.keys(range(1, 21)), other.keys(range(1, 21))
    assert [step for step in keys if keys[step] == others[step]] == list(range(1, 12))
    blind, also = (replace(each, values={}).keys(range(1, 21)) for each in (one, other))
    assert blind == also


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "trials"), [(10, 2), pytest.param(100, 6, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_shares_of_a_mixture_branch_from_one_beginning(place: Path, steps: int, trials: int) -> None:
    """Trials whose shares part at half of the run: the first half is done once, and each ends as it does alone."""

    def mixture(trial: int) -> dict[str, Any]:
        schedule = {
            "class_path": "MultiStep",
            "init_args": {"warmup": 0, "milestones": ["50%"], "factors": [(trial + 1) / (trials + 1)]},
        }
        parts = {"clm": {"objective": "CausalLM"}, "masked": {"objective": "NextTokenMasked", "schedule": schedule}}
        return {
            "model": {"objective": {"class_path": "Mixture", "init_args": {"parts": parts}}, "schedule": "Constant"},
            "trainer": {"max_steps": steps},
            "run": {"validate_every": "50%", "save_every": "50%"},
        }

    results = [fit(f"trial-{n}", mixture(n), reuse=shared(every=steps // 2)) for n in range(trials)]
    executed = sum(result.executed_steps for result in results)
    assert executed == steps // 2 * (trials + 1)
    assert trials == 2 or executed <= 0.6 * steps * trials
    for n in range(trials):
        fit(f"alone-{n}", mixture(n))
        assert_same(f"trial-{n}", f"alone-{n}")
    ends = {
        tuple(outcome(Path(f"trial-{n}"))[1]["weights"]["model.token_embedding.weight"][0].tolist())
        for n in range(trials)
    }
    assert len(ends) == trials


def test_what_cannot_be_shared_is_refused(place: Path) -> None:
    with pytest.raises(ConfigError, match="named by path"):
        tiny_run(BASE).fit("runs/x", shared())
    with pytest.raises(ConfigError, match="allow_changes"):
        tiny_run(BASE, {"run": {"allow_changes": ["model"]}}).fit("never", shared())
    with pytest.raises(ConfigError, match="cadence"):
        shared(every=0)
    with pytest.raises(ConfigError, match="number of bytes"):
        shared(budget_bytes=0)


@pytest.mark.slow
@pytest.mark.parametrize("details", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_is_checked_against_all_of_its_steps(place: Path, details: bool) -> None:
    board = {"trainer": {"logger": None}, "monitor": {"details": details, "details_every": 5}}
    fit("first", wsd(0.5), board, reuse=shared())
    fit("second", wsd(0.3), board, reuse=shared())
    assert compare_with_scratch(Path("second"), Path("check")) == []
    assert compare_runs(Path("first"), Path("check"))[0].startswith("metrics.jsonl, step 12: optim/lr/")
    # A store that lies: the weights of step 10 are those of another run.
    entry, wrong = (PrefixStore(Path("prefixes")).entries()[index] for index in (4, 3))
    state = read_checkpoint(entry.checkpoint)
    state["state_dict"] = read_checkpoint(wrong.checkpoint)["state_dict"]
    write_checkpoint(entry.path, step=entry.step, state=state)
    fit("third", wsd(0.5, final_factor=0.1), board, reuse=shared())
    assert "checkpoint.state_dict.model.final_norm.weight" in compare_with_scratch(Path("third"), Path("check-3"))
    assert [number for number in range(9) if is_chosen(1.0, 3, number)] == list(range(9))
    assert not any(is_chosen(0.0, 3, number) for number in range(9))
    assert 60 < sum(is_chosen(0.1, 3, number) for number in range(1000)) < 140


@pytest.mark.parametrize("name", ["NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "MKL_CBWR", "DNNL_MAX_CPU_ISA"])
def test_switches_of_numeric_libraries_are_in_the_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    before = trajectory._switches()
    monkeypatch.setenv(name, "1")
    assert trajectory._switches() == {**before, name: "1"}


def test_the_kind_of_processor_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trajectory.describe_device(torch.device("cpu"))
    monkeypatch.setattr(trajectory, "find_processor", lambda: "another")
    assert trajectory.describe_device(torch.device("cpu")) == {**before, "processor": "another"} != before


def test_what_a_callback_of_the_user_imports_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "minesweep"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "hook.py").write_text("import json\nimport numpy\nfrom . import rate\n\n\nclass Hook: ...\n")
    (package / "rate.py").write_text("def late():\n    from minesweep.deep import VALUE\n    return VALUE\n")
    (package / "deep.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"trainer": {"callbacks": [{"class_path": "minesweep.hook.Hook"}]}}
    before = trajectory._hash_classes(config)
    assert {"minesweep.hook", "minesweep.rate", "minesweep.deep", "numpy"} <= set(before)
    assert "json" not in before
    (package / "deep.py").write_text("VALUE = 2\n")
    after = trajectory._hash_classes(config)
    assert {name for name in before if before[name] != after[name]} == {"minesweep.deep"}

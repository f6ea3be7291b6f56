"""Every way in which a run ends before its last step: that step is saved, the record says which way it was, and a
second start goes on as if nothing had happened, to the last bit."""

from __future__ import annotations

import itertools
import json
import types
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import timer

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints, step_of
from gpt_lightning.errors import DivergedError, EndedEarly
from gpt_lightning.training.fitting.run import FitResult, Run, add_callbacks
from gpt_lightning.training.fitting.summary import describe_result
from tests.training.forked import write_corpus
from tests.training.runs import Crash, tiny_run
from tests.training.test_resume_exact import assert_equal, outcome

SETTINGS: dict[str, Any] = {"run": {"save_every": 100, "validate_every": 4, "sample_tokens": 0}}


def by_turns(*cases: tuple[Any, ...], every: int = 1) -> list[Any]:
    """Each case on both runs, plain and mean: one of the two, or every so many cases one, now; the rest is slow."""
    both = ("plain", "mean")
    return [
        pytest.param(*case, name, marks=[] if number % every == 0 and number // every % 2 == turn else pytest.mark.slow)
        for number, case in enumerate(cases)
        for turn, name in enumerate(both)
    ]


MEAN: dict[str, Any] = {"model": {"ema_decay": 0.9}, "trainer": {"accumulate_grad_batches": 2}}
"""State that belongs to a step outside of the optimizer, and steps of two micro-batches."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uninterrupted runs: ``plain`` and ``mean``."""
    folder = tmp_path_factory.mktemp("whole")
    write_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        tiny_run(SETTINGS, {"run.dir": "plain"}).fit()
        tiny_run(SETTINGS, MEAN, {"run.dir": "mean"}).fit()
    return folder


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)


def saved_steps(folder: Path = Path("run")) -> list[int | None]:
    return [step_of(path) for path in list_checkpoints(folder / CHECKPOINTS_DIR)]


def end_of(folder: Path = Path("run")) -> tuple[str, str]:
    end = json.loads((folder / "manifest.json").read_text())["starts"][-1]["end"]
    return end["state"], end["reason"]


def training_lines(folder: Path) -> Any:
    """What a run has logged and computed; without validations, of which an early end adds one."""
    lines, tensors = outcome(folder)
    return [line for line in lines if "train/loss" in line], tensors


def make_run(*settings: dict[str, Any]) -> Run:
    return tiny_run(SETTINGS, {"run.dir": "run"}, *settings)


def go_on(reference: Path, *settings: dict[str, Any]) -> FitResult:
    result = make_run(*settings).fit(resume="auto")
    assert_equal(training_lines(Path("run")), training_lines(reference))
    return result


@pytest.mark.parametrize("validation", [{}, {"trainer.limit_val_batches": 0}], ids=["validated", "unvalidated"])
def test_a_time_limit_saves_and_is_named_twice(
    whole: Path, monkeypatch: pytest.MonkeyPatch, validation: dict[str, Any]
) -> None:
    """The clock goes on by a second whenever it is asked."""
    ticks = itertools.count()
    monkeypatch.setattr(timer, "time", types.SimpleNamespace(monotonic=lambda: float(next(ticks))))
    limited = {"trainer.max_time": "00:00:00:03", **validation}
    run = make_run(limited)
    result = run.fit(resume="auto")
    assert 0 < result.step < 6
    assert saved_steps() == [result.step]
    assert end_of()[0] == "stopped"
    assert f"at step {result.step} of 6: trainer.max_time 00:00:00:03 is over" in end_of()[1]
    assert f"Ended early, at step {result.step} of 6, which is saved" in describe_result(run, result, [])

    again = make_run(limited)
    second = again.fit(resume="auto")
    assert (second.step, second.executed_steps) == (result.step, 0)
    told = describe_result(again, second, [])
    assert f"Nothing was done: run is at step {result.step} of 6, and trainer.max_time 00:00:00:03 is over" in told
    assert "Set a longer --trainer.max_time, or null" in told
    assert go_on(whole / "plain", validation).step == 6
    assert end_of() == ("finished", "")


class _Stop(Callback):
    """Asks for an end in a hook, once so many optimizer steps are done."""

    def __init__(self, hook: str, step: int, error: BaseException | None = None) -> None:
        def act(trainer: Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step >= step:
                trainer.should_stop = True
                if error is not None:
                    raise error

        setattr(self, hook, act)


@pytest.mark.parametrize(
    ("hook", "step", "name"),
    by_turns(
        ("on_train_batch_start", 2),
        ("on_train_batch_end", 3),
        ("on_before_zero_grad", 1),
        ("on_train_batch_end", 4),
        ("on_validation_end", 4),
        every=2,
    ),
)
def test_a_callback_ends_the_run(whole: Path, hook: str, step: int, name: str) -> None:
    settings = MEAN if name == "mean" else {}
    run = make_run(settings)
    add_callbacks(run.trainer, _Stop(hook, step))
    result = run.fit()
    assert result.step in (step, step + 1)
    assert saved_steps()[-1] == result.step
    assert end_of() == (
        "finished",
        f"ended early, at step {result.step} of 6: a callback set trainer.should_stop",
    )
    go_on(whole / name, settings)


def test_early_stopping_is_named() -> None:
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/loss", "stopping_threshold": 100.0},
    }
    result = make_run({"trainer.callbacks": [stopping]}).fit()
    assert (result.step, saved_steps()) == (4, [4])
    assert end_of()[0] == "finished"
    assert "at step 4 of 6: EarlyStopping: Stopping threshold reached" in end_of()[1]


def test_no_end_before_the_least_number_of_steps() -> None:
    run = make_run({"trainer.min_steps": 5})
    add_callbacks(run.trainer, _Stop("on_train_batch_end", 2))
    assert run.fit().step == 5
    assert saved_steps() == [4, 5], "the validation at step 4 is the first, and the best"


HOOKS = [
    ("on_train_batch_start", 2, 2),
    ("on_before_zero_grad", 2, 2),
    ("on_after_backward", 2, 2),
    ("on_before_optimizer_step", 2, 2),
    ("on_train_batch_end", 2, 2),
    ("on_train_batch_end", 4, 4),
    ("on_validation_start", 4, 4),
    ("on_validation_batch_end", 4, 4),
    ("on_validation_end", 4, 4),
]


@pytest.mark.parametrize(("hook", "step", "saved", "name"), by_turns(*HOOKS, every=2))
def test_an_exception_in_any_hook_saves_the_step(whole: Path, hook: str, step: int, saved: int, name: str) -> None:
    """Of a callback that comes before ours, as users' callbacks do."""
    settings = MEAN if name == "mean" else {}
    run = make_run(settings)
    add_callbacks(run.trainer, _Stop(hook, step, Crash("mine")))
    with pytest.raises(Crash):
        run.fit()
    assert saved_steps()[-1] == saved
    assert end_of() == ("failed", "Crash: mine")
    result = go_on(whole / name, settings)
    assert result.resumed_step == saved


def test_an_exception_inside_the_update_saves_nothing(whole: Path) -> None:
    """Some weights are those of the next step, others not yet."""

    class Torn(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            (optimizer,) = trainer.optimizers
            real, count = optimizer.step, [0]

            def step(*args: Any, **kwargs: Any) -> Any:
                value = real(*args, **kwargs)
                count[0] += 1
                if count[0] == 3:
                    raise Crash("half of it")
                return value

            vars(optimizer)["step"] = step

    run = make_run()
    add_callbacks(run.trainer, Torn())
    with pytest.raises(Crash):
        run.fit()
    assert saved_steps() == []


@pytest.mark.parametrize(("error", "saved"), [(EndedEarly("seen enough"), [3]), (DivergedError("nan", fix=""), [])])
def test_a_rule_saves_and_a_divergence_does_not(error: BaseException, saved: list[int]) -> None:
    run = make_run()
    add_callbacks(run.trainer, _Stop("on_train_batch_end", 3, error))
    with pytest.raises(type(error)):
        run.fit()
    assert saved_steps() == saved


def test_an_exception_in_the_last_validation_repeats_it(whole: Path) -> None:
    """Saved, the run would have nothing to do, and never be validated."""
    run = make_run({"run.save_every": 4})
    add_callbacks(run.trainer, _Stop("on_validation_end", 6, Crash("mine")))
    with pytest.raises(Crash):
        run.fit()
    assert saved_steps() == [4]
    assert go_on(whole / "plain", {"run.save_every": 4}).resumed_step == 4

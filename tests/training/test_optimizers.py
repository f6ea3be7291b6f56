"""Every optimizer, schedule and running mean resumes bit for bit after kill -9; bad steps are left out exactly."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR, locate
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import add_callbacks
from gpt_lightning.training.modules.ema import EMA
from gpt_lightning.training.profiling.memory_estimate import _LiveBytes
from gpt_lightning.training.runs.run_folder import read_metrics
from gpt_lightning.weights.loading import load_model
from tests.selections import seldom
from tests.training.forked import TINY, KillAt, run_child, train, write_corpus
from tests.training.test_resume_exact import assert_equal, outcome


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimizers")
    write_corpus(folder)
    return folder


def _check_resume(place: Path, name: str, settings: dict[str, Any], kill: tuple[str, int]) -> Path:
    """Train with and without a kill; both must be equal. The folder of the uninterrupted run."""
    whole, killed = place / f"{name}-whole", place / f"{name}-killed"
    assert run_child(place, train, whole, settings, None) == 0
    assert run_child(place, train, killed, settings, kill) == -signal.SIGKILL
    assert run_child(place, train, killed, settings, None) == 0
    assert_equal(outcome(killed), outcome(whole))
    return whole


_MODERN = {"n_layer": 2, "n_head": 2, "n_embd": 16, "dropout": 0.1, "tie_embeddings": False}
_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "muon": {"optimizer": {"class_path": "Muon", "init_args": {"lr": 0.02, "weight_decay": 0.1}}, "config": _MODERN},
    "schedule-free": {"optimizer": {"class_path": "ScheduleFree", "init_args": {"lr": 0.01}}},
    "lion": {"optimizer": {"class_path": "Lion", "init_args": {"lr": 2e-3, "layer_decay": 0.8}}},
    "completep": {"parametrization": {"class_path": "CompleteP", "init_args": {"base_width": 8, "base_layers": 1}}},
}


@pytest.mark.parametrize("name", ["muon", *seldom("schedule-free", "lion", "completep")])
def test_optimizer_resumes_bit_for_bit(place: Path, name: str) -> None:
    settings = {"model": {"schedule": {"class_path": "WSD", "init_args": {"decay": 8}}, **_OPTIMIZERS[name]}}
    whole = _check_resume(place, name, settings, ("batch_start", 10))
    points = [line for line in read_metrics(whole) if "train/loss" in line]
    assert points[-1]["train/loss"] < points[0]["train/loss"] - 0.1
    rates = {key for key in points[0] if key.startswith("optim/lr/")}
    groups = {
        "muon": {"matrix", "vector", "embedding", "head"},
        "schedule-free": {"matrix", "vector", "embedding"},
        "lion": {f"{role}_layer{layer}" for layer in (1, 2) for role in ("matrix", "vector")}
        | {"embedding_layer0", "vector_layer3"},
        "completep": {"matrix", "matrix_end", "vector", "vector_end", "vector_final", "embedding"},
    }
    assert rates == {f"optim/lr/{group}" for group in groups[name]}


_SCHEDULES: list[Any] = [
    "Constant",
    "Linear",
    "Polynomial",
    "Exponential",
    {"class_path": "InverseSqrt", "init_args": {"warmup": 3, "cooldown": 6}},
    "Power",
    "StepDecay",
    "MultiStep",
    *(
        {"class_path": "WSD", "init_args": {"shape": shape}}
        for shape in ("OneMinusSqrt", "HalfCosine", "Square", "Geometric")
    ),
    "WSDS",
    "OneCycle",
    "Cyclic",
    "CosineRestarts",
    {
        "class_path": "Piecewise",
        "init_args": {"points": [{"at": 0, "factor": 1.0}, {"at": "100%", "factor": 0.1, "shape": "Square"}]},
    },
]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(_SCHEDULES)))
def test_schedule_resumes_bit_for_bit(place: Path, number: int) -> None:
    settings = {"model": {"schedule": _SCHEDULES[number]}}
    _check_resume(place, f"schedule{number}", settings, ("before_update", 5 + number))


class _MeanByHand(Callback):
    """The recurrence of the mean, written out."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.mean = {name: value.detach().double() for name, value in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        decay = min(self.decay, (1 + trainer.global_step) / (10 + trainer.global_step))
        for name, value in pl_module.named_parameters():
            self.mean[name] = decay * self.mean[name] + (1 - decay) * value.detach().double()

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._compare(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert trainer.global_step == 24

    def _compare(self, pl_module: LightningModule) -> None:
        for name, value in pl_module.named_parameters():
            torch.testing.assert_close(value.detach().double(), self.mean[name], rtol=1e-5, atol=1e-7)


def averaged(folder: Path) -> None:
    run = build(
        TINY, {"model.ema_decay": 0.8, "run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")}
    )
    by_hand = _MeanByHand(0.8)
    add_callbacks(run.trainer, by_hand)
    result = run.fit()
    by_hand._compare(run.module)  # the mean is left in the model
    loaded = load_model(folder, prefer="last").model  # ... and is what a checkpoint offers
    assert_equal(dict(loaded.state_dict()), dict(run.module.model.state_dict()))
    again = build(TINY, {"model.ema_decay": 0.8, "data.source": str(folder.parent / "corpus.txt")})
    assert again.validate(list_checkpoints(folder / CHECKPOINTS_DIR)[-1])["val/loss"] == result.metrics["val/loss"]


def test_running_mean_is_validated_saved_and_left(place: Path) -> None:
    assert run_child(place, averaged, place / "averaged") == 0
    state = read_checkpoint(list_checkpoints(place / "averaged" / CHECKPOINTS_DIR)[-1])
    assert not torch.equal(
        state["ema"]["trained"]["model.final_norm.weight"], state["state_dict"]["model.final_norm.weight"]
    )


@pytest.mark.parametrize(
    ("precision", "kill"),
    [("32-true", ("validation", 15)), pytest.param("bf16-true", ("batch_start", 10), marks=pytest.mark.slow)],
)
def test_running_mean_resumes_bit_for_bit(place: Path, precision: str, kill: tuple[str, int]) -> None:
    settings = {"model": {"ema_decay": 0.9}, "trainer": {"precision": precision}}
    whole = _check_resume(place, f"ema-{kill[0]}-{precision}", settings, kill)
    states = [
        read_checkpoint(list_checkpoints(place / f"ema-{kill[0]}-{precision}-{end}" / CHECKPOINTS_DIR)[-1])["ema"]
        for end in ("whole", "killed")
    ]
    assert_equal(states[0], states[1])
    with_mean = [line["train/loss"] for line in read_metrics(whole) if "train/loss" in line]
    plain = place / f"plain-{precision}"
    if not plain.exists():
        assert run_child(place, train, plain, {"trainer": {"precision": precision}}, None) == 0
    assert with_mean == [line["train/loss"] for line in read_metrics(plain) if "train/loss" in line]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_running_mean_takes_no_second_copy_of_all_weights(dtype: torch.dtype) -> None:
    """The mean itself is float32; a step needs room for one parameter at most, and is the formula."""
    layers = [nn.Linear(8, 8, bias=False, dtype=dtype) for _ in range(10)]
    module: Any = nn.ModuleList(layers)
    trainer: Any = SimpleNamespace(strategy=SingleDeviceStrategy("cpu"), global_step=4)
    ema, start, step = EMA(0.9), _LiveBytes([], 0), _LiveBytes([], 0)
    with start:
        ema.on_fit_start(trainer, module)
    both = 10 * 64 * (dtype.itemsize + 4)  # the weights, which it looks at, and the mean
    assert start.peak == both
    before = {name: value.clone() for name, value in ema.average(trainer, module).items()}
    for layer in layers:
        layer.weight.data.add_(1.0)
    with step:
        ema.keep_step(trainer, module)
    assert step.peak <= both + 64 * 4
    for name, value in ema.average(trainer, module).items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, before[name] * 5 / 14 + module.get_parameter(name).detach().float() * 9 / 14)


def test_mean_cannot_be_added_to_a_run_in_the_middle(place: Path) -> None:
    folder = place / "added"
    assert run_child(place, train, folder, {}, ("batch_start", 10)) == -signal.SIGKILL
    assert run_child(place, train, folder, {"model": {"ema_decay": 0.9}}, None) == 3
    assert "model.ema_decay" in (place / "error.txt").read_text()


class _Poison(Callback):
    """Makes the gradient of some steps non-finite."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step + 1 in self.steps:
            next(pl_module.parameters()).grad[0] = float("nan")  # type: ignore[index]


class _Witness(Callback):
    """Checks that exactly the poisoned steps change nothing."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps
        self.before: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.before = self._state(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        after = self._state(trainer, pl_module)
        unchanged = all(torch.equal(a, b) for a, b in zip(self.before, after, strict=False))
        assert unchanged is (trainer.global_step in self.steps), trainer.global_step
        assert all(bool(torch.isfinite(value).all()) for value in after)

    @staticmethod
    def _state(trainer: Trainer, module: LightningModule) -> list[torch.Tensor]:
        (optimizer,) = trainer.optimizers
        moments = [value for state in optimizer.state.values() for value in state.values()]
        return [value.detach().clone() for value in [*module.parameters(), *moments]]


def skipping(folder: Path, steps: list[int], settings: dict[str, Any], kill: tuple[str, int] | None) -> None:
    run = build(TINY, settings, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    add_callbacks(run.trainer, _Poison(steps), _Witness(steps), *([] if kill is None else [KillAt(*kill)]))
    run.fit(resume="auto")
    assert run.module.skipped_steps == steps


def _skip(max_steps: int) -> dict[str, Any]:
    return {"class_path": "Skip", "init_args": {"max_steps": max_steps}}


@pytest.mark.parametrize(
    "optimizer", ["AdamW", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Muon", "Lion"))]
)
def test_exactly_the_bad_steps_are_left_out_also_over_a_resume(place: Path, optimizer: str) -> None:
    settings = {"model": {"optimizer": optimizer, "nonfinite": _skip(3)}}
    whole, killed = place / f"skip-{optimizer}", place / f"skip-killed-{optimizer}"
    steps = [1, 7, 12]
    assert run_child(place, skipping, whole, steps, settings, None) == 0
    assert run_child(place, skipping, killed, steps, settings, ("batch_start", 10)) == -signal.SIGKILL
    assert run_child(place, skipping, killed, steps, settings, None) == 0
    (mine, state), (wanted, expected) = outcome(killed), outcome(whole)
    assert_equal(state, expected)
    assert str(mine) == str(wanted)  # as text: nan is not equal to itself


def test_too_many_bad_steps_end_training(place: Path) -> None:
    folder = place / "skip-many"
    assert run_child(place, skipping, folder, [3, 5, 8], {"model": {"nonfinite": _skip(2)}}, None) == 4
    message = (place / "error.txt").read_text()
    assert "before step 8" in message
    assert "2 steps were left out before (3, 5)" in message
    assert "--model.nonfinite.max_steps" in message


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"model": {"ema_decay": 1.0}}, "ema_decay is out of range: got 1.0"),
        ({"model": {"nonfinite": _skip(0)}}, "nonfinite.max_steps is a count: got 0"),
        (
            {"model": {"nonfinite": {"class_path": "Rollback", "init_args": {"every_steps": 0}}}},
            "nonfinite.every_steps is a count: got 0",
        ),
        ({"model": {"ema_decay": 0.9, "optimizer": "ScheduleFree"}}, "both keep a mean of the weights"),
        ({"model": {"checkpoint_activations": 0}}, "checkpoint_activations counts blocks: got 0"),
    ],
)
def test_settings_out_of_range(place: Path, settings: dict[str, Any], part: str) -> None:
    assert run_child(place, train, place / "refused", settings, None) == 2
    assert part in (place / "error.txt").read_text()


class _Averaged(Callback):
    """What is validated is the mean of the optimizer, and the weights under training come back."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.before = {name: value.detach().clone() for name, value in pl_module.named_parameters()}

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        (optimizer,) = trainer.optimizers
        for name, value in pl_module.named_parameters():
            base = optimizer.state[value]["base"]
            expected = (self.before[name].double() - 0.1 * base.double()) / 0.9
            torch.testing.assert_close(value.detach().double(), expected, rtol=1e-5, atol=1e-6)
            assert not torch.equal(value, self.before[name])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.global_step == 5:
            assert all(torch.equal(value, self.before[name]) for name, value in pl_module.named_parameters())


def schedule_free(folder: Path) -> None:
    settings = {"model.optimizer": "ScheduleFree", "data.source": str(folder.parent / "corpus.txt")}
    run = build(TINY, settings, {"run.dir": str(folder), "model.schedule": "Constant"})
    vars(run.trainer)["callbacks"].insert(0, _Averaged())  # before the average takes the weights' place
    result = run.fit()
    assert_equal(dict(load_model(folder, prefer="last").model.state_dict()), dict(run.module.model.state_dict()))
    again = build(TINY, settings)
    assert again.validate(list_checkpoints(folder / CHECKPOINTS_DIR)[-1])["val/loss"] == result.metrics["val/loss"]


@pytest.mark.slow
def test_mean_of_schedule_free_is_validated_saved_and_left(place: Path) -> None:
    assert run_child(place, schedule_free, place / "schedule-free") == 0


class _Back(Callback):
    """Checks that a poisoned step ends with the state of a multiple of ``every`` before it, mean and moments too."""

    def __init__(self, bad: list[int], every: int) -> None:
        self.bad, self.every = bad, every
        self.kept: Any = None
        self.kept_mean: dict[str, torch.Tensor] = {}

    @staticmethod
    def _mean(trainer: Trainer, pl_module: LightningModule) -> dict[str, torch.Tensor]:
        means = [callback for callback in vars(trainer)["callbacks"] if isinstance(callback, EMA)]
        return {name: value.clone() for mean in means for name, value in mean.average(trainer, pl_module).items()}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.kept_mean = self._mean(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        step = trainer.global_step
        state = _Witness._state(trainer, pl_module)
        assert all(bool(torch.isfinite(value).all()) for value in state)
        if step in self.bad and self.kept is not None:
            assert all(torch.equal(one, other) for one, other in zip(self.kept, state, strict=True))
        if step in self.bad and self.kept_mean:
            # Not yet moved on towards the weights: the mean's own turn comes after this.
            assert_equal(self._mean(trainer, pl_module), self.kept_mean)
        if step % self.every == 0:
            self.kept = state


def rolling(folder: Path, bad: list[int], kill: tuple[str, int] | None, optimizer: str) -> None:
    policy = {"class_path": "Rollback", "init_args": {"every_steps": 4, "max_steps": 2}}
    settings: dict[str, Any] = {"model": {"optimizer": optimizer, "nonfinite": policy}}
    if optimizer != "ScheduleFree":
        settings["model"]["ema_decay"] = 0.9
    run = build(TINY, settings, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    add_callbacks(run.trainer, _Poison(bad), _Back(bad, 4), *([] if kill is None else [KillAt(*kill)]))
    run.fit(resume="auto")
    assert run.module.skipped_steps == bad


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["AdamW", pytest.param("ScheduleFree", marks=pytest.mark.slow)])
def test_rollback_goes_back_and_on_also_over_a_resume(place: Path, optimizer: str) -> None:
    """Killed between the snapshot of step 8 and the bad step 11; the checkpoint it goes on from is that of step 9."""
    whole, killed = place / f"back-{optimizer}", place / f"back-killed-{optimizer}"
    assert run_child(place, rolling, whole, [2, 11], None, optimizer) == 0
    assert run_child(place, rolling, killed, [2, 11], ("batch_start", 10), optimizer) == -signal.SIGKILL
    assert run_child(place, rolling, killed, [2, 11], None, optimizer) == 0
    (mine, state), (wanted, expected) = outcome(killed), outcome(whole)
    assert_equal(state, expected)
    assert str(mine) == str(wanted)
    assert all(bool(torch.isfinite(value).all()) for value in state["weights"].values())
    assert run_child(place, rolling, place / f"back-many-{optimizer}", [2, 11, 13], None, optimizer) == 4
    assert "2 steps were left out before (2, 11)" in (place / "error.txt").read_text()


class _BadValidation(Callback):
    """Weights that are not finite while step 10 is validated, and good ones again after it."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.good = [value.detach().clone() for value in pl_module.parameters()]
        if trainer.global_step == 10:
            for value in pl_module.parameters():
                value.data.fill_(float("nan"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for value, good in zip(pl_module.parameters(), self.good, strict=True):
            value.data.copy_(good)


def badly_validated(folder: Path) -> None:
    settings = {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt"), "trainer.max_steps": 10}
    run = build(TINY, settings)
    add_callbacks(run.trainer, _BadValidation())
    run.fit()


def test_a_loss_that_is_not_finite_is_never_the_best(place: Path) -> None:
    folder = place / "never-best"
    assert run_child(place, badly_validated, folder) == 0
    values = {line["step"]: line["val/loss"] for line in read_metrics(folder) if "val/loss" in line}
    assert str(values[10]) == "nan"
    assert locate(folder).name == "step-000000005"

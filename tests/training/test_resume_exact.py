"""``fit --resume auto`` after kill -9 gives the losses and weights of the uninterrupted run, bit for bit.

Every case trains with dropout, validation in the middle, a cosine schedule and two epoch borders; the children really
die by SIGKILL. Losses are compared as the exact decimal text of the log, weights and optimizer moments tensor by
tensor with ``torch.equal``.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.selections import seldom
from tests.training.forked import run_child, train, write_corpus

ACCUMULATE: dict[str, Any] = {"trainer": {"accumulate_grad_batches": 2, "max_steps": 12}}


def outcome(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Logged numbers without clocks and without what only several processes log, and the last checkpoint's tensors."""
    left_out = ("time", "perf/", "memory/", "train/loss_max")
    lines = [
        {key: value for key, value in line.items() if not key.startswith(left_out)} for line in read_metrics(folder)
    ]
    state = read_checkpoint(list_checkpoints(folder / CHECKPOINTS_DIR)[-1])
    return lines, {"weights": state["state_dict"], "optimizer": state["optimizer_states"]}


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}[{index}]")
    elif one == one:  # a part of a mixture without a sample has no loss: NaN, and must have none again
        assert one == other, where
    else:
        assert other != other, where


def reference(place: Path, settings: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    assert run_child(place, train, place / "reference", settings, None) == 0
    return outcome(place / "reference")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def plain(place: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    lines, state = reference(place, {})
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 25))
    assert [line["step"] for line in lines if "val/loss" in line] == [5, 10, 15, 20, 24]
    assert lines[-1]["data/epoch"] > 2 if "data/epoch" in lines[-1] else True
    return lines, state


@pytest.fixture(scope="module")
def accumulated(place: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    folder = place / "accumulated"
    folder.mkdir()
    write_corpus(folder)
    return reference(folder, ACCUMULATE)


Kills = list[tuple[str, int]]
CASES: list[Kills] = [
    [("batch_start", 0)],  # before the first step: nothing saved yet
    [("rename", 6)],
    [("batch_start", 7), ("batch_start", 8)],  # twice in a row
]
MORE: list[Kills] = [
    [("validation", 5)],
    [("fsync", 6)],
    [("before_update", 1)],
    [("batch_start", 3)],  # just after a save
    [("batch_start", 8)],
    [("validation", 15)],
    [("validation", 24)],  # the last validation
    [("rename", 24)],
    [("rename", 3), ("fsync", 9), ("validation", 15), ("batch_start", 20)],
]


def name_kills(kills: Kills) -> str:
    return "-".join(f"{point}{step}" for point, step in kills)


@pytest.mark.parametrize(
    "kills", [*CASES, *(pytest.param(each, marks=pytest.mark.slow) for each in MORE)], ids=name_kills
)
def test_killed_run_resumes_bit_for_bit(place: Path, plain: Any, kills: list[tuple[str, int]]) -> None:
    folder = place / name_kills(kills)
    for kill in kills:
        assert run_child(place, train, folder, {}, kill) == -signal.SIGKILL
    assert run_child(place, train, folder, {}, None) == 0
    assert_equal(outcome(folder), plain)


@pytest.mark.parametrize(
    "kill",
    [
        ("validation", 5),
        pytest.param(("before_update", 4), marks=pytest.mark.slow),
        pytest.param(("batch_start", 5), marks=pytest.mark.slow),
        pytest.param(("rename", 6), marks=pytest.mark.slow),
    ],
)
def test_killed_in_accumulation_resumes_bit_for_bit(place: Path, accumulated: Any, kill: tuple[str, int]) -> None:
    folder = place / "accumulated" / f"{kill[0]}{kill[1]}"
    assert run_child(folder.parent, train, folder, ACCUMULATE, kill) == -signal.SIGKILL
    assert run_child(folder.parent, train, folder, ACCUMULATE, None) == 0
    assert_equal(outcome(folder), accumulated)


def test_logging_interval_spans_a_resume(place: Path) -> None:
    """A point every 4 steps, a checkpoint at step 6: the mean of steps 5 to 8 needs losses from before the kill."""
    settings = {"trainer": {"log_every_n_steps": 4}}
    folder = place / "interval"
    folder.mkdir()
    write_corpus(folder)
    wanted = reference(folder, settings)
    assert run_child(folder, train, folder / "killed", settings, ("batch_start", 7)) == -signal.SIGKILL
    assert run_child(folder, train, folder / "killed", settings, None) == 0
    assert_equal(outcome(folder / "killed"), wanted)


def test_damaged_newest_checkpoint_is_passed_over(place: Path, plain: Any) -> None:
    folder = place / "damaged"
    assert run_child(place, train, folder, {}, ("batch_start", 10)) == -signal.SIGKILL
    newest = list_checkpoints(folder / CHECKPOINTS_DIR)[-1]
    data = bytearray((newest / "state.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (newest / "state.pt").write_bytes(data)
    assert run_child(place, train, folder, {}, None) == 0
    assert_equal(outcome(folder), plain)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_mixture_of_denoisers_killed_often_ends_the_same(place: Path, number: int) -> None:
    """At random points of a step and of a save; the masks of a sample are those of its number."""
    settings = {"model": {"objective": "UL2", "ema_decay": 0.9}}
    folder = place / f"denoisers-{number}"
    folder.mkdir()
    write_corpus(folder)
    whole = reference(folder, settings)
    generator = random.Random(number)
    points = ["batch_start", "before_update", "validation", "fsync", "rename"]
    # In order, so that every run comes past its own from the checkpoint before it.
    kills = sorted((generator.randrange(1, 24), generator.choice(points)) for _ in range(number))
    for step, point in kills:
        assert run_child(folder, train, folder / "killed", settings, (point, step)) == -signal.SIGKILL, (point, step)
    assert run_child(folder, train, folder / "killed", settings, None) == 0
    assert_equal(outcome(folder / "killed"), whole)


ADAPTATIONS: dict[str, dict[str, Any]] = {
    "LoRA": {"r": 2, "dropout": 0.1},
    "AdaLoRA": {"r": 1, "initial_r": 2, "warmup": 2, "final": 3, "every": 2, "dropout": 0.1},
    "DoRA": {"r": 2},
    "PiSSA": {"r": 2},
    "IA3": {},
    "Houlsby": {"size": 3},
    "PrefixTuning": {"length": 2},
    "PromptTuning": {"length": 2},
    "Int8Base": {"adapter": {"class_path": "LoRA", "init_args": {"r": 2, "dropout": 0.1}}},
    "Freeze": {"layers": 2, "unfreeze_every": 5},
}
"""What is trained beside a frozen base; with a mean of the weights, accumulation and dropout."""


def adapted(name: str) -> dict[str, Any]:
    adaptation = {"class_path": name, "init_args": ADAPTATIONS[name]}
    return {**ACCUMULATE, "model": {"adaptation": adaptation, "ema_decay": 0.9}, "init_from": "base"}


@pytest.fixture(scope="module")
def based(place: Path) -> Path:
    folder = place / "adapted"
    folder.mkdir()
    write_corpus(folder)
    assert run_child(folder, train, folder / "base", {"trainer": {"max_steps": 3}}, None) == 0
    return folder


def check_resume(based: Path, name: str, kills: list[tuple[str, int]]) -> None:
    settings = adapted(name)
    whole = based / f"whole-{name}"
    if not whole.exists():
        assert run_child(based, train, whole, settings, None) == 0
    folder = based / f"{name}-{'-'.join(f'{point}{step}' for point, step in kills)}"
    for kill in kills:
        assert run_child(based, train, folder, settings, kill) == -signal.SIGKILL
    assert run_child(based, train, folder, {**settings, "init_from": None}, None) == 0
    assert_equal(outcome(folder), outcome(whole))


@pytest.mark.parametrize("name", ["AdaLoRA", *seldom("LoRA")])
def test_killed_adapter_resumes_bit_for_bit(based: Path, name: str) -> None:
    check_resume(based, name, [("rename", 6), ("before_update", 8)])


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_the_budget_of_adalora_is_exact_at_the_end(based: Path, accumulate: int) -> None:
    """12 matrices of rank 1, whatever the micro-batches."""
    settings = {**adapted("AdaLoRA"), "trainer": {"accumulate_grad_batches": accumulate, "max_steps": 12}}
    folder = based / f"budget-{accumulate}"
    for kill in (("before_update", 7), ("batch_start", 10)):
        assert run_child(based, train, folder, settings, kill) == -signal.SIGKILL
    assert run_child(based, train, folder, settings, None) == 0
    state = read_checkpoint(list_checkpoints(folder / CHECKPOINTS_DIR)[-1])["ema"]["trained"]
    assert sum(int(value.count_nonzero()) for name, value in state.items() if name.endswith(".e")) == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTATIONS)
@pytest.mark.parametrize("kill", [("batch_start", 2), ("before_update", 5), ("validation", 10), ("rename", 9)], ids=str)
def test_every_adapter_resumes_bit_for_bit(based: Path, name: str, kill: tuple[str, int]) -> None:
    check_resume(based, name, [kill])

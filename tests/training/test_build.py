"""``build``: sources merge, sizes come from the data, and what a run writes down gives the same run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.parsing.strict_yaml import dump_yaml, flatten, read_yaml
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.training.forked import TINY, write_corpus
from tests.training.runs import tiny_run
from tests.training.test_resume_exact import assert_equal, outcome


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(dump_yaml(settings), encoding="utf-8")
    return path


def test_later_sources_win_and_others_stay(place: Path) -> None:
    first = write(place / "first.yaml", {"model": {"optimizer": {"lr": 0.1}}, "trainer": {"max_steps": 3}})
    second = write(place / "second.yaml", {"model": {"optimizer": {"lr": 0.2, "eps": 1e-6}}})
    run = build(first, TINY, {"data.source": "corpus.txt"}, second, {"model": {"config": {"n_layer": 1}}})
    assert run.config["model"]["optimizer"]["init_args"]["lr"] == 0.2
    assert run.config["model"]["optimizer"]["init_args"]["eps"] == 1e-6
    assert run.config["model"]["config"]["n_embd"] == 16
    assert run.config["model"]["config"]["n_layer"] == 1
    assert run.plan.horizon.total_steps == 24
    run = build(first, TINY, {"data.source": "corpus.txt"}, args=["--trainer.max_steps=5"])
    assert run.plan.horizon.total_steps == 5


def test_environment_is_below_files_and_options(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable sets what nothing else sets."""
    monkeypatch.setenv("GPT_LIGHTNING_RUN__KEEP_CHECKPOINTS", "7")
    monkeypatch.setenv("GPT_LIGHTNING_TRAINER__MAX_STEPS", "3")
    monkeypatch.setenv("GPT_LIGHTNING_DATA__SOURCE", "corpus.txt")
    config = write(place / "tiny.yaml", {**TINY, "run": {"save_every": 3}})
    run = build(config)
    assert (run.settings.keep_checkpoints, run.config["data"]["source"]) == (7, "corpus.txt")
    assert run.plan.horizon.total_steps == TINY["trainer"]["max_steps"]
    without = {name: value for name, value in TINY["trainer"].items() if name != "max_steps"}
    assert build(write(place / "tiny.yaml", {**TINY, "trainer": without})).plan.horizon.total_steps == 3


def test_sizes_left_open_come_from_the_data() -> None:
    run = tiny_run()
    assert run.module.config.data_sizes() == (257, 16)
    assert run.config["model"]["config"]["vocab_size"] == 257
    run = tiny_run({"model.config.block_size": 32, "model.config.vocab_size": 300})
    assert run.module.config.data_sizes() == (300, 32)


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        ({"trainer.max_steps": 7}, 7),
        ({"run.max_tokens": 7 * 64 + 63}, 7),
        ({"run.max_tokens": 1}, 1),
        ({"trainer.max_epochs": 2}, 63),
        ({"trainer.max_epochs": 2, "trainer.accumulate_grad_batches": 2}, 31),
        ({}, 31),
    ],
    ids=str,
)
def test_lengths_become_steps(length: dict[str, int], steps: int) -> None:
    """127 windows of 16 tokens; four a step."""
    run = tiny_run({"trainer.max_steps": -1}, length)
    assert run.datamodule.windows_per_epoch() == 127
    assert run.plan.horizon.total_steps == steps
    assert run.plan.horizon.tokens_per_step == 64 * run.trainer.accumulate_grad_batches


def test_resolved_config_says_what_followed_from_the_data_and_nothing_of_the_start() -> None:
    flat = flatten(tiny_run({"trainer.max_steps": -1, "run.max_tokens": 448, "run.dir": "here"}).config)
    assert flat["model.config.vocab_size"] == 257
    assert flat["model.config.block_size"] == 16
    assert (flat["trainer.max_steps"], flat["run.max_tokens"]) == (7, None), "the length once, in steps"
    assert flat["run.dir"] is None
    assert not {"config", "resume", "init_from"} & flat.keys()
    assert {"model.optimizer.init_args.weight_decay", "data.split_seed", "seed_everything"} <= flat.keys()


def test_config_of_a_run_gives_the_same_run_again(place: Path) -> None:
    """The same settings, and the same losses and weights bit for bit; the seed is another than the default."""
    first = tiny_run({"run.dir": "first", "trainer.max_steps": 2, "seed_everything": 5, "model.schedule": "WSD"})
    first.fit()
    again = build(place / "first" / "config.yaml", {"run.dir": "again"})
    assert again.config == first.config == read_yaml(place / "first" / "config.yaml")
    again.fit()
    assert_equal(outcome(place / "again"), outcome(place / "first"))
    assert (place / "again" / "config.yaml").read_bytes() == (place / "first" / "config.yaml").read_bytes()
    other = tiny_run({"run.dir": "other", "trainer.max_steps": 2, "model.schedule": "WSD"})
    other.fit()
    assert read_metrics(place / "other")[0]["train/loss"] != read_metrics(place / "first")[0]["train/loss"]


def test_runs_are_named_for_their_first_config(place: Path) -> None:
    small = {**TINY, "data": {**TINY["data"], "source": "corpus.txt"}}
    one, two = write(place / "one.yaml", small), write(place / "two.yaml", {})
    assert build(one, two).name == "one"
    assert build(small).name == "run"
    assert build(one, {"run.name": "mine"}).name == "mine"
    (place / "runs" / "lr-3").mkdir(parents=True)
    assert build(write(place / "runs" / "lr-3" / "config.yaml", small)).name == "lr"


def test_two_builds_in_one_process_are_independent() -> None:
    """A sweep builds many; nothing of the first may be left in the second."""
    first = tiny_run({"run.dir": "first"})
    tiny_run({"model.optimizer.lr": 0.5, "seed_everything": 9})
    first.fit()
    second = tiny_run({"run.dir": "second"})
    second.fit()
    assert_equal(outcome(Path("second")), outcome(Path("first")))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [({"trainer.max_step": 1}, ConfigError), ({"data.source": "nowhere"}, DataError), ({"model.lr": 1}, ConfigError)],
    ids=str,
)
def test_mistakes_raise_the_family(settings: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        tiny_run(settings)

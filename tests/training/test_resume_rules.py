"""What may go on from what: refused changes with their list, allowed ones, branches, weights to start from."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.checkpoints.best import read_best
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.errors import CheckpointError, DivergedError, RunFolderError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.parsing.strict_yaml import flatten
from gpt_lightning.training.reuse import fingerprint as trajectory
from gpt_lightning.training.runs import resume
from gpt_lightning.training.runs.resume import differences
from gpt_lightning.training.runs.run_folder import read_metrics, read_starts
from tests.training.forked import write_corpus
from tests.training.runs import STEPS, Crash, checkpoint_of, crash_at, tiny_run, weights_of
from tests.training.test_resume_exact import assert_equal, outcome


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``full``: a run of six steps. ``cut``: the same, ended by a crash with five steps saved."""
    folder = tmp_path_factory.mktemp("finished")
    write_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        tiny_run({"run.dir": "full"}).fit()
        with pytest.raises(Crash):
            crash_at(tiny_run({"run.dir": "cut"}), 5).fit()
    return folder


@pytest.fixture(autouse=True)
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "place"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder


def test_flatten_keeps_lists_and_empty_mappings() -> None:
    tree = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}}
    assert flatten(tree) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": {}}


def test_differences_are_listed_with_both_values() -> None:
    saved = {"model": {"lr": 0.1, "gone": 1}, "run": {"name": "a"}, "data": {"eval_batch_size": 4}, "x": float("nan")}
    present = {"model": {"lr": 0.2, "new": 2}, "run": {"name": "b"}, "data": {"eval_batch_size": 8}, "x": float("nan")}
    lines = differences(saved, present, [])
    assert lines == ["model.gone: 1 -> '(not set)'", "model.lr: 0.1 -> 0.2", "model.new: '(not set)' -> 2"]
    assert differences(saved, present, ["model.lr"]) == [line for line in lines if "lr" not in line]
    assert differences(saved, present, ["model"]) == []
    assert differences({"modeling": 1}, {"modeling": 2}, ["model"]) != [], "a prefix of the word is no parent"


def test_a_field_of_the_architecture_that_came_later_had_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def card(**fields: Any) -> dict[str, Any]:
        return {"config": {"model": {"config": fields}}, "data_fingerprint": "d", "global_batch_size": 1}

    monkeypatch.setattr(resume, "read_manifest", lambda _: {"step": 4, "facts": card(n_layer=2)})
    present = GPTConfig(n_layer=2).to_dict()
    assert resume.check_resumable(Path("old"), card(**present), []) == 4
    with pytest.raises(CheckpointError, match=r"model\.config\.head_dim: None -> 8"):
        resume.check_resumable(Path("old"), card(**{**present, "head_dim": 8}), [])


def test_changed_settings_are_refused_and_all_of_them_named() -> None:
    run = tiny_run({"run.dir": "cut", "model.optimizer.lr": 0.005, "seed_everything": 7})
    with pytest.raises(CheckpointError) as told:
        run.fit(resume="auto")
    text = str(told.value)
    assert "seed_everything: 1337 -> 7" in text
    assert "model.optimizer.init_args.lr: 0.01 -> 0.005" in text
    assert "--run.allow_changes '[model.optimizer.init_args.lr,seed_everything]'" in text
    assert "--init_from" in text


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"data.batch_size": 8}, "global_batch_size: 4 -> 8"),
        ({"trainer.accumulate_grad_batches": 2}, "global_batch_size: 4 -> 8"),
        ({"data.val_fraction": 0.2}, "data.val_fraction: 0.1 -> 0.2"),
        ({"trainer.max_steps": 7}, "trainer.max_steps: 6 -> 7"),
        ({"model.config.dropout": 0.0}, "model.config.dropout: 0.1 -> 0.0"),
        ({"model.schedule": "Linear"}, "model.schedule.class_path"),
        ({"trainer.gradient_clip_val": 0.5}, "trainer.gradient_clip_val: 1.0 -> 0.5"),
        ({"data.source": "other.txt"}, "data_fingerprint"),
    ],
    ids=str,
)
def test_refused_changes(place: Path, settings: dict[str, Any], name: str) -> None:
    text = (place / "corpus.txt").read_text()
    (place / "other.txt").write_text(text.replace("Paragraph 3", "Paragraph three"))
    before = {path: path.stat().st_mtime_ns for path in (place / "cut").rglob("*") if path.name != "run.lock"}
    with pytest.raises(CheckpointError) as told:
        tiny_run({"run.dir": "cut"}, settings).fit(resume="auto")
    assert name in str(told.value)
    after = {path: path.stat().st_mtime_ns for path in (place / "cut").rglob("*") if path.name != "run.lock"}
    assert {path for path in after if before.get(path) != after[path]} <= {place / "cut"}, "the run was touched"


def _callback(name: str, **arguments: Any) -> dict[str, Any]:
    return {"trainer.callbacks": [{"class_path": name, "init_args": arguments}]}


def test_callbacks_that_only_watch_are_free_and_others_are_compared(place: Path) -> None:
    stopping = _callback("lightning.pytorch.callbacks.EarlyStopping", monitor="val/loss", patience=9)
    acting = _callback("lightning.pytorch.callbacks.LambdaCallback")
    with pytest.raises(CheckpointError, match=r"trainer\.callbacks: \[\] -> \[.*LambdaCallback.*allow_changes"):
        tiny_run(acting, {"run.dir": "cut"}).fit(resume="auto")
    assert tiny_run(stopping, {"run.dir": "cut"}).fit(resume="auto").step == STEPS
    assert_equal(outcome(place / "cut"), outcome(place / "full"))


def test_what_may_change_a_result_is_written_down_and_shown(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another part of the validation split has another best; versions and threads decide the last bits."""
    before = read_best(place / "cut" / CHECKPOINTS_DIR)
    real = trajectory.describe_device
    monkeypatch.setattr(trajectory, "describe_device", lambda device: {**real(device), "threads": 77})
    run = tiny_run({"run.dir": "cut", "trainer.limit_val_batches": 1})
    with caplog.at_level(logging.WARNING, logger="gpt_lightning"):
        run.fit(resume="auto")
    changed = read_starts(place / "cut")[-1]["changed"]
    assert [line.split(":")[0] for line in changed] == ["threads", "trainer.limit_val_batches"]
    assert "not as the run began: threads: " in caplog.text
    assert "val/loss is now of 1 batches of 4 windows, before it was of the whole split" in caplog.text
    after = read_best(place / "cut" / CHECKPOINTS_DIR)
    assert before is not None
    assert after is not None
    assert after["checkpoint"] == "step-000000006", "the only one measured on this part"


def test_what_cannot_change_the_weights_is_free(place: Path) -> None:
    """Half the batch twice, another cadence, the text in another place: the same weights up to the order of sums.

    Without dropout, whose masks are drawn per micro-batch.
    """
    dry = {"model.config.dropout": 0.0}
    tiny_run(dry, {"run.dir": "whole"}).fit()
    with pytest.raises(Crash):
        crash_at(tiny_run(dry, {"run.dir": "moved"}), 5).fit()
    (place / "elsewhere").mkdir()
    shutil.move(place / "corpus.txt", place / "elsewhere" / "same.txt")
    free = {"trainer.accumulate_grad_batches": 2, "data.eval_batch_size": 5}
    halved = {"data.batch_size": 2, "run.allow_changes": ["data.batch_size"]}
    cadence = {"run.save_every": 5, "run.validate_every": 2, "run.prompt": "x", "trainer.log_every_n_steps": 2}
    result = tiny_run(dry, free, halved, cadence, {"run.dir": "moved", "data.source": "elsewhere"}).fit(resume="auto")
    assert (result.resumed_step, result.step) == (5, STEPS)
    for name, wanted in weights_of(place / "whole").items():
        torch.testing.assert_close(weights_of(place / "moved")[name], wanted, rtol=1e-4, atol=1e-5)


def test_allowed_change_goes_on(place: Path) -> None:
    longer = {"trainer.max_steps": 8, "run.allow_changes": ["trainer.max_steps"], "run.dir": "full"}
    result = tiny_run(longer).fit(resume="auto")
    assert (result.resumed_step, result.step) == (STEPS, 8)
    assert [line["step"] for line in read_metrics(place / "full") if "train/loss" in line] == list(range(1, 9))


def test_crashed_run_goes_on_to_the_same_end(place: Path) -> None:
    result = tiny_run({"run.dir": "cut"}).fit(resume="auto")
    assert (result.resumed_step, result.step) == (5, STEPS)
    assert_equal(outcome(place / "cut"), outcome(place / "full"))


def test_finished_run_has_nothing_to_do(place: Path) -> None:
    before = outcome(place / "full")
    result = tiny_run({"run.dir": "full"}).fit(resume="auto")
    assert (result.resumed_step, result.step, result.metrics) == (STEPS, STEPS, {})
    assert_equal(outcome(place / "full"), before)


def test_auto_takes_the_newest_number_or_starts(place: Path) -> None:
    first = tiny_run({"run.name": "mine"}).fit(resume="auto")
    assert (first.folder, first.resumed_step) == (Path("runs/mine-1"), None)
    for number in (9, 10):
        shutil.copytree("cut", f"runs/mine-{number}")
    again = tiny_run({"run.name": "mine"}).fit(resume="auto")
    assert (again.folder, again.resumed_step) == (Path("runs/mine-10"), 5)
    fresh = tiny_run({"run.name": "mine"}).fit()
    assert fresh.folder == Path("runs/mine-11")


def test_a_new_run_never_writes_into_an_old_one(place: Path) -> None:
    with pytest.raises(RunFolderError, match=r"full already holds a run.*--resume auto"):
        tiny_run({"run.dir": "full"}).fit()
    assert outcome(place / "full")[0][-1]["step"] == STEPS


def test_older_checkpoint_is_refused_in_its_own_run_and_branches_elsewhere(place: Path) -> None:
    older = checkpoint_of(Path("full"), 2)
    with pytest.raises(CheckpointError, match=r"full has gone on to step-000000006 after step-000000002") as told:
        tiny_run().fit(resume=str(older))
    assert "--run.dir NEW_FOLDER" in str(told.value)
    before = outcome(place / "full")
    result = tiny_run({"run.dir": "branch"}).fit(resume=str(older))
    assert (result.folder, result.resumed_step, result.step) == (Path("branch"), 2, STEPS)
    assert_equal(outcome(place / "branch"), before)
    assert_equal(outcome(place / "full"), before)
    with pytest.raises(RunFolderError, match="branch already holds a run"):
        tiny_run({"run.dir": "branch"}).fit(resume=str(older))


def test_a_branch_that_died_before_its_first_checkpoint_branches_again(place: Path) -> None:
    """It used to start from random weights, without a word."""
    before = outcome(place / "full")
    with pytest.raises(DivergedError):
        crash_at(tiny_run({"run.dir": "branch"}), 2, DivergedError("nan")).fit(
            resume=str(checkpoint_of(Path("full"), 2))
        )
    shutil.rmtree(place / "branch" / CHECKPOINTS_DIR, ignore_errors=True)
    result = tiny_run({"run.dir": "branch"}).fit(resume="auto")
    assert (result.resumed_step, result.step) == (2, STEPS)
    assert_equal(outcome(place / "branch"), before)
    assert tiny_run({"run.dir": "branch"}).fit(resume="auto").resumed_step == STEPS


def test_a_branch_whose_source_is_gone_says_so(place: Path) -> None:
    source = checkpoint_of(place / "full", 2)
    with pytest.raises(DivergedError):
        crash_at(tiny_run({"run.dir": "branch"}), 2, DivergedError("nan")).fit(resume=str(source))
    shutil.rmtree(place / "branch" / CHECKPOINTS_DIR, ignore_errors=True)
    shutil.rmtree(source)
    with pytest.raises(CheckpointError, match=r"branch began as a branch of .*step-000000002 and has no checkpoint"):
        tiny_run({"run.dir": "branch"}).fit(resume="auto")


def test_a_run_with_given_weights_that_died_early_begins_with_them_again(place: Path) -> None:
    """At learning rate 0 the weights stay what they were."""
    still = {"model.optimizer.lr": 0.0, "run.dir": "tuned"}
    for typed_again in ([], [f"--init_from={checkpoint_of(Path('full'), 4)}"]):
        shutil.rmtree(place / "tuned", ignore_errors=True)
        given = [f"--init_from={checkpoint_of(Path('full'), 4)}"]
        with pytest.raises(DivergedError):
            crash_at(tiny_run(still, args=given), 0, DivergedError("nan")).fit(resume="auto")
        assert tiny_run(still, args=typed_again).fit(resume="auto").step == STEPS
        assert_equal(weights_of(place / "tuned"), weights_of(place / "full", 4))


def test_a_run_does_not_begin_with_other_weights_than_before(place: Path) -> None:
    given = [f"--init_from={checkpoint_of(Path('full'), 4)}"]
    with pytest.raises(DivergedError):
        crash_at(tiny_run({"run.dir": "tuned"}, args=given), 0, DivergedError("nan")).fit(resume="auto")
    other = [f"--init_from={checkpoint_of(Path('full'), 2)}"]
    with pytest.raises(CheckpointError, match=r"began with the weights of .*step-000000004, and these are others"):
        tiny_run({"run.dir": "tuned"}, args=other).fit(resume="auto")


def test_a_finished_run_has_nothing_to_branch(place: Path) -> None:
    """It used to leave a folder without a checkpoint, and to advise generating from it."""
    with pytest.raises(CheckpointError, match=r"reached the end.*--run.allow_changes"):
        tiny_run({"run.dir": "nothing"}).fit(resume="full")
    assert not (place / "nothing" / "config.yaml").exists()


@pytest.mark.parametrize("typed", ["cut", "cut/checkpoints", "cut/checkpoints/step-000000005"])
def test_resume_by_path(place: Path, typed: str) -> None:
    result = tiny_run().fit(resume=typed)
    assert (result.folder, result.resumed_step) == (Path("cut"), 5)
    assert_equal(outcome(place / "cut"), outcome(place / "full"))


def test_newest_by_path_is_the_newest_and_not_the_best(place: Path) -> None:
    """The best checkpoint may be an old one; going on from it would repeat steps."""
    assert tiny_run().fit(resume="full").resumed_step == STEPS


def test_init_from_takes_weights_only_and_the_config_wins(place: Path) -> None:
    """At learning rate 0 the weights stay what they were; step, schedule, batch and dropout are the new run's."""
    changed = {"model.optimizer.lr": 0.0, "model.config.dropout": 0.0, "data.batch_size": 2, "trainer.max_steps": 3}
    run = tiny_run(changed, {"run.dir": "tuned"}, args=[f"--init_from={checkpoint_of(Path('full'), 4)}"])
    result = run.fit()
    assert (result.resumed_step, result.step) == (None, 3)
    assert_equal(weights_of(place / "tuned"), weights_of(place / "full", 4))
    assert [line["step"] for line in read_metrics(place / "tuned") if "train/loss" in line] == [1, 2, 3]
    assert run.config["model"]["config"]["dropout"] == 0.0


def test_init_from_a_file_of_weights(place: Path) -> None:
    """The names may be the decoder's own or the Lightning module's."""
    own = {name.removeprefix("model."): value for name, value in weights_of(place / "full").items()}
    torch.save(own, "weights.pt")
    still = {"model.optimizer.lr": 0.0, "trainer.max_steps": 1, "run.dir": "tuned"}
    tiny_run(still, args=["--init_from=weights.pt"]).fit()
    assert_equal(weights_of(place / "tuned"), weights_of(place / "full"))


def test_weights_of_another_shape_leave_no_folder_behind(place: Path) -> None:
    with pytest.raises(CheckpointError, match="another architecture"):
        tiny_run({"run.dir": "tuned", "model.config.n_embd": 32}, args=["--init_from=full"])
    assert not (place / "tuned").exists()


def test_init_from_then_resume_auto_goes_on_with_its_own(place: Path) -> None:
    """The same command line serves a queue that restarts it."""
    command = ["--init_from=full"]
    with pytest.raises(Crash):
        crash_at(tiny_run({"run.dir": "tuned"}, args=command), 5).fit(resume="auto")
    assert tiny_run({"run.dir": "tuned"}, args=command).fit(resume="auto").resumed_step == 5
    tiny_run({"run.dir": "whole"}, args=command).fit(resume="auto")
    assert_equal(outcome(place / "tuned"), outcome(place / "whole"))


def test_every_checkpoint_loads_as_plain_data(place: Path) -> None:
    found = list_checkpoints(place / "full" / CHECKPOINTS_DIR)
    assert [path.name for path in found] == ["step-000000002", "step-000000003", "step-000000004", "step-000000006"]
    for path in found:
        state = torch.load(path / "state.pt", weights_only=True)
        assert state["gpt_lightning"]["config"]["data"]["block_size"] == 16
        assert state["TokenDataModule"]["consumed_samples"] == 4 * state["global_step"]

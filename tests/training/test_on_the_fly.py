"""Training on a store that is still being made: nothing that it reads depends on when.

Units are of a thousand bytes, so that a small corpus has ten of them; the preparing process is slowed down by a
``sitecustomize`` of the test's own, since the package has no switch for slowness.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import tempfile
import time
import weakref
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.folders import hold_lock, is_being_made
from gpt_lightning.data.live import background, following
from gpt_lightning.data.prepare.prepare import PrepareSettings, default_folder
from gpt_lightning.data.store.manifest import MANIFEST_FILE
from gpt_lightning.data.stream.stream import SampleStream
from gpt_lightning.errors import CheckpointError, ConfigError, DataError, StopRequested
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import Run, add_callbacks
from tests.selections import seldom
from tests.training.forked import TINY, KillAt, run_child
from tests.training.runs import SIX_STEPS, Crash, crash_at
from tests.training.test_resume_exact import assert_equal, outcome
from tests.training.together import run_together

FLY: dict[str, Any] = {
    "data": {"on_the_fly": True, "shuffle_tokens": 512, "document_mask": True, "drop_duplicates": True},
    "data.source": "corpus.jsonl",
}
SLOW = """
import sys
if sys.orig_argv[-1] in ("gpt_lightning.data.live.background", "gpt_lightning.data.prepare.pool"):
    import time
    from gpt_lightning.data.prepare import chunks, pool, tokenizing
    chunks.UNIT_BYTES = 1000
    pool.count_cores = lambda: {processors}
    work = tokenizing.ChunkWorker.work
    done = []
    def slow(self, unit, tell):
        done.append(unit)
        time.sleep({seconds} if len(done) > 3 else 0)
        return work(self, unit, tell)
    tokenizing.ChunkWorker.work = slow
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_documents(tmp_path)
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    slow_down(tmp_path, 0.05)
    return tmp_path


def write_documents(folder: Path, text: str = "grow and ") -> None:
    """180 documents, some of them twice."""
    texts = [f"Document {n % 150}: " + text * (n % 7) for n in range(180)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "corpus.jsonl").write_text(lines, encoding="utf-8")


def slow_down(folder: Path, seconds: float, processors: int = 1) -> None:
    """Let every process that prepares from now on take so long for a unit from its fourth on."""
    text = SLOW.format(seconds=seconds, processors=processors)
    (folder / "site" / "sitecustomize.py").write_text(text, encoding="utf-8")


def find_preparing(folder: Path) -> list[str]:
    """Commands of the processes that prepare something for a test in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_text().replace("\0", " ")
            if (process / "cwd").resolve() == folder.resolve() and "gpt_lightning.data." in command:
                found.append(command)
    return found


def fly(*settings: dict[str, Any]) -> Run:
    return build(TINY, SIX_STEPS, FLY, *settings)


def store_folder(run: Run) -> Path:
    return run.datamodule.open_store().path


def test_slow_fast_and_finished_stores_train_alike(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fly({"run.dir": "slow"})
    stream, growth = run.datamodule._stream(), run.datamodule.open_store().growth  # type: ignore[attr-defined]
    read, missing = stream.read, list[int]()

    def note(samples: Any) -> Any:
        rows = read(samples)
        missing.append(growth.supply.num_units - growth.num_units)
        return rows

    monkeypatch.setattr(stream, "read", note)
    run.fit()
    assert missing[0] > 0, "training began when everything was there"
    assert (store_folder(run) / MANIFEST_FILE).is_file()  # the last validation waited for it
    fly({"run.dir": "finished"}).fit()
    assert_equal(outcome(place / "slow"), outcome(place / "finished"))


def train_once(folder: str, kill: int | None) -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join(["site", os.environ.get("PYTHONPATH", "")])
    run = fly({"run.dir": folder, "run.validate_every": "100%"})
    if kill is not None:
        add_callbacks(run.trainer, KillAt("batch_start", kill))
    run.fit(resume="auto")


def test_killed_with_the_store_unfinished_goes_on_bit_for_bit(place: Path) -> None:
    slow_down(place, 60)
    assert run_child(place, train_once, "killed", 4) == -signal.SIGKILL
    settings = PrepareSettings("corpus.jsonl", "bytes", val_fraction=0.1, drop_duplicates=True)
    folder = place / "cache" / "stores" / default_folder(settings).name
    assert folder.with_name(f"{folder.name}.lock").exists()
    assert not folder.exists(), "the kill came too late to prove anything"
    deadline = time.monotonic() + 20
    while is_being_made(folder):
        assert time.monotonic() < deadline, "the preparing process outlived its run"
        time.sleep(0.02)
    slow_down(place, 0.0)
    assert run_child(place, train_once, "killed", None) == 0
    assert run_child(place, train_once, "whole", None) == 0
    assert_equal(outcome(place / "killed"), outcome(place / "whole"))


def test_a_changed_corpus_is_refused(place: Path) -> None:
    with pytest.raises(Exception, match=r"^$"):
        crash_at(fly({"run.dir": "one", "run.validate_every": "100%"}), 3).fit()
    write_documents(place, "shrink or ")
    with pytest.raises(CheckpointError, match="data_fingerprint"):
        fly({"run.dir": "one", "run.validate_every": "100%"}).fit(resume="auto")


def test_an_error_of_the_preparing_process_reaches_the_user(place: Path) -> None:
    with (place / "corpus.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(DataError, match=r"corpus\.jsonl, line \d+ .* is not JSON") as caught:
        fly({"run.dir": "one"}).fit()
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"trainer.max_steps": -1}, "max_steps"),
        ({"data.packing": "Pack"}, "packing"),
        ({"data.store": "s3://bucket/store"}, "far away"),
        ({"trainer.limit_val_batches": 0.5}, "limit_val_batches"),
        ({"trainer.num_nodes": 2}, "one machine"),
        ({"data.keep_store": False, "trainer.devices": 2, "trainer.strategy": "ddp"}, "one device"),
        ({"data.keep_store": False, "data.on_the_fly": False}, "keep_store"),
        ({"data.keep_store": False, "data.store": "store"}, "keep_store"),
    ],
)
def test_what_needs_the_whole_corpus_is_refused(settings: dict[str, Any], name: str, place: Path) -> None:
    with pytest.raises(ConfigError, match=name):
        fly(settings)


@pytest.mark.slow
@pytest.mark.parametrize("processors", [2, *seldom(1)])
def test_a_limited_validation_does_not_wait_for_the_end(
    processors: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And closing ends the preparing processes in the middle of a unit, so that the next run can take over."""
    monkeypatch.setattr(background, "_PATIENCE_SECONDS", 30)  # then it would be killed
    slow_down(place, 6000, processors)
    run = fly({"run.dir": "one", "trainer.limit_val_batches": 1, "data.eval_batch_size": 1})
    assert len(find_preparing(place)) >= processors
    preparing = run.datamodule.open_store().growth.supply._folder._preparation._process  # type: ignore[attr-defined]
    result = run.fit()
    assert preparing.returncode == 1, "it did not stop by itself"
    assert not find_preparing(place)
    assert result.metrics["val/loss"] > 0
    assert not store_folder(run).exists()
    assert not is_being_made(store_folder(run))


@pytest.mark.parametrize(
    ("settings", "saved"),
    [
        # Eight micro-batches are read at once, and the first three units have no more.
        pytest.param(
            {"data": {"batch_size": 1, "block_size": 192}, "trainer.max_steps": 12}
            | {"run": {"validate_every": "100%", "save_every": 99}},
            8,
            marks=pytest.mark.slow,
        ),
        ({}, 2),  # the validation of step 3 cannot be saved half done
    ],
    ids=["training", "validation"],
)
def test_a_signal_ends_a_wait_and_the_run_goes_on_exactly(
    settings: dict[str, Any], saved: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SampleStream, "super_batches", partialmethod(SampleStream.super_batches, gather_batches=8))
    slow_down(place, 60)
    run = fly(settings, {"run.dir": "stopped"})
    supply = run.datamodule.open_store().growth.supply  # type: ignore[attr-defined]
    pause = supply.pause

    def interrupt(*args: Any) -> None:
        if run.trainer.global_step:
            os.kill(os.getpid(), signal.SIGTERM)
        pause(*args)

    monkeypatch.setattr(supply, "pause", interrupt)
    with pytest.raises(StopRequested) as caught:
        run.fit()
    assert (caught.value.step, caught.value.exit_code) == (saved, 143)
    assert not is_being_made(store_folder(run))
    slow_down(place, 0)
    assert fly(settings, {"run.dir": "stopped"}).fit(resume="auto").resumed_step == saved
    fly(settings, {"run.dir": "whole"}).fit()
    assert_equal(outcome(place / "stopped"), outcome(place / "whole"))


@pytest.mark.slow
def test_the_wait_of_a_validation_is_explained(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first short wait speaks: on a busy machine training is so slow that there may be no long one.
    monkeypatch.setattr("gpt_lightning.data.live.following._SAY_AFTER_SECONDS", 0.0)
    slow_down(place, 0.5)
    with caplog.at_level(logging.INFO, logger="gpt_lightning"):
        fly({"run.dir": "one"}).fit()
    lines = [record.getMessage() for record in caplog.records if "Waiting for the tokenizer" in record.getMessage()]
    assert len(lines) == 1, "one line, not one for each unit"
    assert "--trainer.limit_val_batches 50" in lines[0]


def look_once(crash: bool) -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join(["site", os.environ.get("PYTHONPATH", "")])
    tempfile.tempdir = "temporary"
    run = fly({"run.dir": "look", "run.validate_every": "100%", "data.keep_store": False})
    with contextlib.suppress(Crash):
        (crash_at(run, 3) if crash else run).fit(resume="auto")
    assert list(Path("temporary").iterdir()), "made elsewhere"
    weakref.finalize._exitfunc()  # type: ignore[attr-defined]  # what Python does at exit, and a fork does not


@pytest.mark.slow
def test_a_quick_look_leaves_nothing_behind(place: Path) -> None:
    """The same losses as with a store, stopped half-way and gone on with."""
    temporary = place / "temporary"
    temporary.mkdir()
    for crash in (True, False):
        assert run_child(place, look_once, crash) == 0
        assert not list(temporary.iterdir())
        assert not [path for path in (place / "cache").rglob("*") if path.is_file()]
        assert not find_preparing(place)
    assert run_child(place, train_once, "kept", None) == 0
    assert (place / "cache" / "stores").is_dir()
    assert_equal(outcome(place / "look"), outcome(place / "kept"))


def train_together(folder: str, settings: dict[str, Any]) -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join(["site", os.environ.get("PYTHONPATH", "")])
    fly(settings, {"run.dir": folder}).fit()


@pytest.mark.slow
def test_two_processes_train_as_one(place: Path) -> None:
    """The second one follows what the first prepares."""
    two = {"trainer.devices": 2, "trainer.strategy": "ddp"}
    assert run_together(place, 2, train_together, "two", two) == [0, 0]
    one = {"trainer.accumulate_grad_batches": 2}
    assert run_child(place, train_together, "one", one) == 0
    assert_equal(outcome(place / "two"), outcome(place / "one"))


@pytest.mark.slow
def test_an_error_of_the_preparing_process_reaches_all_processes(place: Path) -> None:
    with (place / "corpus.jsonl").open("a") as file:
        file.write("{broken\n")
    two = {"trainer.devices": 2, "trainer.strategy": "ddp"}
    assert run_together(place, 2, train_together, "two", two) == [3, 3]
    assert "is not JSON" in (place / "error.txt").read_text(encoding="utf-8")


def test_a_follower_tells_an_old_failure_from_a_new_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> None:
        with pytest.raises(DataError), hold_lock(place / "store"):
            raise DataError(text, fix="Mend it.")

    fail("old")
    folder = following._Folder(place / "store", "print", None)

    def look(times: int) -> None:
        for _ in range(times):
            folder.pause()

    look(3)
    fail("new")
    with pytest.raises(DataError, match=r"^new\. Mend it"):
        look(3)
    with hold_lock(place / "store"):  # somebody else takes over
        look(1)
    look(3)
    monkeypatch.setattr(following, "_LEFT_ALONE_SECONDS", 0.1)
    with hold_lock(place / "store"):
        look(1)
    with pytest.raises(DataError, match="Nobody prepares"):
        look(9)

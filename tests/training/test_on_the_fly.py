"""Training on a store that is still being made: nothing that it reads depends on when.

Units are of a thousand bytes, so that a small corpus has ten of them; the preparing process is slowed down by a
``sitecustomize`` of the test's own, since the package has no switch for slowness.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.folders import is_locked
from gpt_lightning.data.manifest import MANIFEST_FILE
from gpt_lightning.data.prepare import PrepareSettings, default_folder
from gpt_lightning.errors import CheckpointError, ConfigError, DataError
from gpt_lightning.training.build import build
from gpt_lightning.training.run import Run, add_callbacks
from tests.training.forked import TINY, KillAt, run_child
from tests.training.runs import SIX_STEPS, crash_at
from tests.training.test_resume_exact import assert_equal, outcome

FLY: dict[str, Any] = {
    "data": {"on_the_fly": True, "shuffle_tokens": 512, "document_mask": True, "drop_duplicates": True},
    "data.source": "corpus.jsonl",
}
SLOW = """
import sys
if sys.orig_argv[-1] == "gpt_lightning.data.background":
    import time
    from gpt_lightning.data import crew, tokenizing, work_units
    work_units.UNIT_BYTES = 1000
    crew.count_processors = lambda: 1
    work = tokenizing.UnitWorker.work
    done = []
    def slow(self, unit, tell):
        done.append(unit)
        time.sleep({seconds} if len(done) > 3 else 0)
        return work(self, unit, tell)
    tokenizing.UnitWorker.work = slow
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


def slow_down(folder: Path, seconds: float) -> None:
    """Let every preparation started from now on take so long for a unit from the fourth on."""
    (folder / "site" / "sitecustomize.py").write_text(SLOW.format(seconds=seconds), encoding="utf-8")


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
    slow_down(place, 0.5)
    assert run_child(place, train_once, "killed", 4) == -signal.SIGKILL
    settings = PrepareSettings("corpus.jsonl", "bytes", val_fraction=0.1, drop_duplicates=True)
    folder = place / "cache" / "stores" / default_folder(settings).name
    assert folder.with_name(f"{folder.name}.lock").exists()
    assert not folder.exists(), "the kill came too late to prove anything"
    deadline = time.monotonic() + 20
    while is_locked(folder):
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
    ],
)
def test_what_needs_the_whole_corpus_is_refused(settings: dict[str, Any], name: str, place: Path) -> None:
    with pytest.raises(ConfigError, match=name):
        fly(settings)


def test_a_limited_validation_does_not_wait_for_the_end(place: Path) -> None:
    """And closing ends the preparing process, so that the next run can take over."""
    slow_down(place, 60)
    run = fly({"run.dir": "one", "trainer.limit_val_batches": 1, "data.eval_batch_size": 1})
    result = run.fit()
    assert result.metrics["val/loss"] > 0
    assert not store_folder(run).exists()
    assert not is_locked(store_folder(run))

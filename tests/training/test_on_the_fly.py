"""Training on a store that is still being made: what it reads, and that nothing of it depends on when.

Units are a few hundred bytes, so that a corpus of 9 kB has dozens; slow units are made by a wrapper of the worker.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data import work_units
from tests.training.runs import tiny_run
from tests.training.test_resume_exact import assert_equal, outcome

FLY: dict[str, Any] = {"data": {"on_the_fly": True, "shuffle_tokens": 512, "document_mask": True}}

SLOW = """
import time
from gpt_lightning.data import background, tokenizing, work_units, crew
work_units.UNIT_BYTES = 300
crew.count_processors = lambda: 1
work = tokenizing.UnitWorker.work
def slow(self, unit, tell):
    time.sleep({seconds})
    return work(self, unit, tell)
tokenizing.UnitWorker.work = slow
"""


def write_documents(folder: Path) -> Path:
    """Some documents of different length, one of them twice."""
    texts = [f"Document {n % 50}: " + "grow and " * (n % 7) for n in range(180)]
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_documents(tmp_path)
    (tmp_path / "site").mkdir()
    # Processes of this test import our sitecustomize: the package itself has no switch for slowness.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(work_units, "UNIT_BYTES", 300)


def slow_down(folder: Path, seconds: float) -> None:
    """Let every process started from now on take so long for a unit."""
    hook = f"import sys\nif sys.orig_argv[-1] == 'gpt_lightning.data.background':\n    exec({SLOW.format(seconds=seconds)!r})\n"
    (folder / "site" / "sitecustomize.py").write_text(hook, encoding="utf-8")


def fly(*settings: dict[str, Any]) -> Any:
    return tiny_run(FLY, {"data.source": "corpus.jsonl"}, *settings)


def test_as_with_a_finished_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast, slow, finished before: the same losses and weights; while it is slow, training is ahead of the end."""
    slow_down(tmp_path, 0.01)
    run = fly({"run.dir": "slow"})
    growth = run.datamodule.open_store().growth
    seen: list[tuple[int, int]] = []
    read = run.datamodule._stream().read
    monkeypatch.setattr(
        run.datamodule._stream(),
        "read",
        lambda samples: (read(samples), seen.append((growth.num_units, growth.supply.num_units)))[0],
    )
    run.fit()
    assert seen[0][0] < seen[0][1]
    fly({"run.dir": "finished"}).fit()
    assert_equal(outcome(tmp_path / "slow"), outcome(tmp_path / "finished"))

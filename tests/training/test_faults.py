"""``fit --resume auto`` under injected faults: it ends with what happened, and the next start makes the run whole.

Whole means: the lines and tensors of a run that nothing happened to, bit for bit.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints, verify_checkpoint
from gpt_lightning.training.fitting.build import build
from tests.checkpoints.test_faults import run_under
from tests.faults import Fault, install
from tests.training.forked import TINY, run_child, train, write_corpus
from tests.training.test_resume_exact import assert_equal, outcome

SETTINGS: dict[str, Any] = {
    "trainer": {"max_steps": 6},
    "run": {"save_every": 2, "validate_every": 3, "keep_checkpoints": 2},
}
CODES = {"ENOSPC": {0, 3, 4}, "EIO": {0, 3, 4}, "SIGKILL": {0, -9}, "SIGSTOP": {0}}


def fit_under(folder: Path, fault: Fault) -> None:
    """One start; the store of tokens is there already."""
    run = build(TINY, SETTINGS, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    injector = install(fault, folder)
    run.fit(resume="auto")
    if not fault.at:
        (folder.parent / "calls").write_text(str(injector.count))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    write_corpus(folder)
    assert run_child(folder, fit_under, folder / "whole", Fault("EIO", 0)) == 0
    return folder


def check_fit(place: Path, fault: Fault) -> None:
    folder = place / f"{fault.kind}-{fault.at}"
    code = run_under(place, _Body(folder), fault)
    assert code in CODES[fault.kind], (fault, code, (place / "error.txt").read_text())
    for path in list_checkpoints(folder / CHECKPOINTS_DIR):
        verify_checkpoint(path)
    if code in (3, 4) and (folder / "manifest.json").exists():
        ends = [start["end"] for start in json.loads((folder / "manifest.json").read_text())["starts"]]
        # None where the record itself met the disk, or the start ended before it was written down.
        assert all(end is None or end["state"] == "failed" for end in ends)
    assert run_child(place, train, folder, SETTINGS, None) == 0, fault
    assert_equal(outcome(folder), outcome(place / "whole"), str(fault))
    assert not [path.name for path in (folder / CHECKPOINTS_DIR).iterdir() if path.name.startswith(".")]


class _Body:
    """``fit_under`` with its folder, as what a fork server can be sent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, place: Path, fault: Fault) -> None:
        fit_under(self._folder, fault)


def _points(place: Path, count: int, seed: int) -> list[Fault]:
    calls, draw = int((place / "calls").read_text()), random.Random(seed)
    chosen = {(draw.choice(["ENOSPC", "EIO", "SIGKILL"]), draw.randint(1, calls)) for _ in range(count)}
    return [Fault(kind, at) for kind, at in sorted(chosen)]


def test_a_run_at_a_few_points(place: Path) -> None:
    for fault in _points(place, 3, seed=1):
        check_fit(place, fault)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_at_two_hundred_points(place: Path) -> None:
    for fault in _points(place, 200, seed=2):
        check_fit(place, fault)

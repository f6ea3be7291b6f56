"""A run folder of an earlier version goes on, generates and exports.

``old_run`` was trained with version 0.1.0 on ``synthetic.txt`` (12 steps, one layer of 16, Muon, WSD, EMA) and killed
after step 8; the same run undisturbed ended at a validation loss of 4.725790.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from tests.golden.curves import write_corpora
from tests.golden.snapshots import OLD_RUN
from tests.training.forked import run_child

_LOSS = 4.725790343876564


def finish(place: Path) -> None:
    """In a process of its own: the command, as somebody types it after an update."""
    assert main(["fit", "--config", "old/config.yaml", "--run.dir", "old", "--resume", "auto"]) == 0


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_corpora(tmp_path)
    shutil.copytree(OLD_RUN, tmp_path / "old")
    return tmp_path / "old"


def test_an_old_run_goes_on(old_run: Path) -> None:
    from gpt_lightning.training.runs.run_folder import read_metrics

    assert run_child(old_run.parent, finish, old_run.parent) == 0
    last = [line for line in read_metrics(old_run) if "val/loss" in line][-1]
    assert last["step"] == 12
    # Four steps beyond the recorded ones: another processor's rounding has moved them by less than 1e-5.
    assert last["val/loss"] == pytest.approx(_LOSS, rel=1e-4)


def test_an_old_run_generates_and_exports(old_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(old_run), "--prompt", "the tree", "--max_tokens", "8", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.startswith("the tree")
    assert main(["export", str(old_run), str(old_run.parent / "exported")]) == 0
    assert (old_run.parent / "exported" / "model.safetensors").is_file()

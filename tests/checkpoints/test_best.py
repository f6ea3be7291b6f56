"""Which checkpoint is best follows from the checkpoints; what is damaged is named, never taken for something else."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.checkpoints.best import BEST_FILE, VALIDATION, Validation, point_to_best, read_best, write_best
from gpt_lightning.checkpoints.checkpoint_dir import find_newest_valid, locate, rotate
from gpt_lightning.checkpoints.durable import MANIFEST_FILE, checkpoint_name, list_checkpoints, read_manifest
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.errors import CheckpointError
from gpt_lightning.files.sealing import SEAL


def save(shelf: Path, step: int, value: float | None = None, part: str = "all") -> Path:
    facts = {} if value is None else {VALIDATION: Validation(step, "val/loss", value, part).facts()}
    return write_checkpoint(shelf, step=step, state={"step": step}, facts=facts)


def as_older_version(path: Path) -> None:
    """Manifests had no checksum, and said nothing of validations."""
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    del manifest[SEAL]
    manifest["facts"].pop(VALIDATION, None)
    (path / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_a_save_that_nothing_follows_is_still_the_best(tmp_path: Path) -> None:
    """The disk was full before best.json was written, and rotation used to take the better checkpoint away for good."""
    save(tmp_path, 1, 2.0)
    point_to_best(tmp_path)
    save(tmp_path, 2, 1.0)  # and no pointer to it
    for step in (3, 4, 5):
        save(tmp_path, step, 1.5)
        rotate(tmp_path, keep_last=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == [checkpoint_name(step) for step in (2, 4, 5)]
    assert read_best(tmp_path) == {"checkpoint": checkpoint_name(2), "metric": "val/loss", "value": 1.0}
    point_to_best(tmp_path)
    assert json.loads((tmp_path / BEST_FILE).read_text())["checkpoint"] == checkpoint_name(2)


def test_the_first_of_equals_and_nothing_that_is_not_finite(tmp_path: Path) -> None:
    for step, value in ((1, math.nan), (2, 1.0), (3, 1.0), (4, -math.inf), (5, None)):
        save(tmp_path, step, value)
    best = read_best(tmp_path)
    assert best is not None
    assert best["checkpoint"] == checkpoint_name(2)


def test_losses_on_different_parts_are_not_compared(tmp_path: Path) -> None:
    save(tmp_path, 1, 0.5, part="a few windows")
    save(tmp_path, 2, 2.0)
    save(tmp_path, 3, 3.0)
    best = read_best(tmp_path)
    assert best is not None
    assert best["checkpoint"] == checkpoint_name(2), "the newest validation says which part counts"


def test_checkpoints_of_older_versions_keep_their_pointer(tmp_path: Path) -> None:
    for step in (1, 2):
        as_older_version(save(tmp_path, step))
    (tmp_path / BEST_FILE).write_text('{"checkpoint": "step-000000001", "metric": "val/loss", "value": 1.5}\n')
    save(tmp_path, 3, 2.0)
    assert read_best(tmp_path) == {"checkpoint": checkpoint_name(1), "metric": "val/loss", "value": 1.5}
    save(tmp_path, 4, 1.0)
    best = read_best(tmp_path)
    assert best is not None
    assert best["checkpoint"] == checkpoint_name(4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"checkpoint": "../other/step-000000001", "metric": "val/loss", "value": 1.0}',
        '{"checkpoint": "/tmp/step-000000001", "metric": "val/loss", "value": 1.0}',
        '{"checkpoint": "notes", "metric": "val/loss", "value": 1.0}',
        '{"checkpoint": "step-000000001", "metric": "val/loss"}',
        '{"checkpoint": "step-000000001", "metric": "val/loss", "value": 1.0, "sha256": "00"}',
    ],
)
def test_a_damaged_pointer_is_not_the_newest(tmp_path: Path, text: str) -> None:
    shelf = tmp_path / "checkpoints"
    for step in (1, 2):
        as_older_version(save(shelf, step))
    (shelf / BEST_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=r"best\.json is damaged .* delete the file"):
        locate(tmp_path)
    assert locate(tmp_path, prefer="last").name == checkpoint_name(2)
    with pytest.raises(CheckpointError, match="is damaged"):
        rotate(shelf, keep_last=1)
    assert len(list_checkpoints(shelf)) == 2, "nobody knows which one to keep"


def test_a_damaged_pointer_beside_checkpoints_that_tell_is_written_anew(tmp_path: Path) -> None:
    save(tmp_path, 1, 1.0)
    save(tmp_path, 2, 2.0)
    (tmp_path / BEST_FILE).write_text('{"checkpoint": "step-0000')
    point_to_best(tmp_path)
    assert json.loads((tmp_path / BEST_FILE).read_text())["checkpoint"] == checkpoint_name(1)


def test_a_flipped_digit_of_the_pointer_shows(tmp_path: Path) -> None:
    for step in (1, 2):
        as_older_version(save(tmp_path, step))
    write_best(tmp_path, step=1, metric="val/loss", value=1.5)
    text = (tmp_path / BEST_FILE).read_text()
    (tmp_path / BEST_FILE).write_text(text.replace("step-000000001", "step-000000002"))
    with pytest.raises(CheckpointError, match="has SHA-256"):
        read_best(tmp_path)


def _change(path: Path, change: Any) -> None:
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    change(manifest)
    (path / MANIFEST_FILE).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda manifest: manifest.update(step=7), "has SHA-256"),
        (lambda manifest: manifest["facts"]["validation"].update(value=0.1), "has SHA-256"),
        (lambda manifest: manifest["facts"].update(global_batch_size=9), "has SHA-256"),
        (lambda manifest: manifest.update(sha257=manifest.pop(SEAL)), "entry 'sha257'"),
        (lambda manifest: (manifest.pop(SEAL), manifest.update(step=7)), "of step 7, and the folder of step 3"),
        (
            lambda manifest: (manifest.pop(SEAL), manifest["files"].update({"../x": {"bytes": 1, "sha256": ""}})),
            "not in the folder",
        ),
    ],
)
def test_a_manifest_that_is_not_what_was_written_is_passed_over(tmp_path: Path, change: Any, told: str) -> None:
    save(tmp_path, 2, 2.0)
    path = save(tmp_path, 3, 1.0)
    _change(path, change)
    with pytest.raises(CheckpointError, match=told):
        read_manifest(path)
    assert find_newest_valid(tmp_path).path == tmp_path / checkpoint_name(2)
    best = read_best(tmp_path)
    assert best is not None
    assert best["checkpoint"] == checkpoint_name(2)


def test_a_checkpoint_under_the_name_of_another_step_is_none(tmp_path: Path) -> None:
    shutil.copytree(save(tmp_path, 3), tmp_path / checkpoint_name(9))
    assert find_newest_valid(tmp_path).path == tmp_path / checkpoint_name(3)

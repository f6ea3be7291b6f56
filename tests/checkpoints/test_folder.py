"""A checkpoint is complete and checksummed, or it is invisible; and it never runs code."""

from __future__ import annotations

import errno
import os
import pickle
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.checkpoints.checkpoint_dir import find_newest_valid, sweep
from gpt_lightning.checkpoints.durable import STATE_FILE, discard, list_checkpoints, read_manifest, verify_checkpoint
from gpt_lightning.checkpoints.folder import load_plain, read_checkpoint, write_checkpoint
from gpt_lightning.errors import CheckpointError, TrainingError

STATE = {"weights": torch.arange(4000.0), "nested": {"list": [1, 2.5, None, True], "bytes": b"\x00\xff"}, "step": 7}


def test_round_trip_keeps_values_and_facts(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, step=7, state=STATE, facts={"config": {"lr": 0.1}})
    state = read_checkpoint(path)
    assert torch.equal(state["weights"], STATE["weights"])  # type: ignore[arg-type]
    assert state["nested"] == STATE["nested"]
    assert read_manifest(path)["facts"] == {"config": {"lr": 0.1}}
    assert path.name == "step-000000007"


def test_every_flipped_bit_is_noticed_before_loading(tmp_path: Path) -> None:
    """torch.load alone noticed 0 of 300 flipped bits."""
    path = write_checkpoint(tmp_path, step=1, state=STATE)
    file = path / STATE_FILE
    clean = file.read_bytes()
    draw = random.Random(0)
    for _ in range(300):
        damaged = bytearray(clean)
        damaged[draw.randrange(len(clean))] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="SHA-256"):
            read_checkpoint(path)
    file.write_bytes(clean)
    read_checkpoint(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / STATE_FILE).write_bytes((path / STATE_FILE).read_bytes()[:-1]), "bytes instead of"),
        (lambda path: (path / STATE_FILE).unlink(), "is missing"),
        (lambda path: (path / "manifest.json").unlink(), "is not a checkpoint"),
        (lambda path: (path / "manifest.json").write_text("{"), "is damaged"),
        (lambda path: (path / "manifest.json").write_text("[]"), "is damaged"),
        (lambda path: (path / "manifest.json").write_text('{"format": 99, "files": {}}'), "format"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    path = write_checkpoint(tmp_path, step=1, state=STATE)
    damage(path)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


class _RunsCode:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def test_pickle_that_wants_to_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # must not switch the protection off
    witness = tmp_path / "executed"
    file = tmp_path / "evil.pt"
    torch.save({"state_dict": _RunsCode(witness)}, file)
    with pytest.raises(CheckpointError, match="run code"):
        load_plain(file)
    assert not witness.exists()
    path = write_checkpoint(tmp_path, step=1, state={"x": _RunsCode(witness)})  # checksums of evil are valid, too
    with pytest.raises(CheckpointError, match="run code"):
        read_checkpoint(path)
    assert not witness.exists()
    legacy = tmp_path / "legacy.pt"
    legacy.write_bytes(pickle.dumps(_RunsCode(witness)))
    with pytest.raises(CheckpointError, match="not a torch checkpoint"):
        load_plain(legacy)
    assert not witness.exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "https://host/step-000000001", "s3://bucket/x"])
def test_addresses_are_refused(address: str) -> None:
    with pytest.raises(CheckpointError, match="local disks"):
        read_checkpoint(address)


@pytest.mark.parametrize("call", ["os.fsync", "os.rename"])
def test_full_disk_names_the_problem_and_keeps_the_previous(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    first = write_checkpoint(tmp_path, step=1, state=STATE)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(call, full)
    with pytest.raises(TrainingError, match="the disk is full"):
        write_checkpoint(tmp_path, step=2, state=STATE)
    monkeypatch.undo()
    assert find_newest_valid(tmp_path).path == first
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_full_disk_inside_torch_save(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the write itself fail, as a real full disk does."""
    pid = os.fork()
    if pid == 0:  # a child, since the limit cannot be lifted again
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_checkpoint(tmp_path, step=1, state=STATE)
        except TrainingError as error:
            os._exit(0 if "Could not save" in str(error) and not list_checkpoints(tmp_path) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("point", ["save", "fsync1", "fsync2", "fsync3", "rename", "discard"])
def test_kill_during_a_save_leaves_the_previous_checkpoint(tmp_path: Path, point: str) -> None:
    """Killed by SIGKILL at each point of a save; the newest checkpoint that is visible is always whole."""
    write_checkpoint(tmp_path, step=1, state=STATE)
    pid = os.fork()
    if pid == 0:
        _die_at(point)
        write_checkpoint(tmp_path, step=2, state=STATE)
        discard(tmp_path / "step-000000001")
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    for path in list_checkpoints(tmp_path):
        verify_checkpoint(path)
    assert find_newest_valid(tmp_path).path is not None
    sweep(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def _die_at(point: str) -> None:
    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    real_fsync, count = os.fsync, [0]

    def fsync(descriptor: Any) -> None:
        count[0] += 1
        if f"fsync{count[0]}" == point:
            die()
        real_fsync(descriptor)

    vars(os)["fsync"] = fsync
    if point == "save":
        torch.save = die
    if point == "rename":
        os.rename = die
    if point == "discard":
        import shutil

        shutil.rmtree = lambda path, **_: die() if ".trash" in str(path) and Path(path).exists() else None  # type: ignore[assignment]

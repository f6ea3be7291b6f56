from __future__ import annotations

import errno
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.folders import (
    STORE_MARKER,
    build_folder,
    check_place,
    count_finished,
    hold_lock,
    remove_leftovers,
    work_folder,
    work_path,
)
from gpt_lightning.errors import DataError
from gpt_lightning.files.locks import read_holder

HOLD = """
import sys
from pathlib import Path
from gpt_lightning.data.folders import hold_lock
with hold_lock(Path(sys.argv[1])):
    sys.stdout.write("held\\n"); sys.stdout.flush()
    sys.stdin.readline()
"""


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    store = tmp_path / "s"

    def fail() -> None:
        with build_folder(store) as folder:
            (folder / "x").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with build_folder(store) as folder:
        (folder / "x").touch()
        assert not store.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert (store / "x").exists()
    with build_folder(store) as folder:
        (folder / "y").touch()
    assert sorted(path.name for path in store.iterdir()) == [".gpt-lightning-store", "y"]


def test_what_we_did_not_write_is_never_replaced(tmp_path: Path) -> None:
    store = tmp_path / "s"
    store.mkdir()
    check_place(store)  # an empty folder may go
    assert not store.exists()
    store.mkdir()
    (store / "thesis.tex").touch()
    with pytest.raises(DataError, match="is not a store of gpt-lightning"), build_folder(store):
        pass
    assert (store / "thesis.tex").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_only_our_marked_leftovers_of_this_store_are_swept(tmp_path: Path) -> None:
    mark = f"{socket.gethostname()}-00000000-999999-1"
    names = {
        "ours": f".preparing-s@{mark}",
        "trash": f".trash-s@{mark}",
        "other host": ".preparing-s@elsewhere-00000000-1-1",  # under the lock: whoever wrote it is dead
        "unmarked": f".preparing-s@x{mark}",
        "other store": f".preparing-t@{mark}",
        "other store with the sign": f".preparing-s@t@{mark}",
    }
    for kind, name in names.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokens").touch()
        if kind != "unmarked":
            (tmp_path / name / ".gpt-lightning-store").touch()
    with build_folder(tmp_path / "s"):
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"s", names["unmarked"], names["other store"], names["other store with the sign"]}


@pytest.mark.parametrize("name", [".units-s", ".units-s-gpu-vm"])
def test_finished_units_are_taken_over_whatever_machine_made_them(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    for file in (".gpt-lightning-store", "part-0"):
        (tmp_path / name / file).touch()
    (tmp_path / name / "journal.jsonl").write_text('{"units": 3}\n{}\n')
    with work_folder(tmp_path / "s") as folder:
        assert sorted(path.name for path in folder.iterdir()) == [".gpt-lightning-store", "journal.jsonl", "part-0"]
        assert count_finished(tmp_path / "s") == (1, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    message = r"Could not write the store .*No space left.*MB are free"
    with pytest.raises(DataError, match=message), build_folder(tmp_path / "s"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_the_second_writer_waits_and_names_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = tmp_path / "s"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        class Release(logging.Handler):
            """Lets the holder go as soon as the waiting is announced."""

            def emit(self, record: logging.LogRecord) -> None:
                holder.stdin.write("\n")  # type: ignore[union-attr]
                holder.stdin.flush()  # type: ignore[union-attr]

        log = logging.getLogger("gpt_lightning.data.folders")
        handler = Release()
        log.addHandler(handler)
        try:
            with hold_lock(store):
                written = read_holder(store.with_name("s.lock"))
        finally:
            log.removeHandler(handler)
        assert holder.wait(30) == 0
    assert f"Waiting for host {socket.gethostname()}, process {holder.pid}, since 20" in caplog.text
    assert written is not None
    assert written.process.pid == os.getpid()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"Cannot write in .*file"), hold_lock(tmp_path / "file" / "s"):
        pass


@pytest.mark.parametrize("make", [build_folder, work_folder])
def test_a_failed_removal_does_not_hide_why_a_store_failed(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may refuse to delete too (a copy-on-write file system does)."""

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "refused")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(DataError, match="disk is full"), make(tmp_path / "s"):
        raise OSError(errno.ENOSPC, "disk is full")
    monkeypatch.undo()
    with make(tmp_path / "s"):
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {"s"}


def test_what_a_kill_behind_the_rename_left_goes_when_nobody_works(tmp_path: Path) -> None:
    store = tmp_path / "s"
    ours = [work_path(store), tmp_path / ".trash-s@host.1", tmp_path / ".preparing-s@host.1"]
    for folder in (*ours, tmp_path / ".trash-other@host.1"):
        folder.mkdir()
        (folder / STORE_MARKER).touch()
        (folder / "part").touch()
    with hold_lock(store):
        remove_leftovers(store)
        assert all(folder.exists() for folder in ours)
    remove_leftovers(store)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".trash-other@host.1", "s.lock"]
    remove_leftovers(tmp_path / "missing" / "s")

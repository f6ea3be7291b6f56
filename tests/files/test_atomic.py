from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from gpt_lightning.files.atomic import (
    fsync_folder,
    replacing,
    write_json_durably,
    write_text_atomically,
    write_text_durably,
)


@pytest.mark.parametrize("write", [write_text_durably, write_text_atomically])
def test_a_file_is_replaced_as_typed(write: object, tmp_path: Path) -> None:
    assert callable(write)
    for text in ("first", "second, ünïcode\nwith\r\nlines\n", ""):
        write(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_bytes() == text.encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_reader_sees_the_old_file_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"half")
        file.flush()
        assert path.read_text() == "old"
        assert all(name == "a" or name.startswith(".a@") for name in os.listdir(tmp_path))
    assert path.read_text() == "half"


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a"])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        write_text_durably(path, "new")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a"])


def test_durable_means_file_then_rename_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        done.append("folder" if os.path.isdir(f"/dev/fd/{descriptor}") else "file")
        fsync(descriptor)

    def note_replace(old: Path, new: Path) -> None:
        done.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_text_durably(tmp_path / "a", "x")
    write_text_atomically(tmp_path / "a", "y")
    assert done == ["file", "rename", "folder", "rename"]


def test_json_ends_with_a_line(tmp_path: Path) -> None:
    write_json_durably(tmp_path / "a.json", {"a": [1, None]})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {"a": [1, None]}


def test_folders_are_not_opened_where_that_is_impossible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "open", None)
    fsync_folder(tmp_path)

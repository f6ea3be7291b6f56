"""Small files that are complete or not there: written beside their place, then renamed.

A reader sees the old content or the new one, whatever is killed meanwhile. *Durable* means after a power cut too: the
file is flushed to the disk before the rename and the folder after it, which takes some milliseconds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gpt_lightning.files.processes import own_mark


def fsync_file(file: IO[Any]) -> None:
    """Make what was written to an open file durable."""
    file.flush()
    os.fsync(file.fileno())


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable; nothing on systems that open no folders (Windows)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Another name for a file that nobody changes; a durable copy on another disk, or where there are no links."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of ``path`` when the block ends well and vanishes when it does not.

    Args:
        path: The file; its folder exists.
        durable: Whether it must survive a power cut.

    Raises:
        OSError: The disk refuses; ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}@{own_mark()}.{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            yield file
            if durable:
                fsync_file(file)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def write_text_durably(path: Path, text: str) -> None:
    """Replace a small file (UTF-8) atomically and durably."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def write_text_atomically(path: Path, text: str) -> None:
    """Replace a small file (UTF-8) atomically; after a power cut it may hold anything."""
    with replacing(path, durable=False) as file:
        file.write(text.encode("utf-8"))


def write_json_durably(path: Path, value: object) -> None:
    """Replace a small file by one that holds ``value`` as JSON, atomically and durably."""
    write_text_durably(path, json.dumps(value, indent=1) + "\n")

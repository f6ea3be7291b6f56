"""Text behind URLs, with the file systems of fsspec that need no network."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.prepare.prepare import PrepareSettings, default_folder, find_or_prepare
from gpt_lightning.data.readers.remote_files import RemoteFile
from gpt_lightning.errors import DataError
from tests.data.inputs import open_all

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe("/corpus/a.jsonl.gz", gzip.compress(b'{"text": "one"}\n{"text": "two"}\n'))
    system.pipe("/corpus/sub/b.txt", "drei 中文".encode())
    system.pipe("/corpus/.hidden/c.txt", b"no")
    yield system
    system.store.clear()


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("memory://corpus", ["one", "two", "drei 中文"]),
        ("memory://corpus/a.jsonl.gz", ["one", "two"]),
        ("memory://corpus/sub/*.txt", ["drei 中文"]),
    ],
)
def test_urls_mean_files_folders_and_globs(source: str, texts: list[str]) -> None:
    readers = open_all([source, source])
    assert [document.text for reader in readers for document in reader.iterate_documents()] == texts


def test_a_store_of_far_text_is_found_again_until_the_text_changes(memory: Any) -> None:
    settings = PrepareSettings("memory://corpus", "bytes", val_fraction=0.0)
    assert default_folder(settings).name.startswith("corpus-bytes-")
    first = find_or_prepare(settings)
    assert find_or_prepare(settings).path.stat().st_ino == first.path.stat().st_ino
    memory.pipe("/corpus/sub/b.txt", "vier 中文".encode())
    assert find_or_prepare(settings).fingerprint != first.fingerprint


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://nothing", r"No file is behind the URL: got 'memory://nothing'"),
        ("memory://corpus/*.csv", r"No file is behind the URL"),
        ("klingon://x", r"No such kind of URL .*klingon"),
    ],
)
def test_urls_that_mean_nothing(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_all([source])


def test_a_file_that_vanished(memory: Any) -> None:
    (reader,) = open_all(["memory://corpus/sub/b.txt"])
    memory.rm("/corpus/sub/b.txt")
    for use in (reader.measure, reader.checksum, lambda: list(reader.iterate_documents())):
        with pytest.raises(DataError, match=r"Cannot read memory:///?corpus/sub/b.txt \(FileNotFoundError"):
            use()


def test_without_the_package_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in [name for name in sys.modules if name.partition(".")[0] == "fsspec"]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(DataError, match=r"pip install 'gpt-lightning\[remote\]'"):
        open_all(["s3://bucket/x"])


def test_spans_of_a_far_file_are_read_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f'{{"text": "{number}"}}\n' for number in range(50)))
    (reader,) = open_all([f"file://{path}"])
    assert isinstance(getattr(reader, "file", None), RemoteFile)
    spans = reader.list_spans(100)
    assert len(spans) > 5
    texts = [document.text for span in spans for document in reader.iterate_documents(span)]
    assert texts == [str(number) for number in range(50)]


def test_a_query_is_no_part_of_the_suffix() -> None:
    from gpt_lightning.data.readers.files import logical_suffix

    assert logical_suffix("https://host/x.jsonl.gz?download=true") == ".jsonl"
    assert logical_suffix("what?.txt") == ".txt"

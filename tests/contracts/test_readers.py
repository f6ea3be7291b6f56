"""What every reader of files must do. A new format is one ``Case``: how to write documents, and what to break."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpt_lightning.data.readers import FILE_READERS, FileReader, JsonLinesReader, TextReader, open_sources
from gpt_lightning.errors import DataError


def write_text(path: Path, texts: list[str]) -> None:
    (text,) = texts
    path.write_bytes(text.encode())


def write_json_lines(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


@dataclass(frozen=True)
class Case:
    reader: type[FileReader]
    suffix: str
    write: Callable[[Path, list[str]], None]
    many: bool


CASES = [
    Case(TextReader, ".txt", write_text, many=False),
    Case(TextReader, ".unknown", write_text, many=False),
    Case(JsonLinesReader, ".jsonl", write_json_lines, many=True),
]
TEXTS = ["plain", "Grüße 中文 😀\r\nsecond line\n", "", "a" * 100_000, "<|endoftext|>\x00\u2028"]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.suffix)


def open_one(path: Path) -> FileReader:
    (reader,) = open_sources([str(path)])
    assert isinstance(reader, FileReader)
    return reader


def test_every_reader_is_under_contract() -> None:
    assert {case.reader for case in CASES} == set(FILE_READERS)


@each_case
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_text_comes_back(case: Case, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, [text])
    reader = open_one(path)
    assert type(reader) is case.reader
    for _ in range(2):  # readable again
        (document,) = reader.iterate_documents()
        assert document.text == text
        assert document.name.startswith(str(path))


@each_case
def test_many_documents_keep_their_order_and_account_for_every_byte(case: Case, tmp_path: Path) -> None:
    texts = TEXTS if case.many else TEXTS[1:2]
    path = tmp_path / f"x{case.suffix}"
    case.write(path, texts)
    reader = open_one(path)
    documents = list(reader.iterate_documents())
    assert [document.text for document in documents] == texts
    assert sum(document.num_bytes for document in documents) == path.stat().st_size == reader.measure()[0]


@each_case
def test_a_byte_order_mark_is_dropped(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["text"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [document.text for document in open_one(path).iterate_documents()] == ["text"]


@each_case
def test_bytes_that_are_not_utf8_are_named(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["good text"])
    offset = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\xff\xfe")
    with pytest.raises(DataError, match=rf"x{case.suffix} is not UTF-8 at byte {offset} .*got b'\\xff\\xfe'"):
        list(open_one(path).iterate_documents())


@each_case
def test_checksum_follows_content_and_measure_follows_the_file(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["one"])
    reader = open_one(path)
    checksum, measure = reader.checksum(), reader.measure()
    os.utime(path, ns=(1, 1))
    assert reader.measure() != measure
    assert reader.checksum() == checksum
    case.write(path, ["two"])
    assert reader.checksum() != checksum


@each_case
def test_a_file_that_vanished_is_named(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["one"])
    reader = open_one(path)
    path.unlink()
    for use in (reader.measure, reader.checksum, lambda: list(reader.iterate_documents())):
        with pytest.raises(DataError, match=rf"Cannot read .*x{case.suffix} \(No such file"):
            use()

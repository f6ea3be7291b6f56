"""What every reader of files must do. A new format is one ``Case``: how to write documents, and what to break."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.readers.formats.columns import ArrowReader, ParquetReader
from gpt_lightning.data.readers.formats.records import JsonLinesReader, JsonReader
from gpt_lightning.data.readers.formats.tables import CsvReader, TsvReader
from gpt_lightning.data.readers.formats.text import TEXT_READERS, LineReader, ParagraphReader, TextReader
from gpt_lightning.data.readers.readers import FileReader
from gpt_lightning.data.readers.sources import RECORD_READERS
from gpt_lightning.errors import DataError
from tests.data.inputs import open_all


def write_text(path: Path, texts: list[str]) -> None:
    (text,) = texts
    path.write_bytes(text.encode())


def write_lines(path: Path, texts: list[str]) -> None:
    path.write_bytes("".join(f"{text}\n" for text in texts).encode())


def write_paragraphs(path: Path, texts: list[str]) -> None:
    path.write_bytes("\n\n".join(texts).encode())


def write_json_lines(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def write_json(path: Path, texts: list[str]) -> None:
    path.write_text(json.dumps([{"id": 1, "text": text} for text in texts], indent=1), encoding="utf-8")


def write_csv(path: Path, texts: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL)
        rows.writerows([["id", "text"], *([str(n), text] for n, text in enumerate(texts))])


def write_tsv(path: Path, texts: list[str]) -> None:
    path.write_bytes("".join(["id\ttext\n", *(f"{n}\t{text}\n" for n, text in enumerate(texts))]).encode())


def write_parquet(path: Path, texts: list[str]) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": range(len(texts)), "text": texts}), path, row_group_size=2)


def write_arrow(path: Path, texts: list[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"id": range(len(texts)), "text": texts})
    # As the library datasets saves: a stream without the magic of a file.
    with path.open("wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def write_arrow_file(path: Path, texts: list[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"text": texts})
    with path.open("wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


TEXTS = ["plain", "Grüße 中文 😀\r\nsecond line\n", "", "a" * 200_000, '<|endoftext|>\x00\u2028"quoted", {x}']
LINES = ["plain", "Grüße 中文 😀", "a" * 200_000, '<|endoftext|>\x00\u2028"quoted", {x}', "  indented"]
PARAGRAPHS = ["plain", "Grüße 中文\r\nsecond line", "a" * 200_000, "b\n c\n\td"]


@dataclass(frozen=True)
class Case:
    reader: type[FileReader]
    suffix: str
    write: Callable[[Path, list[str]], None]
    texts: list[str] = field(default_factory=lambda: TEXTS)
    options: dict[str, Any] = field(default_factory=dict)
    is_text: bool = True

    @property
    def many(self) -> bool:
        return self.write is not write_text


CASES = [
    Case(TextReader, ".txt", write_text),
    Case(TextReader, ".unknown", write_text),
    Case(LineReader, ".lines.txt", write_lines, LINES, {"document_per": "line"}),
    Case(ParagraphReader, ".paragraphs.txt", write_paragraphs, PARAGRAPHS, {"document_per": "paragraph"}),
    Case(JsonLinesReader, ".jsonl", write_json_lines),
    Case(JsonReader, ".json", write_json),
    Case(CsvReader, ".csv", write_csv, [text.replace("\x00", "") for text in TEXTS]),
    Case(TsvReader, ".tsv", write_tsv, [*LINES, "", '"', '"one', 'two"']),
    Case(ParquetReader, ".parquet", write_parquet, is_text=False),
    Case(ArrowReader, ".arrow", write_arrow, is_text=False),
    Case(ArrowReader, ".file.arrow", write_arrow_file, is_text=False),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.suffix)
each_text_case = pytest.mark.parametrize("case", [case for case in CASES if case.is_text], ids=lambda case: case.suffix)


def open_one(path: Path, case: Case) -> FileReader:
    (reader,) = open_all([str(path)], **case.options)
    assert isinstance(reader, FileReader)
    return reader


def test_every_reader_is_under_contract() -> None:
    assert {case.reader for case in CASES} == {*RECORD_READERS, *TEXT_READERS.values()}


@each_case
def test_text_comes_back(case: Case, tmp_path: Path) -> None:
    for number, text in enumerate(case.texts):
        path = tmp_path / f"{number}{case.suffix}"
        case.write(path, [text])
        reader = open_one(path, case)
        assert type(reader) is case.reader
        for _ in range(2):  # readable again
            (document,) = reader.iterate_documents()
            assert document.text == text
            assert document.name.startswith(str(path))


@each_case
def test_many_documents_keep_their_order_and_account_for_every_byte(case: Case, tmp_path: Path) -> None:
    texts = case.texts if case.many else case.texts[1:2]
    path = tmp_path / f"x{case.suffix}"
    case.write(path, texts)
    reader = open_one(path, case)
    documents = list(reader.iterate_documents())
    assert [document.text for document in documents] == texts
    used = sum(document.num_bytes for document in documents)
    assert path.stat().st_size - 2 * len(texts) <= used <= path.stat().st_size == reader.measure()[0]


@each_case
@pytest.mark.parametrize("target_bytes", [1, 7, 64, 1000, 10**9])
def test_spans_give_every_document_once_and_in_order(case: Case, target_bytes: int, tmp_path: Path) -> None:
    texts = [f"{'x' * (n % 11)} document {n}" for n in range(30)] if case.many else ["one\n\ndocument"]
    path = tmp_path / f"x{case.suffix}"
    case.write(path, texts)
    reader = open_one(path, case)
    spans = reader.list_spans(target_bytes)
    assert [document.text for span in spans for document in reader.iterate_documents(span)] == texts
    assert sum(span.num_bytes for span in spans) == path.stat().st_size


@each_case
@pytest.mark.parametrize("kind", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_files_hold_the_same_documents(case: Case, kind: str, tmp_path: Path) -> None:
    texts = case.texts if case.many else case.texts[1:2]
    plain, packed = tmp_path / f"x{case.suffix}", tmp_path / f"y{case.suffix}{kind}"
    case.write(plain, texts)
    module = pytest.importorskip({".gz": "gzip", ".bz2": "bz2", ".xz": "lzma", ".zst": "zstandard"}[kind])
    compress = module.compress if kind != ".zst" else module.ZstdCompressor().compress
    half = plain.stat().st_size // 2
    data = plain.read_bytes()
    packed.write_bytes(compress(data[:half]) + compress(data[half:]))  # several members are one file
    reader = open_one(packed, case)
    assert type(reader) is case.reader
    documents = list(reader.iterate_documents(reader.list_spans(10)[0]))
    assert [document.text for document in documents] == texts
    assert sum(document.num_bytes for document in documents) <= packed.stat().st_size


@each_text_case
def test_a_byte_order_mark_is_dropped(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["text"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [document.text for document in open_one(path, case).iterate_documents()] == ["text"]


@each_text_case
def test_bytes_that_are_not_utf8_are_named(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["good text"])
    offset = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\xff\xfe")
    with pytest.raises(DataError, match=rf"x{case.suffix} is not UTF-8 at byte {offset} .*got b'\\xff\\xfe'.*encoding"):
        list(open_one(path, case).iterate_documents())


@each_text_case
@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le", "utf-8-sig", "big5"])
def test_other_encodings(case: Case, encoding: str, tmp_path: Path) -> None:
    texts = ["中文文本 Ċ"[: 4 if encoding == "big5" else None], "第二個"] if case.many else ["中文\n第二"]
    utf8, other = tmp_path / f"x{case.suffix}", tmp_path / f"y{case.suffix}"
    case.write(utf8, texts)
    other.write_bytes(utf8.read_bytes().decode().encode(encoding))
    encoded = Case(case.reader, case.suffix, case.write, options={**case.options, "encoding": encoding})
    reader = open_one(other, encoded)
    for target in (3, 10**6):
        spans = reader.list_spans(target)
        assert [document.text for span in spans for document in reader.iterate_documents(span)] == texts


@each_case
def test_checksum_follows_content_and_measure_follows_the_file(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["one"])
    reader = open_one(path, case)
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
    reader = open_one(path, case)
    path.unlink()
    for use in (reader.measure, reader.checksum, lambda: list(reader.iterate_documents())):
        with pytest.raises(DataError, match=rf"Cannot read .*x{case.suffix} \(No such file"):
            use()


@each_case
@pytest.mark.parametrize("damage", ["cut short", "garbage"])
def test_damaged_gzip_files_are_named(case: Case, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["some text"])
    packed = gzip.compress(path.read_bytes())
    path = path.with_name(f"{path.name}.gz")
    path.write_bytes(packed[:-10] if damage == "cut short" else b"no gzip at all")
    with pytest.raises(DataError, match=rf"x{case.suffix}.gz is damaged or not .gz"):
        list(open_one(path, case).iterate_documents())

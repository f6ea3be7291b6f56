"""``data.bad_records``: one bad record among good ones, in every format; and texts with unusual ends of lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning import cli
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.errors import ConfigError, DataError
from tests.data.inputs import open_all


def read(path: Path, **options: Any) -> list[Document]:
    return [document for reader in open_all([str(path)], **options) for document in reader.iterate_documents()]


def write_parquet(path: Path, values: list[bytes | None]) -> None:
    """A column that claims to be text, whatever its bytes are."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pyarrow.array(values, pyarrow.binary()).view(pyarrow.string())
    table = pyarrow.table({"id": range(len(values)), "text": column})
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=2)
        return
    with path.open("wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


COLUMNS: list[bytes | None] = [b"one", b"tw\xff", b"three", None, b"four"]
BAD: dict[str, tuple[str, Any, dict[str, Any], list[str]]] = {
    "json lines": ("x.jsonl", b'{"text": "one"}\n{"text": \n{"text": "three"}\n', {}, [":2 is not JSON"]),
    "null": ("x.jsonl", b'{"text": "one"}\n{"text": null}\n{"text": "three"}\n', {}, [":2 has no text in the field"]),
    "bytes": ("x.jsonl", b'{"text": "one"}\n{"text": "\xff"}\n{"text": "three"}\n', {}, [" is not UTF-8 at byte 26"]),
    "json": ("x.json", b'[{"text": "one"}, 5, {"text": "three"}]', {}, [", record 2 has no text in the field"]),
    "lines": ("x.txt", b"one\n\xff\nthree\n", {"document_per": "line"}, [" is not UTF-8 at byte 4"]),
    "paragraphs": ("x.txt", b"one\n\na\n\xff\n\nthree", {"document_per": "paragraph"}, [" is not UTF-8 at byte 7"]),
    "cells": ("x.csv", b"id,text\n1,one\n2,a,b\n3,three\n", {}, [":3 has 3 cells under a header of 2"]),
    "quotes": ("x.csv", b'text\none\n"a"b\nthree\n', {}, [":3 is not a table"]),
    "csv bytes": ("x.csv", b"id,text\n1,one\n2,\xff\n3,three\n", {}, [" is not UTF-8"]),
    "tsv": ("x.tsv", b"id\ttext\n1\tone\n2\ta\tb\n3\tthree\n", {}, [":3 has 3 cells under a header of 2"]),
    "parquet": ("x.parquet", COLUMNS, {}, [", row 2 is not UTF-8 at byte 2", ", row 4 has no text in the field"]),
    "arrow": ("x.arrow", COLUMNS, {}, [", row 2 is not UTF-8 at byte 2", ", row 4 has no text in the field"]),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_record_is_refused_or_left_out_counted_and_named(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, options, problems = BAD[kind]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_parquet(path, content)
    with pytest.raises(DataError) as caught:
        read(path, **options)
    assert f"{path}{problems[0]}" in str(caught.value)
    assert "data.bad_records skip" in str(caught.value)
    assert "\n" not in str(caught.value)
    documents = read(path, bad_records="skip", **options)
    assert [each.text for each in documents if not each.problem][:2] == ["one", "three"]
    found = [each.problem for each in documents if each.problem]
    assert len(found) == len(problems)
    settings = PrepareSettings(str(path), "bytes", val_fraction=0.0, bad_records="skip", **options)
    store = prepare(settings, store=tmp_path / "s", workers=1)
    assert store.manifest.skipped["bad records"] == len(problems)
    assert store.split("train").num_documents == len(documents) - len(problems)
    assert cli.main(["data", "info", str(store.path)]) == 0
    told = capsys.readouterr().out
    assert f"skipped     {len(problems)} bad records" in told
    for problem in problems:
        assert f"bad record  {path}" in told
        assert problem in told


def test_what_is_wrong_with_a_whole_file_is_never_left_out(tmp_path: Path) -> None:
    for name, content in (
        ("x.csv", b'text\none\n"two\nthree\n'),
        ("x.json", b'[{"text"'),
        ("x.gz", b"\x1f\x8b\x08 no"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            read(tmp_path / name, bad_records="skip")
        assert "bad_records" not in str(caught.value)


def test_a_corpus_of_bad_records_only_is_empty(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"body": "a"}\n' * 30)
    with pytest.raises(DataError, match=r"corpus is empty.*documents skipped: 30 bad records"):
        prepare(PrepareSettings(str(tmp_path / "x.jsonl"), "bytes", bad_records="skip"))
    with pytest.raises(ConfigError, match=r"data\.bad_records: got 'ignore' \(allowed: refuse, skip\)"):
        PrepareSettings(bad_records="ignore")


def test_bad_records_are_the_same_for_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"text": str(n)}) if n % 7 else "{" for n in range(300)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    settings = PrepareSettings(str(tmp_path / "x.jsonl"), "bytes", bad_records="skip")
    whole = prepare(settings, store=tmp_path / "a", workers=1).manifest
    monkeypatch.setattr("gpt_lightning.data.prepare.chunks.UNIT_BYTES", 500)
    parts = prepare(settings, store=tmp_path / "b", workers=1).manifest
    assert whole.skipped == parts.skipped == {"bad records": 43}
    assert len(whole.bad_records) == len(parts.bad_records) == 20
    assert whole.fingerprint == parts.fingerprint


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow"])
def test_fields_inside_fields(suffix: str, tmp_path: Path) -> None:
    records = [
        {"meta": {"text": "one", "deep": {"n": 1}}, "id": 1},
        {"meta": {"text": "two", "deep": {"n": 2}}, "id": 2},
    ]
    path = tmp_path / f"x{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    elif suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = pyarrow.Table.from_pylist(records)
        if suffix == ".parquet":
            parquet.write_table(table, path)
        else:
            with path.open("wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
    assert [each.text for each in read(path, text_field="meta.text")] == ["one", "two"]
    spec = "{id}: {meta.text} {meta.deep.n}"
    assert [each.text for each in read(path, text_field=spec)] == ["1: one 1", "2: two 2"]
    with pytest.raises(DataError, match=r"no text in the field 'meta\.body'"):
        read(path, text_field="meta.body")
    with pytest.raises(DataError, match=r"no text in the field 'other\.text': got 'fields meta, id'"):
        read(path, text_field="other.text")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_two_columns_of_one_name(suffix: str, tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table([["a"], ["b"], ["c"]], names=["text", "text", "body"])
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        with path.open("wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(DataError, match=r"x\.\w+ has several columns of the same name: got 'text'"):
        read(path)
    assert [each.text for each in read(path, text_field="body")] == ["c"]


def test_a_mark_between_files_that_were_put_one_behind_the_other(tmp_path: Path) -> None:
    bom = "\ufeff"
    (tmp_path / "x.jsonl").write_text(f'{bom}{{"text": "a"}}\n{bom}{{"text": "b"}}\n')
    assert [each.text for each in read(tmp_path / "x.jsonl")] == ["a", "b"]
    (tmp_path / "x.txt").write_text(f"{bom}a\n\n{bom}b\n")
    for rule in ("line", "paragraph"):
        assert [each.text for each in read(tmp_path / "x.txt", document_per=rule)] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
def test_carriage_returns_alone_end_lines(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("one\rtwo\r\rthree 中".encode(encoding))
    (tmp_path / "x.jsonl").write_bytes('{"text": "one"}\r{"text": "two"}\r'.encode(encoding))
    (tmp_path / "x.csv").write_bytes('id,text\r1,one\r2,"t,wo"\r'.encode(encoding))
    for target in (3, 1000):
        for name, rule, texts in (
            ("x.txt", "line", ["one", "two", "three 中"]),
            ("x.txt", "paragraph", ["one\ntwo", "three 中"]),
            ("x.jsonl", "file", ["one", "two"]),
            ("x.csv", "file", ["one", "t,wo"]),
        ):
            (reader,) = open_all([str(tmp_path / name)], document_per=rule, encoding=encoding)
            spans = reader.list_spans(target)
            assert [each.text for span in spans for each in reader.iterate_documents(span)] == texts
    (tmp_path / "y.txt").write_bytes(b"one\rstill one\r\ntwo")
    assert [each.text for each in read(tmp_path / "y.txt", document_per="line")] == ["one\rstill one", "two"]


@pytest.mark.parametrize("blank", ["\u3000", " \u3000\u3000", "\u00a0", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_lines_of_wide_spaces_part_paragraphs(blank: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(f"\u3000\u3000一\n二\n{blank}\n三\n".encode(encoding))
    found = [each.text for each in read(tmp_path / "x.txt", document_per="paragraph", encoding=encoding)]
    assert found == ["\u3000\u3000一\n二", "三"]


def test_a_quote_in_a_tsv_is_a_quote(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text('id\ttext\n1\t"A quoted sentence."\n2\t"begins\n3\tends"\n4\ta ""b"" c\n')
    assert [each.text for each in read(tmp_path / "x.tsv")] == ['"A quoted sentence."', '"begins', 'ends"', 'a ""b"" c']


def test_a_file_cut_while_it_is_read_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n' * 100)
    (reader,) = open_all([str(path)])
    (span,) = reader.list_spans(10_000)
    path.write_text('{"text": "a"}\n' * 50 + '{"te')
    with pytest.raises(DataError, match=r"x\.jsonl was changed while it was being read\. Run the same command again"):
        list(reader.iterate_documents(span))

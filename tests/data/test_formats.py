"""What the contract suite cannot say of every format: wrong records, templates, saved datasets, missing packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.readers.files import logical_suffix
from gpt_lightning.data.readers.formats.records import TextField
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.errors import ConfigError, DataError
from tests.data.inputs import open_all


def read(path: Path, **options: Any) -> list[Document]:
    return [document for reader in open_all([str(path)], **options) for document in reader.iterate_documents()]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", '{"text": "a"}\n{"text": "b"}', r"x.json is not JSON \(Extra data.*Give it the suffix .jsonl"),
        ("x.json", '["a"]', r"x.json, record 1 has no text in the field 'text': got 'str'"),
        ("x.json", "[" * 100_000, r"x.json is not JSON"),
        ("x.csv", "id,body\n1,a\n", r"x.csv:2 has no text in the field 'text': got 'fields id, body'.*data.text_field"),
        ("x.csv", 'text\n"a\n', r"x.csv:2 is not a table \(unexpected end of data\)"),
        ("x.csv", 'text\n"a"b\n', r"x.csv:2 is not a table"),
        ("x.tsv", "id\ttext\n1\ta\tb\n", r"x.tsv:2 has 3 cells under a header of 2"),
        ("x.parquet", "no parquet", r"x.parquet is damaged or not .parquet"),
        ("x.arrow", "no arrow", r"x.arrow is damaged or not .arrow"),
        ("x.arrow", "ARROW1 but no more", r"x.arrow is damaged or not .arrow"),
        ("x.arrow", "\x7f\x00\x00\x00" * 9, r"x.arrow is damaged or not .arrow"),
        ("x.csv", "text,text\na,b\n", r"x.csv has several columns of the same name: got 'text'.*Rename"),
        ("x.txt.zst", "no zstandard", r"x.txt.zst is damaged or not .zst"),
        ("x.txt.xz", "no xz", r"x.txt.xz is damaged or not .xz"),
        ("x.txt.bz2", "no bzip2", r"x.txt.bz2 is damaged or not .bz2"),
    ],
)
def test_wrong_files_are_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    for package, suffixes in (("pyarrow", (".parquet", ".arrow")), ("zstandard", (".zst",))):
        if name.endswith(suffixes):
            pytest.importorskip(package)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_truncated_zstandard_is_no_end_of_data(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    data = b"".join(json.dumps({"text": str(n)}).encode() + b"\n" for n in range(10_000))
    packed = zstandard.ZstdCompressor().compress(data)
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(packed)
    assert len(read(path)) == 10_000
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"x.jsonl.zst is damaged .*cut short"):
        read(path)


@pytest.mark.parametrize(
    ("module", "name", "extra"), [("pyarrow", "x.parquet", "parquet"), ("zstandard", "x.zst", "zstd")]
)
def test_missing_packages_are_asked_for_by_command(
    module: str, name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("x")
    for known in [each for each in sys.modules if each.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=rf"needs the package {module}.*pip install 'gpt-lightning\[{extra}\]'"):
        read(tmp_path / name)


RECORD = {"title": "A", "body": "b", "stars": 5, "none": None}


@pytest.mark.parametrize(
    ("spec", "text"),
    [("body", "b"), ("{title}\\n\\n{body}", "A\n\nb"), ("{stars} stars: {body}", "5 stars: b"), ("{body}{body}", "bb")],
)
def test_fields_and_templates(spec: str, text: str) -> None:
    assert TextField(spec).pick(RECORD, "x:1") == text


@pytest.mark.parametrize("spec", ["stars", "none", "missing", "{title} {none}", "{missing}"])
def test_fields_without_text_are_refused(spec: str) -> None:
    found = "'(fields title, body, stars, none|null|5 of type int)'"
    with pytest.raises(DataError, match=rf"x:1 has no text in the field '\w+': got {found}"):
        TextField(spec).pick(RECORD, "x:1")


@pytest.mark.parametrize("spec", ["", "{title", "title}", "{}", "{{title}}"])
def test_templates_with_wrong_braces_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"data.text_field is neither"):
        TextField(spec)


def test_templates_work_in_every_format_of_records(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "a.jsonl").write_text('{"title": "A", "body": "b"}\n')
    (tmp_path / "b.csv").write_text("title,body\nA,b\n")
    parquet.write_table(pyarrow.table({"title": ["A"], "n": [1], "body": ["b"]}), tmp_path / "c.parquet")
    assert [document.text for document in read(tmp_path, text_field="{title}: {body}")] == ["A: b"] * 3


def write_saved_dataset(folder: Path, texts: list[list[str]]) -> None:
    """What ``Dataset.save_to_disk`` writes, as far as it matters."""
    pyarrow = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(texts):05d}.arrow" for number in range(len(texts))]
    for name, part in zip(names, texts, strict=True):
        table = pyarrow.table({"text": part})
        with (folder / name).open("wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    state = {"_data_files": [{"filename": name} for name in reversed(names)], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_dataset_gives_its_rows_in_its_order(tmp_path: Path) -> None:
    write_saved_dataset(tmp_path / "saved", [["a", "b"], ["c"]])
    assert [document.text for document in read(tmp_path / "saved")] == ["c", "a", "b"]
    (tmp_path / "saved" / "data-00000-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"lacks data-00000-of-00002\.arrow"):
        read(tmp_path / "saved")


@pytest.mark.parametrize("state", ["{", "[]", '{"_data_files": [1]}', '{"_data_files": 1}', "{}"])
def test_a_damaged_saved_dataset_is_named(state: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(state)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match=r"state.json|saved dataset .* lacks its list of files"):
        read(tmp_path)


def test_a_saved_dataset_of_several_splits_asks_for_one(tmp_path: Path) -> None:
    write_saved_dataset(tmp_path / "saved" / "train", [["a"]])
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match=r"several datasets.*got \['train', 'test'\].*--data.source .*saved/train"):
        read(tmp_path / "saved")
    assert [document.text for document in read(tmp_path / "saved" / "train")] == ["a"]


def test_a_document_rule_without_plain_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match=r"data.document_per divides plain text.*got 'line'"):
        read(tmp_path / "x.jsonl", document_per="line")
    (tmp_path / "x.txt").write_text("b\n\n\n c \r\nd")
    assert [document.text for document in read(tmp_path, document_per="line")] == ["a", "b", " c ", "d"]
    assert [document.text for document in read(tmp_path, document_per="paragraph")] == ["a", "b", " c \r\nd"]


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(alphabet="ab中\n\r ", max_size=60),
    target=st.integers(1, 12),
    rule=st.sampled_from(["line", "paragraph"]),
    encoding=st.sampled_from(["utf-8", "gb18030"]),
)
def test_spans_and_the_whole_give_the_same_documents(
    text: str, target: int, rule: str, encoding: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("spans") / "x.txt"
    path.write_bytes(text.encode(encoding))
    (reader,) = open_all([str(path)], document_per=rule, encoding=encoding)
    whole = [document.text for document in reader.iterate_documents()]
    spans = reader.list_spans(target)
    assert [document.text for span in spans for document in reader.iterate_documents(span)] == whole
    if rule == "line":
        ends = "\n" if "\n" in text or "\r" not in text.rstrip("\r") else "\r"
        assert whole == [line.rstrip("\r") for line in text.split(ends) if line.strip()]


def test_a_line_that_begins_where_a_span_ends_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"abc\ndef\nghi\n")
    (reader,) = open_all([str(path)], document_per="line")
    parts = [[document.text for document in reader.iterate_documents(span)] for span in reader.list_spans(4)]
    assert parts == [["abc"], ["def"], ["ghi"]]


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("gb18030", "中文\n好".encode("gb18030") + b"\n\xff\xff", r"is not GB18030 at byte 8 .*got b'\\xff\\xff'"),
        ("utf-16", "中文".encode("utf-16") + b"\x00", r"is not UTF-16 at byte 6"),
        ("ascii", b"abc\n\xe4\xb8", r"is not ASCII at byte 4"),
    ],
)
def test_wrong_bytes_are_named_in_every_encoding(encoding: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(data)
    for rule in ("file", "line", "paragraph"):
        with pytest.raises(DataError, match=message):
            read(tmp_path / "x.txt", encoding=encoding, document_per=rule)


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "", "a\0b"])
def test_unknown_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(ConfigError, match=r"data.encoding is no encoding of text"):
        open_all(["builtin:pydoc"], encoding=encoding)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.jsonl", ".jsonl"), ("a.JSONL.GZ", ".jsonl"), ("a.gz", ""), ("b.x/README", ""), ("a.csv.zst", ".csv")],
)
def test_the_suffix_is_that_of_the_content(name: str, suffix: str) -> None:
    assert logical_suffix(name) == suffix


@pytest.mark.parametrize("window_log", [22, 28])
def test_zstandard_with_a_long_window_is_read(window_log: int, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, enable_ldm=True)
    # Of a stream, whose length the compressor does not know: only then the window is the one asked for.
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(b'{"text": "one"}\n' * 1000) + packer.flush()
    assert zstandard.get_frame_parameters(packed).window_size == 1 << window_log
    (tmp_path / "x.jsonl.zst").write_bytes(packed)
    assert len(read(tmp_path / "x.jsonl.zst")) == 1000

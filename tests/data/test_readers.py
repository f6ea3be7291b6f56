from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpt_lightning.data.formats.records import JsonLinesReader
from gpt_lightning.data.formats.text import TextReader
from gpt_lightning.errors import DataError
from tests.data.inputs import open_all


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.txt", "a.md", "sub/c.txt", "sub/.hidden.txt", ".git/x.txt", "d [1].txt", "e.jsonl"):
        path = tmp_path / "text" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "text"


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["text"], ["a.md", "b.txt", "d [1].txt", "e.jsonl", "sub/c.txt"]),
        (["text/*.txt"], ["b.txt", "d [1].txt"]),
        (["text/**/*.txt"], ["b.txt", "d [1].txt", "sub/c.txt"]),
        (["text/b.txt", "text/a.md"], ["b.txt", "a.md"]),
        (["text/b.txt", "text", "text/../text/b.txt"], ["b.txt", "a.md", "d [1].txt", "e.jsonl", "sub/c.txt"]),
        (["text/d [1].txt"], ["d [1].txt"]),
    ],
)
def test_sources_mean_files_in_order(sources: list[str], names: list[str], folder: Path) -> None:
    found = [os.path.relpath(reader.name, "text") for reader in open_all(sources)]
    assert found == names


def test_suffixes_choose_readers(folder: Path) -> None:
    kinds = {Path(reader.name).suffix: type(reader) for reader in open_all(["text"])}
    assert kinds == {".md": TextReader, ".txt": TextReader, ".jsonl": JsonLinesReader}


@pytest.mark.parametrize("source", ["text/none.txt", "text/*.csv", "text/no/such/*.txt"])
def test_nothing_found_says_what_is_there(source: str, folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_all([source])
    message = str(caught.value)
    assert f"got {source!r}" in message
    assert str(folder.parent / source) in message
    assert f"{folder}, holds: .git/, a.md, b.txt" in message
    assert ".jsonl" in message
    assert "\n" not in message


def test_no_source_at_all() -> None:
    with pytest.raises(DataError, match="No text to read"):
        open_all([])
    with pytest.raises(DataError, match=r"No text to read: got \[''\]"):
        open_all([""])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"body": "x", "id": 1}', r"x.jsonl:2 has no text in the field 'text': got 'fields body, id'"),
        ('{"text": null}', r"x.jsonl:2 has no text in the field 'text': got 'null'"),
        ("[1]", r"got 'list'"),
        ("{", r"x.jsonl:2 is not JSON"),
        ("[" * 100_000, r"x.jsonl:2 is not JSON"),
    ],
)
def test_wrong_records_name_the_line(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n")
    (reader,) = open_all([str(path)])
    documents = reader.iterate_documents()
    assert next(documents).text == "good"
    with pytest.raises(DataError, match=message) as caught:
        next(documents)
    assert len(str(caught.value)) < 600


def test_blank_lines_are_no_documents(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('\n{"text": "a"}\n  \n{"text": "b"}')
    (reader,) = open_all([str(path)])
    assert [(document.text, document.name) for document in reader.iterate_documents()] == [
        ("a", f"{path}:2"),
        ("b", f"{path}:4"),
    ]

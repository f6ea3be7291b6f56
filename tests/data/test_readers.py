from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare, prepare
from gpt_lightning.data.readers.formats.records import JsonLinesReader
from gpt_lightning.data.readers.formats.text import TextReader
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, write_tokenizer
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


def test_the_part_of_a_glob_that_exists_is_no_pattern(folder: Path) -> None:
    """A folder with brackets in its name, and one that its name would match as a pattern."""
    for name in ("f[x]/g.txt", "fx/h.txt"):
        (folder / name).parent.mkdir()
        (folder / name).write_text(name)
    found = [os.path.relpath(reader.name, "text") for reader in open_all(["text/f[x]/*.txt", "text/f?/*.txt"])]
    assert found == ["f[x]/g.txt", "fx/h.txt"]


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


def names_of(sources: list[str], notes: list[str] | None = None) -> list[str]:
    readers = open_sources(sources, PrepareSettings().reading, ([] if notes is None else notes).append)
    return [os.path.relpath(reader.name) for reader in readers]


def test_links_are_followed_once_and_what_dangles_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("text/real/a.txt", "elsewhere/b.txt", "elsewhere/deep/c.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("text/linked").symlink_to("../elsewhere")
    Path("text/again").symlink_to("real")  # what lies in the folder under its own name keeps it
    Path("elsewhere/deep/loop").symlink_to("../../text")
    Path("text/self").symlink_to("self")
    Path("text/gone.txt").symlink_to("nowhere.txt")
    Path("text/d.txt").symlink_to("../elsewhere/b.txt")
    expected = ["text/d.txt", "text/linked/deep/c.txt", "text/real/a.txt"]
    for source in ("text", "text/**"):
        notes: list[str] = []
        found = names_of([source], notes)
        assert len(found) == 3
        assert source == "text/**" or found == expected
        assert any("text/gone.txt" in note and "a link to what is not there" in note for note in notes)
    with pytest.raises(DataError, match=r"it is a link to nowhere\.txt, which is not there"):
        names_of(["text/gone.txt"])


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of text in which everything that our commands write lies as well."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "text"
    for name in (
        "a.txt", "run/config.yaml", "run/manifest.json", "run/metrics.jsonl", "run/checkpoints/step-1/state.pt",
        "saved/state.pt", "saved/manifest.json", "lr/sweep.yaml", "lr/trials/00000/run.lock", "lr/report.md",
        "old/run.lock", "old/samples.jsonl", "exported/config.json", "exported/model.safetensors",
        "deep/b.txt", "train.bin", "meta.pkl", "prepare.py", "x.ds", "x.ds.index", "y.idx",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("some text")
    write_tokenizer(ByteTokenizer(), folder / "bpe.json")
    return folder


@pytest.mark.parametrize("source", ["text", "text/**"])
def test_what_our_own_commands_wrote_is_left_out_and_told(source: str, busy: Path) -> None:
    settings = PrepareSettings("text", "bytes", val_fraction=0.0)
    prepare(settings, store=busy / "store")
    first = find_or_prepare(settings, store=busy / "store")
    (busy / "store2").mkdir()
    for path in first.path.iterdir():
        if not path.name.startswith("."):  # copied without its hidden marker
            (busy / "store2" / path.name).write_bytes(path.read_bytes())
    notes: list[str] = []
    assert names_of([source], notes) == ["text/a.txt", "text/deep/b.txt"]
    told = " ".join(notes)
    for part in (
        "text/run (a run",
        "a sweep of",
        "a checkpoint of",
        "an exported model of",
        "a tokenizer",
        "token files",
    ):
        assert part in told
    assert "text/store, text/store2 (a prepared store of gpt-lightning)" in told
    assert "text/store.lock (the lock of a prepared store)" in told
    assert find_or_prepare(settings, store=busy / "store").path.stat().st_ino == first.path.stat().st_ino


def test_our_own_outputs_as_a_source_are_told_as_what_they_are(busy: Path) -> None:
    store = prepare(PrepareSettings("text", "bytes", val_fraction=0.0), store=busy / "store").path
    for source in (store, store / "docs-train-00000.idx"):
        with pytest.raises(DataError, match=rf"a prepared store of gpt-lightning.*--data\.store {store}"):
            names_of([str(source)])
    with pytest.raises(DataError, match=r"The source is a run of gpt-lightning"):
        names_of(["text/run"])
    (busy / "only").mkdir()
    (busy / "only" / "train.bin").write_bytes(b"ab")
    with pytest.raises(DataError, match=r"text/only/train\.bin \(token files\).*--data\.store text/only"):
        names_of(["text/only"])


@pytest.mark.parametrize(
    ("files", "notes"),
    [
        (["train.jsonl", "test.jsonl"], ["test.jsonl are for measuring"]),
        (["data/train-00000-of-1.jsonl", "data/validation-00000-of-1.jsonl"], ["are for measuring"]),
        (["train/a.txt", "dev/a.txt"], ["dev/a.txt are for measuring"]),
        (["README.md", "a.jsonl", "LICENSE"], ["LICENSE, ", "README.md would be trained on"]),
        (["README.md", "guide.md"], []),
        (["latest.txt", "training.txt"], []),
        (["test.jsonl", "b.jsonl"], []),
    ],
)
def test_what_a_repository_holds_beside_its_data_is_told(
    files: list[str], notes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in files:
        path = Path("corpus", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "a"}')
    told: list[str] = []
    assert len(names_of(["corpus"], told)) == len(files)
    assert bool(told) == bool(notes)
    assert all(note in told[0] for note in notes)


def test_a_folder_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: str) -> None:
        raise PermissionError(13, "Permission denied", place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"Cannot read the folder .*text \(Permission denied\)"):
        names_of(["text"])

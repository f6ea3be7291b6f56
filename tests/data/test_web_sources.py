"""Text from web servers: those that do not know the size, cannot send parts, compress on the fly, or break off."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from gpt_lightning import cli
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
from gpt_lightning.data.store.remote import RemoteStore
from gpt_lightning.errors import DataError
from tests.contracts.test_readers import CASES, Case, open_one
from tests.data.inputs import open_all
from tests.data.web_server import HABITS, serve

pytest.importorskip("aiohttp")


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.suffix)
def test_every_reader_reads_to_the_end_whatever_the_server_says(case: Case, habit: str, tmp_path: Path) -> None:
    texts = [f"{'x' * (n % 11)} document {n}" for n in range(60)] if case.many else ["one\n\ndocument " * 200]
    path = tmp_path / f"x{case.suffix}"
    case.write(path, texts)
    with serve({path.name: path.read_bytes()}, habit) as url:
        (reader,) = open_all([f"{url}/{path.name}"], **case.options)
        assert type(reader) is case.reader
        assert [document.text for document in reader.iterate_documents()] == texts
        spans = reader.list_spans(300)
        assert [document.text for span in spans for document in reader.iterate_documents(span)] == texts
        assert len(spans) == 1 or habit == "ranges"
        assert reader.checksum() == open_one(path, case).checksum()


@pytest.mark.parametrize("habit", ["stored as encoding", "ranges"])
def test_a_gz_that_is_undone_on_the_way_is_read(habit: str) -> None:
    records = b'{"text": "first"}\n{"text": "second"}\n'
    with serve({"a.jsonl.gz": gzip.compress(records)}, habit) as url:
        (reader,) = open_all([f"{url}/a.jsonl.gz"])
        assert [document.text for document in reader.iterate_documents()] == ["first", "second"]


@pytest.mark.parametrize("habit", ["broken off", "broken chunk"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.suffix)
def test_a_transfer_that_breaks_off_is_one_line(case: Case, habit: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    case.write(path, ["one " * 1000])
    with serve({path.name: path.read_bytes()}, habit) as url:
        (reader,) = open_all([f"{url}/{path.name}"], **case.options)
        with pytest.raises(DataError, match=rf"Cannot read {url}/.*Payload.*run the same command again") as caught:
            list(reader.iterate_documents())
    assert "\n" not in str(caught.value)


def test_a_broken_transfer_goes_on_where_the_server_can_send_parts() -> None:
    lines = "".join(json.dumps({"text": f"document {n}"}) + "\n" for n in range(100_000))
    with serve({"a.jsonl": lines.encode()}, "broken once") as url:
        (reader,) = open_all([f"{url}/a.jsonl"])
        assert sum(1 for _ in reader.iterate_documents()) == 100_000


def test_text_of_unknown_size_beside_a_file_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("text")
    records = b'{"text": "first"}\n{"text": "second"}\n'
    with serve({"a.jsonl": records}, "chunked") as url:
        sources = [str(tmp_path / "t.txt"), f"{url}/a.jsonl"]
        store = prepare(PrepareSettings(sources, "bytes", val_fraction=0.0), store=tmp_path / "s")
        assert store.split("train").num_documents == 3


def test_the_command_ends_with_one_line_and_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for habit in ("broken off", "refused"):
        with serve({"a.jsonl": b'{"text": "x"}\n' * 1000}, habit) as url:
            assert cli.main(["prepare", "--source", f"{url}/a.jsonl", "--tokenizer", "bytes"]) == 3
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert f"Cannot read {url}/a.jsonl" in told


@pytest.mark.parametrize("habit", HABITS)
def test_a_store_behind_any_server_is_fetched(habit: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("some text " * 100)
    made = prepare(PrepareSettings(str(tmp_path / "t.txt"), "bytes", val_fraction=0.0), store=tmp_path / "s")
    files = {f"s/{path.name}": path.read_bytes() for path in made.path.iterdir()}
    with serve(files, habit) as url:
        store = RemoteStore(f"{url}/s")
        store.verify()
        assert store.fingerprint == made.fingerprint


def test_text_that_changes_behind_its_url_is_noticed(tmp_path: Path) -> None:
    files = {"a.jsonl": b'{"text": "first"}\n' * 100}

    def change(*progress: int) -> None:
        files["a.jsonl"] = b'{"text": "other"}\n' * 100

    with serve(files, "chunked") as url:
        settings = PrepareSettings(f"{url}/a.jsonl", "bytes", val_fraction=0.0)
        with pytest.raises(DataError, match=r"a\.jsonl was changed while it was being read"):
            prepare(settings, store=tmp_path / "s", workers=1, progress=change)


def test_a_file_of_several_blocks_from_a_server_that_cannot_send_parts() -> None:
    lines = b'{"text": "' + b"x" * 1_000_000 + b'"}\n'
    with serve({"a.jsonl": lines * 12}, "no ranges") as url:
        (reader,) = open_all([f"{url}/a.jsonl"])
        spans = reader.list_spans(3_000_000)
        assert [len(document.text) for span in spans for document in reader.iterate_documents(span)] == [1_000_000] * 12

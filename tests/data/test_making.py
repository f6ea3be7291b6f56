"""Chunks, journal and pool: the same bytes for any number of workers, unit sizes and interruptions, nothing twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.folders import count_finished
from gpt_lightning.data.prepare import chunks, pool
from gpt_lightning.data.prepare.journal import Journal
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare, find_or_prepare_all, prepare
from gpt_lightning.data.prepare.tokenizing import ChunkResult
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.errors import DataError
from tests.selections import seldom

TEXTS = [f"Document {n % 50}: " + "grüße 中文 " * (n % 7) for n in range(120)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of one large file, many small ones and an empty one."""
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    for number in range(5):
        (folder / f"b{number}.txt").write_text(f"file {number}")
    (folder / "c.txt").write_text("")
    return folder


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "UNIT_BYTES", 1000)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the units that were done, not found in the journal."""
    keys: list[str] = []
    add = Journal.add

    def count(self: Journal, result: ChunkResult) -> None:
        keys.append(result.key)
        add(self, result)

    monkeypatch.setattr(Journal, "add", count)
    return keys


def content(store: TokenStore) -> dict[str, Any]:
    files = {path.name: path.read_bytes() for path in store.path.iterdir() if path.suffix in (".bin", ".idx")}
    manifest = json.loads((store.path / "manifest.json").read_text())
    return {**files, "manifest": manifest}


@pytest.mark.parametrize(
    "options", [{"drop_duplicates": True}, {"max_tokens": 900}, *seldom({}, {"tokenizer": "bpe:300"})]
)
def test_workers_and_units_leave_no_trace(
    options: dict[str, Any], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(PrepareSettings(str(source), "bytes", val_fraction=0.2), **options)
    whole = content(prepare(settings, store=tmp_path / "whole"))
    for unit_bytes, workers in ((100, 1), (3000, 2)) if not options else ((1000, 1),):
        monkeypatch.setattr(chunks, "UNIT_BYTES", unit_bytes)
        other = content(prepare(settings, store=tmp_path / "other", workers=workers))
        if settings.max_tokens is not None:  # what was skipped is counted in the units that were read
            for counted in ("skipped", "round_trip", "sha256"):
                other["manifest"][counted] = whole["manifest"][counted]
        assert other == whole
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


KILLED = """
import os, signal, sys
from gpt_lightning.data.prepare import chunks
from gpt_lightning.data.prepare.journal import Journal
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
chunks.UNIT_BYTES = 1000
count, add = 0, Journal.add
def die_after(self, result):
    global count
    count += 1
    if sys.argv[4] == "torn" and count == int(sys.argv[3]):
        with self._path.open("a") as file:
            file.write('{"key": "half a li')
    else:
        add(self, result)
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
Journal.add = die_after
prepare(PrepareSettings(sys.argv[1], "bpe:300", val_fraction=0.2), store=sys.argv[2], workers=int(sys.argv[5]))
"""


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize(
    ("after", "how", "workers"), [(1, "whole", 1), (3, "torn", 1), pytest.param(4, "whole", 2, marks=pytest.mark.slow)]
)
def test_after_a_kill_finished_units_are_not_done_again(
    after: int, how: str, workers: int, source: Path, tmp_path: Path, noted: list[str]
) -> None:
    settings = PrepareSettings(str(source), "bpe:300", val_fraction=0.2)
    expected = content(prepare(settings, store=tmp_path / "whole"))
    total = len(noted)
    noted.clear()
    place = tmp_path / "s"
    arguments = [sys.executable, "-c", KILLED, str(source), str(place), str(after), how, str(workers)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    finished = after - (how == "torn")
    if how == "whole":
        assert count_finished(place) == (finished, total)
        with pytest.raises(DataError, match=rf"s is not ready: {finished} of {total} units are done. Run the same"):
            TokenStore.open(place)
    assert content(find_or_prepare(settings, store=place, workers=1)) == expected
    assert len(noted) == total - finished
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "s.lock", "text", "whole", "whole.lock"]


@pytest.mark.usefixtures("small_units")
def test_a_changed_file_costs_its_units_only(source: Path, tmp_path: Path, noted: list[str]) -> None:
    (source / "c.txt").write_bytes(b"not UTF-8: \xff")
    settings = PrepareSettings(str(source), "bytes")
    with pytest.raises(DataError, match=r"c.txt is not UTF-8 at byte 11"):
        prepare(settings, store=tmp_path / "s", workers=1)
    before = len(noted)
    assert before > 3
    (source / "c.txt").write_text("mended")
    store = prepare(settings, store=tmp_path / "s", workers=1)
    assert len(noted) == before + 1
    assert content(prepare(settings, store=tmp_path / "t"))["manifest"] == content(store)["manifest"]


@pytest.mark.usefixtures("small_units")
def test_a_part_that_was_lost_is_made_again(source: Path, tmp_path: Path, noted: list[str]) -> None:
    settings = PrepareSettings(str(source), "bytes")
    expected = content(prepare(settings, store=tmp_path / "whole", workers=1))
    arguments = [sys.executable, "-c", KILLED.replace("bpe:300", "bytes").replace(", val_fraction=0.2", "")]
    subprocess.run([*arguments, str(source), str(tmp_path / "s"), "4", "whole", "1"], check=False)
    lost, cut, *_ = sorted(tmp_path.glob(".units-s/part-*"))
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    noted.clear()
    total = count_finished(tmp_path / "s")[1]
    assert content(find_or_prepare(settings, store=tmp_path / "s", workers=1)) == expected
    assert len(noted) == total - 2


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_mistake_in_the_order_of_the_text_is_told(workers: int, source: Path) -> None:
    lines = (source / "a.jsonl").read_text().splitlines(keepends=True)
    for number in (30, 100):
        lines[number] = '{"txt": "x"}\n'
    (source / "a.jsonl").write_text("".join(lines))
    with pytest.raises(DataError, match=r"a.jsonl, line \d+ behind byte \d+ has no text in the field 'text'.*txt") as e:
        prepare(PrepareSettings(str(source), "bytes"), workers=workers)
    line, byte = re.findall(r"line (\d+) behind byte (\d+)", str(e.value))[0]
    data = (source / "a.jsonl").read_bytes()
    assert data[int(byte) :].splitlines()[int(line) - 1] == lines[30].strip().encode()
    assert data.index(b"txt") > int(byte)
    assert str(e.value).endswith("{body}. Or leave such out: data.bad_records skip.")


@pytest.mark.usefixtures("small_units")
def test_a_worker_that_dies_is_told_and_the_rest_is_kept(
    source: Path, monkeypatch: pytest.MonkeyPatch, noted: list[str], tmp_path: Path
) -> None:
    receive = pool._PoolWorker._receive

    def kill_first(self: pool._PoolWorker) -> tuple[Any, ...]:
        if len(noted) >= 2:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            while self._process.stdout.read(1000):
                pass
        return receive(self)

    with monkeypatch.context() as patch:
        patch.setattr(pool._PoolWorker, "_receive", kill_first)
        with pytest.raises(DataError, match=r"worker process ended with code -9 .*out of memory.*--workers 1"):
            prepare(PrepareSettings(str(source), "bytes"), store=tmp_path / "s", workers=2)
    done, total = count_finished(tmp_path / "s")
    assert 2 <= done < total
    noted.clear()
    find_or_prepare(PrepareSettings(str(source), "bytes"), store=tmp_path / "s", workers=2)
    assert len(noted) == total - done


def test_several_tokenizers_in_one_pass_give_the_stores_of_single_passes(source: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(str(source), "bytes", val_fraction=0.2)
    names = ["bytes", "chars", "bpe:300"]
    single = [content(prepare(replace(settings, tokenizer=name), store=tmp_path / name)) for name in names]
    together = find_or_prepare_all(settings, names)
    assert [content(store) for store in together] == single
    stamps = [store.path.stat().st_ino for store in together]
    assert [store.path.stat().st_ino for store in find_or_prepare_all(settings, names)] == stamps


@pytest.mark.usefixtures("small_units")
def test_with_a_limit_the_rest_is_not_tokenized(source: Path, noted: list[str]) -> None:
    settings = PrepareSettings(str(source), "bytes", val_fraction=0.0)
    whole = prepare(settings, workers=1)
    total = len(noted)
    noted.clear()
    store = prepare(replace(settings, max_tokens=900), workers=1)
    assert len(noted) < total / 2
    kept = store.split("train")
    assert 700 < kept.num_tokens <= 900
    ids = whole.split("train").gather(whole.split("train").document_ends[:0], 1)
    assert ids.size == 0
    assert (kept.document_ends == whole.split("train").document_ends[: kept.num_documents]).all()
    assert whole.split("train").document_ends[kept.num_documents] > 900


def test_a_limit_nobody_fits_is_an_error(source: Path) -> None:
    with pytest.raises(DataError, match=r"The corpus is empty.*raise data.max_tokens: .* more than 5\."):
        prepare(PrepareSettings(str(source), "bytes", max_tokens=5))


def test_a_changed_line_of_the_journal_is_not_believed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for key in ("one", "two"):
        journal.add(ChunkResult(key, [10], 3, [7], 7, 0))
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text().replace('"num_documents": 3', '"num_documents": 4', 1))
    assert list(journal._read()) == ["two"]

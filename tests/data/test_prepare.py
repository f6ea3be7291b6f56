from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_lightning import cli
from gpt_lightning.data.prepare import chunks
from gpt_lightning.data.prepare.prepare import PrepareSettings, default_folder, find_or_prepare, prepare
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.tokenizers.kinds import CharTokenizer, write_tokenizer
from gpt_lightning.errors import ConfigError, DataError
from tests.data.stores import read_like_llm_c
from tests.selections import seldom

PARAGRAPHS = "\n\n".join(f"Paragraph {number}. Grüße 中文." for number in range(40))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(PARAGRAPHS, encoding="utf-8")
    return path


def content(store: TokenStore) -> dict[str, bytes]:
    """All files but the manifest, which knows times."""
    return {path.name: path.read_bytes() for path in store.path.iterdir() if path.suffix in (".bin", ".idx")}


def inode(store: TokenStore) -> int:
    """Number of the folder as it is now; another one after the store was made anew."""
    return store.path.stat().st_ino


@pytest.mark.parametrize("tokenizer", ["bytes", "chars", "bpe:300", "gpt2"])
def test_the_text_can_be_read_back(tokenizer: str, source: Path) -> None:
    store = prepare(PrepareSettings(str(source), tokenizer, val_fraction=0.2, test_fraction=0.1))
    pieces = []
    for split in ("train", "val", "test"):
        ids = read_like_llm_c(store.path / f"tokens-{split}-00000.bin")
        assert ids[0] == store.tokenizer.eot_id
        pieces.append(store.tokenizer.decode(ids[1:]))
        assert store.split(split).num_bytes == len(pieces[-1].encode())
    assert "".join(pieces) == PARAGRAPHS
    assert all(piece.startswith("Paragraph") for piece in pieces)
    assert abs(len(pieces[1]) / len(PARAGRAPHS) - 0.2) < 0.05
    store.verify()


def test_many_documents_are_divided_by_hash_and_duplicates_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"text": f"document {n % 100}"}) + "\n" for n in range(200)))
    store = prepare(PrepareSettings(str(path), "bytes", val_fraction=0.3))
    sides = {}
    for split in ("train", "val"):
        ids = read_like_llm_c(store.path / f"tokens-{split}-00000.bin")
        sides[split] = store.tokenizer.decode(ids).split("<|endoftext|>")[1:]
        assert store.split(split).num_documents == len(sides[split])
    assert len(sides["train"]) + len(sides["val"]) == 200
    assert not set(sides["train"]) & set(sides["val"])
    assert 20 < len(set(sides["val"])) < 40


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.text(alphabet=st.characters()), min_size=1, max_size=5))
def test_nothing_is_lost(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    clean = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts if text]
    chosen = PrepareSettings(str(path), "bytes", val_fraction=0.0)
    if not clean:
        with pytest.raises(DataError, match=rf"The corpus is empty: 1 inputs read .*skipped: {len(texts)} empty"):
            prepare(chosen, store=folder / "s")
        return
    store = prepare(chosen, store=folder / "s")
    ids = read_like_llm_c(store.path / "tokens-train-00000.bin")
    expected: list[int] = []
    for text in clean:
        expected += [256, *text.encode()]
    assert ids == expected
    assert store.manifest.skipped.get("empty", 0) == len(texts) - len(clean)


def test_a_ready_store_is_used_again_and_a_touched_file_is_not_a_change(source: Path) -> None:
    chosen = PrepareSettings(str(source), "bytes")
    first = find_or_prepare(chosen)
    number = inode(first)
    assert first.path == default_folder(chosen)
    assert inode(find_or_prepare(chosen)) == number
    os.utime(source, ns=(1, 1))
    assert inode(find_or_prepare(chosen)) == number
    assert inode(find_or_prepare(chosen, rebuild=True)) != number


@pytest.mark.parametrize("chosen_folder", [False, True])
def test_changed_text_makes_the_store_anew(chosen_folder: bool, source: Path, tmp_path: Path) -> None:
    chosen = PrepareSettings(str(source), "bytes")
    place = tmp_path / "mine" if chosen_folder else None
    first = find_or_prepare(chosen, store=place)
    stamp = source.stat()
    source.write_text(PARAGRAPHS.replace("7", "8"), encoding="utf-8")  # the same size
    assert source.stat().st_size == stamp.st_size
    second = find_or_prepare(chosen, store=place)
    assert second.path == first.path
    assert second.fingerprint != first.fingerprint


@pytest.mark.parametrize("change", ["added", "removed", "renamed"])
def test_changed_folders_make_the_store_anew(change: str, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f'{{"text": "{name}"}}')
    chosen = PrepareSettings(str(folder), "bytes", val_fraction=0.0)
    first = find_or_prepare(chosen)
    if change == "added":
        (folder / "c.txt").write_text("c")
    elif change == "removed":
        (folder / "b.txt").unlink()
    else:
        (folder / "b.txt").rename(folder / "b.jsonl")  # the same bytes mean other documents
    assert find_or_prepare(chosen).fingerprint != first.fingerprint


def test_settings_are_the_identity_of_a_store(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = PrepareSettings(str(source), "bytes")
    others = [
        PrepareSettings(str(source), "chars"),
        PrepareSettings(str(source), "bytes", val_fraction=0.1),
        PrepareSettings(str(source), "bytes", split_seed=1),
        PrepareSettings([str(source), str(source)], "bytes"),
    ]
    assert len({default_folder(each) for each in [base, *others]}) == 5
    assert default_folder(PrepareSettings([str(source)], "bytes")) == default_folder(base)
    monkeypatch.chdir(tmp_path)
    assert default_folder(PrepareSettings("text.txt", "bytes")) == default_folder(base)
    assert default_folder(base).name.startswith("text-bytes-")


def test_a_chosen_store_of_other_settings_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    number = inode(find_or_prepare(PrepareSettings(str(source), "bytes"), store=place))
    other_text = tmp_path / "other.txt"
    other_text.write_text("other text")
    for other, message in (
        (
            PrepareSettings(str(source), "chars"),
            r"tokenizer 'bytes' there, 'chars' wanted.*\(--data.tokenizer bytes --data.source",
        ),
        (PrepareSettings(str(other_text), "bytes"), r"source \['.*text.txt'\] there"),
    ):
        with pytest.raises(DataError, match=message):
            find_or_prepare(other, store=place)
    assert inode(TokenStore.open(place)) == number
    copy = shutil.copy(source, tmp_path / "copy.txt")
    assert inode(find_or_prepare(PrepareSettings(str(copy), "bytes"), store=place)) == number
    assert find_or_prepare(PrepareSettings(str(source), "chars"), store=place, rebuild=True).vocab_size < 257


def test_a_store_without_its_text_is_used_as_it_is(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = PrepareSettings(str(source), "bytes")
    first = find_or_prepare(chosen, store=tmp_path / "mine")
    source.unlink()
    assert find_or_prepare(chosen, store=tmp_path / "mine").fingerprint == first.fingerprint
    assert "is not here" in caplog.text
    with pytest.raises(DataError, match="No file matches"):
        find_or_prepare(chosen, store=tmp_path / "another")


def test_a_changed_tokenizer_file_is_noticed(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    write_tokenizer(CharTokenizer(PARAGRAPHS), path)
    chosen = PrepareSettings(str(source), str(path))
    first = find_or_prepare(chosen)
    number = inode(first)
    assert inode(find_or_prepare(chosen)) == number
    write_tokenizer(CharTokenizer(PARAGRAPHS + "ß$"), path)
    assert find_or_prepare(chosen).vocab_size == first.vocab_size + 1


def test_unfinished_folders_are_made_anew_and_damaged_stores_refused(source: Path) -> None:
    chosen = PrepareSettings(str(source), "bytes")
    first = find_or_prepare(chosen)
    (first.path / "manifest.json").unlink()
    second = find_or_prepare(chosen)
    assert content(second) == content(first)
    path = second.path / "tokens-train-00000.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"truncated.*gpt-lightning prepare with --rebuild true"):
        find_or_prepare(chosen)


def test_the_fingerprint_is_independent_of_places(source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed.txt"
    moved.parent.mkdir()
    shutil.copy(source, moved)
    first, second = (prepare(PrepareSettings(str(path), "bpe:300")) for path in (source, moved))
    assert first.path != second.path
    assert first.fingerprint == second.fingerprint
    assert content(first) == content(second)


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_counts_every_byte(workers: int, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "UNIT_BYTES", 500)
    for number in range(3):
        (source.parent / f"{number}.txt").write_text(PARAGRAPHS)
    files = [str(path) for path in source.parent.glob("*.txt")]
    seen: list[tuple[int, int, int]] = []
    store = prepare(PrepareSettings(files, "bytes"), workers=workers, progress=lambda *numbers: seen.append(numbers))
    size, tokens = 4 * source.stat().st_size, sum(split.num_tokens for split in store.manifest.splits.values())
    assert seen[-1] == (size, size, tokens)


def test_an_unknown_character_names_its_document(source: Path, tmp_path: Path) -> None:
    write_tokenizer(CharTokenizer("abc"), tmp_path / "v.json")
    with pytest.raises(DataError, match=r"text.txt: Character 'P' \(U\+0050\) at offset 0"):
        prepare(PrepareSettings(str(source), str(tmp_path / "v.json")))
    assert not list((tmp_path / "cache" / "stores").glob(".preparing*"))


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.0), (0.05, 1.0), (0.5, 0.5), (float("nan"), 0.0)])
def test_shares_out_of_range_are_refused(val: float, test: float) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        PrepareSettings(val_fraction=val, test_fraction=test)


KILLED = """
import os, signal, sys
from gpt_lightning.data import folders
from gpt_lightning.data.prepare import building
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
moment = sys.argv[3]
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "manifest":
    building.write_manifest = die
elif moment == "publish":
    folders._publish = die
elif moment == "swap":
    rename, calls = os.rename, []
    def second(*paths):
        calls.append(paths)
        die() if len(calls) == 2 else rename(*paths)
    os.rename = second
def progress(done, total, tokens):
    if moment.isdigit() and done >= int(moment):
        die()
prepare(PrepareSettings(sys.argv[1], "bytes"), store=sys.argv[2], progress=progress)
"""


@pytest.mark.parametrize("moment", ["900", "manifest", "swap", *seldom("1", "publish")])
def test_killed_at_any_moment_no_store_looks_ready_and_the_next_call_succeeds(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"text": f"document {n}"}) + "\n" for n in range(100)))
    chosen, place = PrepareSettings(str(path), "bytes"), tmp_path / "stores" / "s"
    expected = content(prepare(chosen, store=tmp_path / "whole"))
    if moment == "swap":
        prepare(chosen, store=place)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), str(place), moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not place.exists()
    left_over = ".units-s" if moment.isdigit() else ".preparing-s@*"
    assert list(place.parent.glob(left_over))
    assert content(find_or_prepare(chosen, store=place)) == expected
    assert sorted(child.name for child in place.parent.iterdir()) == ["s", "s.lock"]


def test_processes_at_once_make_one_store(source: Path, tmp_path: Path) -> None:
    program = (
        "import logging, sys; logging.basicConfig(level=20, stream=sys.stdout)\n"
        "from gpt_lightning.data.prepare.prepare import *\n"
        "find_or_prepare(PrepareSettings(sys.argv[1], 'bpe:300'), store=sys.argv[2])\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)\n"
    )
    arguments = [sys.executable, "-c", program, str(source), str(tmp_path / "s")]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sum("Preparing" in output for output in outputs) == 1
    assert logging.getLogger("rustbpe").getEffectiveLevel() >= logging.WARNING


def test_content_is_compared_when_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.txt"
    path.write_text("one one one")
    status = path.stat()
    command = ["prepare", "--source", str(path), "--tokenizer", "bytes", "--store", str(tmp_path / "s")]
    assert cli.main(command) == 0
    first = TokenStore.open(tmp_path / "s").fingerprint
    path.write_text("two two two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cli.main(command) == 0
    assert TokenStore.open(tmp_path / "s").fingerprint == first  # nothing tells that it changed
    assert cli.main([*command, "--check", "content"]) == 0
    second = TokenStore.open(tmp_path / "s")
    assert second.fingerprint != first
    assert cli.main([*command, "--check", "content"]) == 0
    assert TokenStore.open(tmp_path / "s").path.stat().st_ino == second.path.stat().st_ino
    assert cli.main([*command, "--check", "hash"]) == 2
    assert "--check: got 'hash' (allowed: time, content)" in capsys.readouterr().err


def test_a_name_that_begins_with_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-dash.txt").write_text("text")
    assert cli.main(["prepare", "--source", "-dash.txt", "--tokenizer", "bytes"]) == 2
    told = capsys.readouterr().err
    assert "--source needs a value" in told
    assert "one that begins with a dash as --source=-VALUE" in told
    assert cli.main(["prepare", "--source=-dash.txt", "--tokenizer", "bytes"]) == 0

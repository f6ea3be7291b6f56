"""Layouts in a store: labels, sides of a split, leaks, lengths, packing, conversations as records of others."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest

from gpt_lightning.data.commands.stores import head_command, info_command, verify_command
from gpt_lightning.data.layouts.base import Layout, normalize
from gpt_lightning.data.layouts.conversations import Conversation, Preference, Rated
from gpt_lightning.data.layouts.labelled import Labelled, MultiLabelled, sort_labels
from gpt_lightning.data.open import check_on_the_fly, open_store
from gpt_lightning.data.prepare import chunks
from gpt_lightning.data.prepare.leaks import hash_runs
from gpt_lightning.data.prepare.prepare import PrepareSettings, default_folder, find_or_prepare
from gpt_lightning.data.prepare.tokenizing import ChunkWorker
from gpt_lightning.data.store import shard_cache
from gpt_lightning.data.store.columns import check_columns, check_labels
from gpt_lightning.data.store.mixed_store import MixedStore
from gpt_lightning.data.store.remote import RemoteStore
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.stream.mixed_stream import mix
from gpt_lightning.data.stream.mixture import Mixture, MixtureSource
from gpt_lightning.data.stream.packing import Concat, Document, Pack, check_rows
from gpt_lightning.data.stream.stream import EvaluationWindows, TrainStream
from gpt_lightning.errors import ConfigError, DataError
from tests.data.labelled import make_preferences, make_reviews, write_jsonl


def prepare(tmp_path: Path, rows: list[dict[str, Any]], layout: Layout | None, **settings: Any) -> TokenStore:
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    known = {"tokenizer": "bytes", "val_fraction": 0.2, **settings}
    store = tmp_path / f"store{len(list(tmp_path.iterdir()))}"
    return find_or_prepare(PrepareSettings(source=str(source), layout=layout, **known), store=store, workers=1)


def texts_of(store: TokenStore, split: str) -> list[str]:
    tokens = store.split(split)
    starts = [0, *tokens.document_ends.tolist()]
    found = [tokens.gather(np.array([a + 1]), b - a - 1)[0] for a, b in pairwise(starts)]
    return [store.tokenizer.decode(ids) for ids in found]


def test_a_store_of_text_is_written_as_before_there_were_columns(tmp_path: Path) -> None:
    store = prepare(tmp_path, make_reviews(20), None)
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert "layout" not in manifest
    assert "columns" not in manifest["splits"]["train"]["shards"][0]
    plain, labelled = PrepareSettings(source="x.jsonl"), PrepareSettings(source="x.jsonl", layout=Labelled())
    assert "layout" not in plain.describe()
    assert default_folder(plain) != default_folder(labelled)
    assert not set(plain.reading.describe()) & {"fields"}


def test_labels_are_in_the_manifest_and_others_are_refused(tmp_path: Path) -> None:
    rows = make_reviews(30)
    store = prepare(tmp_path, rows, Labelled())
    record = store.manifest.layout
    assert record is not None
    assert record.labels == ("bad", "good")
    check_labels(record, ["bad", "good"])
    with pytest.raises(DataError, match=r"labels good, bad, and the store's are in another order: got 'bad, good'"):
        check_labels(record, ["good", "bad"])
    with pytest.raises(DataError, match="the store's are others"):
        check_labels(record, ["bad", "good", "odd"])
    with pytest.raises(DataError, match="the store's are others"):
        check_labels(None, ["bad", "good"])
    check_columns(record, ["label"], owner="Classify")
    with pytest.raises(DataError, match=r"SFT needs the column marks.*got 'Labelled with label'"):
        check_columns(record, ["label", "marks"], owner="SFT")
    turned = prepare(tmp_path, rows, Labelled(labels=["good", "bad"]))
    assert turned.fingerprint != store.fingerprint, "the same texts under other numbers are other data"
    for mine, its in zip(*(each.split("train").document_column("label") for each in (store, turned)), strict=True):
        assert mine == 1 - its
    with pytest.raises(DataError, match=r"x.jsonl:\d+ has something else in the field 'label': got .*good"):
        prepare(tmp_path, rows, Labelled(labels=["bad", "ugly"]))
    with pytest.raises(DataError, match="tells nothing apart"):
        prepare(tmp_path, [{**row, "label": "good"} for row in rows], Labelled())
    with pytest.raises(DataError, match="different columns or labels"):
        MixedStore({"a": store, "b": turned})
    with pytest.raises(ConfigError, match="names of the classes in order"):
        MultiLabelled(labels=["a", "a"])


def test_numbers_as_labels_are_sorted_as_numbers() -> None:
    assert sort_labels(["10", "9", "-1"]) == ["-1", "9", "10"]
    assert sort_labels(["10", "9", "b"]) == ["10", "9", "b"]


def test_equal_texts_stand_on_one_side_whatever_their_case(tmp_path: Path) -> None:
    rows = make_reviews(60)
    twins = [{**row, "text": f"  {row['text'].upper()} "} for row in rows]
    store = prepare(tmp_path, rows + twins, Labelled())
    train, val = ({normalize(text) for text in texts_of(store, split)} for split in ("train", "val"))
    assert len(train) + len(val) == 60
    assert not train & val
    assert len(val) > 4
    assert store.manifest.split_rule == "whole documents by a hash of their text, normalized (seed 0)"
    assert store.manifest.layout is not None
    assert store.manifest.layout.leaks["val"]["same"] == 0


@pytest.mark.parametrize("layout", [Labelled(), None], ids=["labelled", "text"])
def test_no_user_stands_on_two_sides(layout: Layout | None, tmp_path: Path) -> None:
    rows = [{**row, "text": f"{row['user']}|{row['text']}"} for row in make_reviews(80)]
    store = prepare(tmp_path, rows, layout, group_field="user", max_leaked=1.0)
    train, val = ({text.split("|")[0] for text in texts_of(store, split)} for split in ("train", "val"))
    assert not train & val
    assert val
    assert store.manifest.split_rule == "whole documents by a hash of their field user (seed 0)"
    apart = prepare(tmp_path, rows, layout, max_leaked=1.0)
    assert {t.split("|")[0] for t in texts_of(apart, "train")} & {t.split("|")[0] for t in texts_of(apart, "val")}
    with pytest.raises(DataError, match="no word or number in the field 'nobody'"):
        prepare(tmp_path, rows, layout, group_field="nobody")


def test_a_random_split_of_a_file_that_holds_texts_twice_is_refused_with_the_number(tmp_path: Path) -> None:
    """As the raw file of Chinese reviews does: 86 % of its test rows stand in training."""
    chance = np.random.default_rng(0)
    pool = make_reviews(60)
    rows = [pool[number] for number in chance.integers(0, len(pool), 240)]
    sides = chance.random(240) < 0.1
    stated = [{**row, "split": "test" if side else "train"} for row, side in zip(rows, sides, strict=True)]
    known = {row["text"] for row, side in zip(rows, sides, strict=True) if not side}
    leaked, total = sum(row["text"] in known for row, side in zip(rows, sides, strict=True) if side), int(sides.sum())
    assert leaked > 0.8 * total
    settings: dict[str, Any] = {"split_field": "split", "val_fraction": 0.0}
    with pytest.raises(
        DataError, match=rf"^{leaked} of the {total} test documents stand in the training split too"
    ) as told:
        prepare(tmp_path, stated, Labelled(), **settings)
    assert f"got {round(leaked / total, 3)} (allowed: data.max_leaked 0.01)" in str(told.value)
    allowed = prepare(tmp_path, stated, Labelled(), max_leaked=1.0, **settings)
    assert allowed.manifest.layout is not None
    assert allowed.manifest.layout.leaks["test"]["same"] == leaked
    assert prepare(tmp_path, rows, Labelled()).manifest.layout is not None, "divided by hash, the same file is sound"


def test_near_copies_are_found_and_texts_with_a_common_sentence_are_not(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    words = [f"word{number}" for number in range(300)]
    texts = [" ".join(chance.choice(words, 60)) for _ in range(20)]
    copies = [text.replace(" ", " ", 1)[:-6] + f" end{number}" for number, text in enumerate(texts[:7])]
    others = [" ".join([*chance.choice(words, 40), *text.split()[:20]]) for text in texts[:5]]
    rows = [{"text": text, "label": n % 2, "split": "train"} for n, text in enumerate(texts)]
    rows += [{"text": text, "label": n % 2, "split": "dev"} for n, text in enumerate(copies + others)]
    with pytest.raises(DataError, match=r"7 of the 12 val documents .*\(0 the same, 7 nearly the same\)"):
        prepare(tmp_path, rows, Labelled(), split_field="split", val_fraction=0.0)


def test_a_side_of_short_marked_documents_is_compared_as_well(tmp_path: Path) -> None:
    """Shorter, all together, than what is compared."""
    rows = [{"prompt": f"{n}?", "completion": "y" * 30, "split": "train" if n else "dev"} for n in range(9)]
    store = prepare(tmp_path, rows, Conversation(), split_field="split", val_fraction=0.0)
    assert store.split("val").num_documents == 1


def test_runs_are_hashed_as_a_loop_would() -> None:
    tokens = np.random.default_rng(0).integers(0, 5, 400).astype(np.uint16)
    hashes, runs = hash_runs(tokens, 3), [tuple(tokens[n : n + 3].tolist()) for n in range(398)]
    assert len(hashes) == len(runs)
    assert len(set(zip(hashes.tolist(), runs, strict=True))) == len(set(runs)) == len(set(hashes.tolist()))


def test_long_texts_lose_their_end_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "a" * 40, "pair": "b" * 10, "label": 1}, {"text": "a", "pair": "b" * 40, "label": 0}] * 4
    store = prepare(tmp_path, rows, Labelled(pair_field="pair", max_tokens=32), val_fraction=0.0)
    assert texts_of(store, "train")[:2] == ["a" * 20 + "<|endoftext|>" + "b" * 10, "a<|endoftext|>" + "b" * 29]
    layout = store.manifest.layout
    assert layout is not None
    assert (layout.longest, layout.cut) == (32, {"texts cut to 32 tokens": 8})
    with pytest.raises(DataError, match=r"keeps documents whole.*up to 32 tokens: got 'block_size 31'"):
        TrainStream(store.split("train"), 31, packing=Document())
    info_command(str(store.path))
    verify_command(str(store.path))
    head_command(str(store.path), documents=1)
    told = capsys.readouterr().out
    assert "layout      Labelled: label (int32 per document); documents of up to 32 tokens" in told
    assert "labels      2: 0, 1" in told
    assert "cut         8 texts cut to 32 tokens" in told
    assert "train document 1 of 8, 31 tokens, label 1 (1)" in told


def test_packed_documents_bring_their_columns_in_order(tmp_path: Path) -> None:
    store = prepare(tmp_path, make_reviews(50), Labelled(), val_fraction=0.0)
    split = store.split("train")
    windows = EvaluationWindows(split, 200, packing=Pack(), documents=True)
    rows = next(windows.batches(windows.num_windows))
    assert rows.documents is not None
    labels, ends = rows.columns["label"], rows.columns["ends"]
    assert labels.shape == ends.shape
    assert ends.shape[1] > 2
    known = dict(zip(texts_of(store, "train"), split.document_column("label")[:, 0].tolist(), strict=True))
    found = 0
    for row, (documents, own) in enumerate(zip(rows.documents, ends, strict=True)):
        for number, end in enumerate(own[own >= 0].tolist()):
            tokens = rows.tokens[row, : end + 1][documents[: end + 1] == number]
            assert known[store.tokenizer.decode(tokens[1:])] == labels[row, number]
            found += 1
        assert (labels[row, (own >= 0).sum() :] == -100).all()
    assert found == 50, "every document once, whole"


def test_what_would_mix_documents_up_is_refused(tmp_path: Path) -> None:
    store = prepare(tmp_path, make_reviews(10), Labelled(), val_fraction=0.0)
    layout = store.manifest.layout
    with pytest.raises(ConfigError, match="Concat cuts documents anywhere"):
        TrainStream(store.split("train"), 200, packing=Concat())
    with pytest.raises(ConfigError, match="would see each other"):
        check_rows(layout, Pack(), False, 3, 3)
    check_rows(layout, Document(), False, 3, 3)
    check_rows(None, Concat(), False, 3, 3)
    with pytest.raises(ConfigError, match=r"data.text_field is for running text; data.layout Labelled"):
        PrepareSettings(layout=Labelled(), text_field="body")


def test_several_processes_and_a_second_call_give_the_same_store(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "x.jsonl", make_reviews(40))
    settings = PrepareSettings(source=str(source), tokenizer="chars", val_fraction=0.2, layout=Labelled())
    first = find_or_prepare(settings, store=tmp_path / "one", workers=1)
    made = (first.path / "manifest.json").stat().st_mtime_ns
    again = find_or_prepare(settings, store=tmp_path / "one", workers=1)
    assert (again.path / "manifest.json").stat().st_mtime_ns == made, "found, not made again"
    with pytest.raises(DataError, match="prepared with other settings: layout"):
        find_or_prepare(
            PrepareSettings(source=str(source), tokenizer="chars", val_fraction=0.2), store=tmp_path / "one", workers=1
        )


def contents(store: TokenStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.path.iterdir() if path.suffix in (".bin", ".idx")}


@pytest.mark.parametrize("layout", [Labelled(), Preference()], ids=["labels", "pairs"])
def test_interrupted_and_in_small_units_it_is_the_same_store(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_reviews(60) if layout.rows_per_sample == 1 else make_preferences(60)
    whole = prepare(tmp_path, rows, layout, val_fraction=0.3)
    monkeypatch.setattr(chunks, "UNIT_BYTES", 900)
    work, done = ChunkWorker.work, list[int]()

    def interrupted(self: ChunkWorker, unit: Any, tell: Any) -> Any:
        done.append(1)
        if len(done) == 4:
            raise KeyboardInterrupt
        return work(self, unit, tell)

    monkeypatch.setattr(ChunkWorker, "work", interrupted)
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    settings = PrepareSettings(source=str(source), tokenizer="bytes", val_fraction=0.3, layout=layout)
    with pytest.raises(KeyboardInterrupt):
        find_or_prepare(settings, store=tmp_path / "again", workers=1)
    units = len(done)
    again = find_or_prepare(settings, store=tmp_path / "again", workers=1)
    assert units == 4
    assert len(done) > 6
    assert again.fingerprint == whole.fingerprint
    assert contents(again) == contents(whole)
    assert again.manifest.layout == whole.manifest.layout


def test_a_far_store_brings_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_cache, "_PAUSES_SECONDS", ())
    local = prepare(tmp_path, make_preferences(30), Rated(), max_leaked=1.0)
    files = fsspec.filesystem("memory")
    files.put(str(local.path), "/labelled/store", recursive=True)
    try:
        far = RemoteStore("memory://labelled/store")
        here, there = (TrainStream(each.split("train"), 200, packing=Document()) for each in (local, far))
        rows, others = (stream.read(np.arange(20)) for stream in (here, there))
        assert {name: values.tolist() for name, values in rows.columns.items()} == {
            name: values.tolist() for name, values in others.columns.items()
        }
        far.verify()
        files.pipe("/labelled/store/desirable-train-00000.bin", bytes(len(local.split("train").document_ends)))
        with pytest.raises(DataError, match="desirable-train"):
            far.verify()
    finally:
        files.rm("/labelled", recursive=True)


def test_sources_of_a_mixture_bring_their_columns(tmp_path: Path) -> None:
    stores = {
        name: prepare(tmp_path, make_reviews(20, seed), Labelled(max_tokens=100), val_fraction=0.0)
        for seed, name in enumerate(("a", "b"))
    }
    mixture = Mixture({"a": MixtureSource(store="a", weight=3.0), "b": MixtureSource(store="b")})
    stream = mix(
        stores, mixture, 0, 100, lambda store, seed: TrainStream(store.split("train"), 100, seed, packing=Document())
    )
    rows = stream.read(np.arange(30))
    known = {
        text: label
        for store in stores.values()
        for text, (label,) in zip(
            texts_of(store, "train"), store.split("train").document_column("label").tolist(), strict=True
        )
    }
    decode = next(iter(stores.values())).tokenizer.decode
    for tokens, end, label in zip(rows.tokens, rows.columns["ends"][:, 0], rows.columns["label"][:, 0], strict=True):
        assert known[decode(tokens[1 : end + 1])] == label
    mixed = MixedStore(stores).split("train")
    assert mixed.document_column("label").shape == (40, 1)
    pairs = {name: prepare(tmp_path, make_preferences(9, 1), Preference(), val_fraction=0.0) for name in "ab"}
    with pytest.raises(ConfigError, match=r"data.mixture deals single rows"):
        mix(
            pairs, mixture, 0, 100, lambda store, seed: TrainStream(store.split("train"), 100, seed, packing=Document())
        )


def test_what_does_not_read_records_refuses_a_layout(tmp_path: Path) -> None:
    np.arange(100, dtype=np.uint16).tofile(tmp_path / "train.bin")
    settings = PrepareSettings(source=str(tmp_path / "train.bin"), layout=Labelled())
    with pytest.raises(ConfigError, match=r"data.layout reads records, and .*train.bin is token files"):
        open_store(settings, None)
    with pytest.raises(ConfigError, match=r"data.on_the_fly reads running text"):
        check_on_the_fly(Concat(), None, None, Labelled())
    with pytest.raises(ConfigError, match="max_leaked is a share"):
        PrepareSettings(max_leaked=2.0)
    with pytest.raises(ConfigError, match="max_tokens is a length"):
        Labelled(max_tokens=1)

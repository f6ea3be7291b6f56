"""What every layout owes: the same store from every format, columns that come back, damage found, bad records named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt_lightning.data.layouts.base import Layout
from gpt_lightning.data.layouts.conversations import Conversation, Preference, Rated
from gpt_lightning.data.layouts.labelled import Labelled, MultiLabelled, Regression
from gpt_lightning.data.layouts.tagged import Tagged
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.store.manifest import read_manifest
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.store.verification import verify_shard
from gpt_lightning.data.stream.packing import Document
from gpt_lightning.data.stream.stream import EvaluationWindows, TrainStream
from gpt_lightning.errors import DataError
from tests.data.labelled import make_preferences, make_reviews, make_talks, make_words, write_jsonl


@dataclass(frozen=True)
class Case:
    """A layout, records for it, a record that it must refuse, and what of a record its first column holds."""

    layout: Layout
    make: Callable[[int], list[dict[str, Any]]]
    bad: dict[str, Any]
    column: str
    expected: Callable[[dict[str, Any]], Any]


CASES = {
    "labelled": Case(
        Labelled(), make_reviews, {"text": "x"}, "label", lambda row: [["bad", "good"].index(row["label"])]
    ),
    "pairs": Case(
        Labelled(pair_field="user"), make_reviews, {"text": "x", "label": "bad"}, "label",
        lambda row: [["bad", "good"].index(row["label"])],
    ),
    "several": Case(
        MultiLabelled(labels=["good", "bad", "never"]), make_reviews, {"text": "x", "labels": "good"}, "labels",
        lambda row: [int(name in row["labels"]) for name in ("good", "bad", "never")],
    ),
    "number": Case(
        Regression(), make_reviews, {"text": "x", "value": "much"}, "value", lambda row: [np.float32(row["value"])]
    ),
    "words": Case(
        Tagged(), make_words, {"words": ["x", "y"], "tags": ["a"]}, "tags",
        lambda row: sum(sorted(set(row["tags"]) | {"odd", "good", "bad"}).index(tag) + 100 for tag in row["tags"])
        - 100 * (len(" ".join(row["words"]).encode()) + 1),
    ),
    "conversation": Case(
        Conversation(), make_talks, {"messages": [{"role": "user", "content": "?"}]}, "marks",
        lambda row: sum(
            len(f" {each['content'].strip()}".encode()) + 1 for each in row["messages"] if each["role"] == "assistant"
        ),
    ),
    "preference": Case(
        Preference(), make_preferences, {"prompt": "x", "chosen": "y"}, "marks",
        lambda row: sum(len(f" {row[name]}") + 1 for name in ("chosen", "rejected")),
    ),
    "rated": Case(
        Rated(), make_preferences, {"prompt": "x", "completion": "y", "label": "perhaps"}, "desirable",
        lambda row: [int(row["label"])],
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def prepare(case: Case, source: Path, store: Path, **settings: Any) -> TokenStore:
    known = PrepareSettings(
        source=str(source), tokenizer="bytes", **{"val_fraction": 0.0, "layout": case.layout, **settings}
    )
    return find_or_prepare(known, store=store, workers=1)


def test_columns_hold_what_the_records_say(case: Case, tmp_path: Path) -> None:
    rows = case.make(30)
    store = prepare(case, write_jsonl(tmp_path / "x.jsonl", rows), tmp_path / "store")
    split, together = store.split("train"), 1 if case.layout.mismatched else case.layout.rows_per_sample
    assert split.num_documents == len(rows) * together
    (column,) = [each for each in case.layout.columns if each.name == case.column]
    ends = split.document_ends
    if column.per == "document":
        assert split.document_column(case.column).tolist() == [case.expected(row) for row in rows]
        return
    marks = np.empty(split.num_tokens, column.dtype)
    split.copy_runs(marks, np.zeros(1, int), np.zeros(1, int), np.array([len(marks)]), case.column)
    borders = [0, *ends[together - 1 :: together].tolist()]
    found = [int(marks[start:stop].sum()) for start, stop in pairwise(borders)]
    assert found == [case.expected(row) for row in rows]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_format_of_records_gives_the_same_store(case: Case, suffix: str, tmp_path: Path) -> None:
    rows = case.make(12)
    first = prepare(case, write_jsonl(tmp_path / "x.jsonl", rows), tmp_path / "first")
    path = tmp_path / f"x{suffix}"
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            for row in rows:
                table.writerow(
                    {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items()}
                )
    else:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    assert prepare(case, path, tmp_path / "second").fingerprint == first.fingerprint


def test_a_sample_is_what_it_is_however_it_is_read(case: Case, tmp_path: Path) -> None:
    store = prepare(case, write_jsonl(tmp_path / "x.jsonl", case.make(9)), tmp_path / "store")
    stream = TrainStream(store.split("train"), 2000, seed=5, packing=Document(), documents=True)
    together = case.layout.rows_per_sample
    assert stream.windows_per_epoch == 9 * together
    whole = stream.read(np.arange(22))  # more than an epoch: put together of two
    assert set(whole.columns) == {*(column.name for column in case.layout.columns), "ends"}
    alone = [stream.read(np.array([sample])) for sample in range(22)]
    for name, values in whole.columns.items():
        assert np.concatenate([rows.columns[name] for rows in alone]).tobytes() == values.tobytes()
    batches = [batch for part in stream.super_batches(0, 2, batch_size=2, accumulate=4, world=1) for batch in part]
    assert [batch.samples.tolist() for batch in batches[:3]] == [
        [number // together for number in (first, first + 1)] for first in (0, 2, 4)
    ]
    for name in whole.columns:
        assert (
            np.concatenate([batch.columns[name] for batch in batches]).tobytes() == whole.columns[name][:16].tobytes()
        )
    starts = whole.tokens[::together, :20] if together > 1 else None
    assert starts is None or (starts == whole.tokens[1::together, :20]).all(), "pairs stand side by side"


def test_evaluation_pads_columns_with_nothing(case: Case, tmp_path: Path) -> None:
    store = prepare(case, write_jsonl(tmp_path / "x.jsonl", case.make(3)), tmp_path / "store")
    windows = EvaluationWindows(store.split("train"), 2000, packing=Document())
    (batch,) = windows.batches(batch_size=8)
    real = 3 * case.layout.rows_per_sample
    assert (batch.columns["ends"][:real] > 0).all()
    assert (batch.columns["ends"][real:] == -100).all()
    for column in case.layout.columns:
        assert (batch.columns[column.name][real:] == column.fill).all()
    last = np.take_along_axis(batch.tokens, batch.columns["ends"][:, :1].clip(0), axis=1)[:real]
    following = np.take_along_axis(batch.tokens, batch.columns["ends"][:, :1].clip(0) + 1, axis=1)[:real]
    assert (last != 256).all()
    assert (following == 256).all()


def test_a_flipped_bit_in_a_column_is_found(case: Case, tmp_path: Path) -> None:
    store = prepare(case, write_jsonl(tmp_path / "x.jsonl", case.make(5)), tmp_path / "store")
    (shard,) = read_manifest(store.path).splits["train"].shards
    verify_shard(store.path, shard)
    path = store.path / shard.columns[case.column].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{case.column}-train-00000.bin is damaged"):
        store.split("train")
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=rf"{case.column}-train-00000.bin is truncated"):
        TokenStore.open(store.path)


def test_a_record_that_lacks_something_is_named_or_left_out(case: Case, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "x.jsonl", [*case.make(4), case.bad])
    with pytest.raises(DataError, match=r"x\.jsonl:5 .*field") as told:
        prepare(case, source, tmp_path / "store")
    assert "allowed" in str(told.value)
    store = prepare(case, source, tmp_path / "store", bad_records="skip")
    assert store.manifest.skipped == {"bad records": 1}
    assert "x.jsonl:5" in store.manifest.bad_records[0]


def test_text_that_is_no_record_is_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("once upon a time")
    with pytest.raises(DataError, match=r"x\.txt has n"):
        prepare(case, tmp_path / "x.txt", tmp_path / "store")

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_lightning.data.prepare.assembling import find_first_occurrences
from gpt_lightning.data.prepare.cleaning import Cleaning, is_chinese
from gpt_lightning.data.prepare.prepare import PrepareSettings, default_folder, find_or_prepare, prepare
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.tokenizers.kinds import CharTokenizer, write_tokenizer
from gpt_lightning.errors import ConfigError


def write(folder: Path, texts: list[str]) -> str:
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def documents(store: TokenStore) -> list[str]:
    found = []
    for name, record in store.manifest.splits.items():
        if record.shards:
            split = store.split(name)
            starts = [0, *split.document_ends[:-1].tolist()]
            for start, end in zip(starts, split.document_ends.tolist(), strict=True):
                found.append(store.tokenizer.decode(split.gather(np.array([start]), end - start)[0][1:]))
    return found


TEXTS = ["long enough", "x", "e\u0301", "long enough", "", "y" * 50, "é", "x", "long enough"]


@pytest.mark.parametrize(
    ("options", "kept", "skipped"),
    [
        ({}, [text for text in TEXTS if text], {"empty": 1}),
        (
            {"min_characters": 2, "max_characters": 20},
            ["long enough", "e\u0301", "long enough", "long enough"],
            {"empty": 1, "longer than 20 characters": 1, "shorter than 2 characters": 3},
        ),
        ({"drop_duplicates": True}, ["long enough", "x", "e\u0301", "y" * 50, "é"], {"duplicates": 3, "empty": 1}),
        (
            {"drop_duplicates": True, "normalize_nfc": True},
            ["long enough", "x", "é", "y" * 50],
            {"duplicates": 4, "empty": 1},
        ),
    ],
)
def test_options_keep_and_count(
    options: dict[str, Any], kept: list[str], skipped: dict[str, int], tmp_path: Path
) -> None:
    store = prepare(PrepareSettings(write(tmp_path, TEXTS), "bytes", val_fraction=0.0, **options))
    assert documents(store) == kept
    assert store.manifest.skipped == skipped
    assert store.manifest.counts["characters"] == sum(map(len, kept))


def test_options_change_the_identity_of_a_store_and_defaults_do_not(tmp_path: Path) -> None:
    source = write(tmp_path, TEXTS)
    base = PrepareSettings(source, "bytes")
    assert set(base.describe()) == {"source", "tokenizer", "val_fraction", "test_fraction", "split_seed"}
    changes: list[dict[str, Any]] = [
        {"document_per": "line"},
        {"text_field": "body"},
        {"encoding": "gb18030"},
        {"normalize_nfc": True},
        {"drop_duplicates": True},
        {"min_characters": 1},
        {"max_characters": 9},
        {"max_tokens": 9},
    ]
    assert len({default_folder(PrepareSettings(source, "bytes", **change)) for change in [{}, *changes]}) == 9
    first = find_or_prepare(base)
    # In one folder as well: dropping an option again is a change.
    (first.path.parent / "x").mkdir()
    place = tmp_path / "mine"
    find_or_prepare(PrepareSettings(source, "bytes", drop_duplicates=True), store=place)
    with pytest.raises(Exception, match="drop_duplicates True there, the default wanted"):
        find_or_prepare(base, store=place)


@pytest.mark.parametrize(
    "options",
    [
        {"min_characters": -1},
        {"max_characters": 0},
        {"min_characters": 5, "max_characters": 4},
        {"max_tokens": 0},
        {"document_per": "page"},
        {"text_field": "{"},
        {"encoding": "nonsense"},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{list(options)[-1]}"):
        PrepareSettings(**options)


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 5))
def test_first_occurrences_are_those_of_a_set(numbers: list[int], num_units: int) -> None:
    hashes = np.array([[number % 2, number // 2] for number in numbers], dtype=np.uint64).reshape(-1, 2)
    expected = [number not in numbers[:place] for place, number in enumerate(numbers)]
    masks = find_first_occurrences(np.array_split(hashes, num_units))
    assert len(masks) == num_units
    assert np.concatenate(masks).tolist() == expected


@given(st.text())
def test_cleaned_text_can_be_encoded_and_keeps_its_length(text: str) -> None:
    cleaning = Cleaning(normalize_nfc=False, min_characters=0, max_characters=None)
    cleaned, _ = cleaning.clean(text)
    assert cleaning.judge(cleaned) == ("" if text else "empty")
    assert len(cleaned.encode().decode()) == len(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("中文。测试", True), ("中文 abc d", False), ("abc", False), ("𠀀𠀁a", True), ("日本語のテキスト", False)],
)
def test_mostly_chinese(text: str, expected: bool) -> None:
    assert is_chinese(text) is expected


def test_characters_per_token_are_those_of_the_chinese_documents(tmp_path: Path) -> None:
    vocabulary = tmp_path / "v.json"
    write_tokenizer(CharTokenizer("中文abc"), vocabulary)
    source = write(tmp_path, ["中文中文", "abcabc"])
    store = prepare(PrepareSettings(source, str(vocabulary), val_fraction=0.0))
    counts = store.manifest.counts
    assert counts == {"characters": 10, "chinese_characters": 4, "chinese_tokens": 4, "unused_ids": 0}

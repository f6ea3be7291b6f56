"""Real dialog in two languages: the questions and answers that the package chatterbot-corpus carries (BSD licence)."""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from gpt_lightning.data.open import open_mixture
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.stream.mixed_stream import mix
from gpt_lightning.data.stream.mixture import Mixture, MixtureSource
from gpt_lightning.data.stream.packing import Pack
from gpt_lightning.data.stream.stream import TrainStream

TEMPLATE = "{question}\n{answer}"


def read_dialog(language: str) -> list[tuple[str, str]]:
    """Every turn with the next one, in the order of the files."""
    spec = find_spec("chatterbot_corpus")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    turns = []
    for path in sorted((Path(spec.submodule_search_locations[0]) / "data" / language).glob("*.yml")):
        for conversation in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            turns += list(pairwise(str(turn) for turn in conversation))
    return turns


@pytest.fixture(params=["english", "chinese"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write_records(folder: Path, language: str) -> Path:
    path = folder / f"{language}.jsonl"
    records = [{"question": question, "answer": answer} for question, answer in read_dialog(language)]
    # Chinese as it is, not escaped: both are JSON.
    lines = "".join(json.dumps(record, ensure_ascii=language == "english") + "\n" for record in records)
    path.write_text(lines, encoding="utf-8")
    return path


def read_back(store: TokenStore) -> list[str]:
    split = store.split("train")
    ids = split.gather(np.zeros(1, dtype=np.int64), split.num_tokens)[0]
    return store.tokenizer.decode(ids).split("<|endoftext|>")[1:]


def test_dialog_comes_back_as_it_was(language: str, tmp_path: Path) -> None:
    expected = [f"{question}\n{answer}" for question, answer in read_dialog(language)]
    assert len(expected) > 200
    settings = PrepareSettings(str(write_records(tmp_path, language)), "bytes", val_fraction=0.0, text_field=TEMPLATE)
    assert read_back(find_or_prepare(settings, workers=1)) == expected
    alone = find_or_prepare(
        PrepareSettings(settings.source, "bytes", val_fraction=0.0, text_field=TEMPLATE, drop_duplicates=True),
        workers=1,
    )
    assert read_back(alone) == list(dict.fromkeys(expected))


def test_two_languages_in_equal_parts_packed_and_apart(tmp_path: Path) -> None:
    sources = {name: MixtureSource(str(write_records(tmp_path, name))) for name in ("english", "chinese")}
    settings = PrepareSettings(tokenizer="bytes", text_field=TEMPLATE)
    mixture = Mixture(sources)
    store = open_mixture(settings, mixture)
    stream = mix(
        store.stores,
        mixture,
        0,
        256,
        lambda each, seed: TrainStream(each.split("train"), 256, seed, packing=Pack(), documents=True),
    )
    rows = stream.read(np.arange(200, dtype=np.int64))
    chinese = sum("的" in store.tokenizer.decode(row) or "你" in store.tokenizer.decode(row) for row in rows.tokens)
    assert 80 <= chinese <= 105  # all but a few Chinese rows hold one of the two commonest characters
    assert rows.documents is not None
    assert (np.diff(rows.documents.astype(int), axis=1) >= 0).all()
    assert (rows.documents.max(axis=1) >= 1).mean() > 0.9  # short dialogs: several in nearly every row

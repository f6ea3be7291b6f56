"""Numbers that a model computed from a store: once, under everything they depend on, refused when damaged."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.layouts.conversations import Preference
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.store.columns import Column
from gpt_lightning.data.store.derived import DerivedKey, find_or_derive
from gpt_lightning.data.stream.packing import Document
from gpt_lightning.data.stream.stream import EvaluationWindows, TrainStream
from gpt_lightning.errors import DataError
from tests.data.labelled import make_preferences, write_jsonl

KEY = DerivedKey("reference", "fingerprint", "train", {"weights": "abc", "block_size": 128, "dtype": "float32"})


class Counted:
    """Computes, slowly, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> npt.NDArray[np.float32]:
        self.calls += 1
        time.sleep(0.05)
        return np.linspace(0, 11, 12, dtype=np.float32).reshape(6, 2)


def test_they_are_computed_once_whoever_asks_and_however_often() -> None:
    compute, found = Counted(), list[npt.NDArray[np.float32]]()
    threads = [
        threading.Thread(target=lambda: found.append(find_or_derive(KEY, documents=6, width=2, compute=compute)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compute.calls == 1
    assert len(found) == 3
    assert all((values == np.arange(12).reshape(6, 2)).all() for values in found)
    assert not found[0].flags.writeable


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, store="another"),
        replace(KEY, split="val"),
        replace(KEY, name="features"),
        replace(KEY, facts={**KEY.facts, "weights": "abd"}),
        replace(KEY, facts={**KEY.facts, "block_size": 64}),
        replace(KEY, facts={**KEY.facts, "code": 2}),
    ],
)
def test_whatever_they_depend_on_is_part_of_the_key(other: DerivedKey) -> None:
    compute = Counted()
    for key in (KEY, other, KEY):
        find_or_derive(key, documents=6, width=2, compute=compute)
    assert compute.calls == 2
    assert replace(KEY, facts=dict(reversed(list(KEY.facts.items())))).digest == KEY.digest


def test_every_flipped_bit_is_refused() -> None:
    find_or_derive(KEY, documents=6, width=2, compute=Counted())
    (path,) = (cache_folder() / "derived").glob("*.bin")
    content = path.read_bytes()
    for place in (0, 17, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"reference-.*bin is damaged \(CRC-32 .* Delete .*json"):
            find_or_derive(KEY, documents=6, width=2, compute=Counted())
    path.write_bytes(content[:-4])
    with pytest.raises(DataError, match="is damaged"):
        find_or_derive(KEY, documents=6, width=2, compute=Counted())
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"its shape is \[6, 2\], \[4, 3\] expected"):
        find_or_derive(KEY, documents=4, width=3, compute=Counted())
    path.with_suffix(".json").write_text(path.with_suffix(".json").read_text().replace('"abc"', '"abd"'))
    with pytest.raises(DataError, match="is damaged"):
        find_or_derive(KEY, documents=6, width=2, compute=Counted())


def test_what_is_not_finite_or_not_there_is_told() -> None:
    with pytest.raises(DataError, match="was not computed yet"):
        find_or_derive(KEY, documents=6, width=2, compute=None)
    with pytest.raises(DataError, match="reference of train document 2 is not finite"):
        find_or_derive(KEY, documents=2, width=1, compute=lambda: np.array([[1.0], [np.nan]]))
    assert not list((cache_folder() / "derived").glob("*.bin"))


def test_a_split_has_them_as_one_column_more(tmp_path: Path) -> None:
    settings = PrepareSettings(
        source=str(write_jsonl(tmp_path / "x.jsonl", make_preferences(8))),
        tokenizer="bytes",
        val_fraction=0.0,
        layout=Preference(),
    )
    split = find_or_prepare(settings, store=tmp_path / "store", workers=1).split("train")
    stream = TrainStream(split, 128, packing=Document())
    assert "reference" not in stream.read(np.arange(2)).columns
    lengths = np.diff(split.document_ends, prepend=0).astype(np.float32)
    split.attach(Column("reference", "document", "float32"), lengths[:, None])
    rows = stream.read(np.arange(16))
    assert (rows.columns["reference"][:, 0] == rows.columns["ends"][:, 0] + 1).all(), "each document its own"
    (batch,) = EvaluationWindows(split, 128, packing=Document()).batches(batch_size=20)
    assert batch.columns["reference"][:16, 0].tolist() == lengths.tolist()

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.store.external import ForeignStore
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.packing import Concat, Document, Pack, Packing
from gpt_lightning.data.stream.stream import EvaluationWindows, TrainStream
from gpt_lightning.data.tokenizers.resolve import resolve
from gpt_lightning.errors import ConfigError, DataError
from tests.data.stores import write_store

LENGTHS = [3, 0, 40, 7, 1, 25, 12, 12, 0, 90, 5]
POLICIES: list[Packing] = [Concat(), Pack(), Pack(min_fill=0.5), Document()]


@pytest.fixture(scope="module", params=[10**6, 30], ids=["one_shard", "many_shards"])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenSplit, list[int]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path_factory.mktemp("cache")))
        store, expected = write_store(tmp_path_factory.mktemp("pack") / "s", LENGTHS, shard_tokens=request.param)
        return store.split("train"), expected


def documents_of(expected: list[int], eot_id: int) -> list[list[int]]:
    documents: list[list[int]] = []
    for token in expected:
        if token == eot_id:
            documents.append([])
        documents[-1].append(token)
    return documents


@pytest.mark.parametrize("packing", POLICIES, ids=lambda packing: type(packing).__name__)
@pytest.mark.parametrize("block_size", [8, 16, 64])
def test_documents_number_the_tokens_as_a_loop_does(
    packing: Packing, block_size: int, corpus: tuple[TokenSplit, list[int]]
) -> None:
    """Ids here start every document with end-of-text, or go on with a cut one; both sides must agree where.

    At the border of a document that has come to its end, the end token counts as a target.
    """
    split, _ = corpus
    stream = TrainStream(split, block_size, seed=1, packing=packing, documents=True)
    rows = stream.read(np.arange(2 * stream.windows_per_epoch, dtype=np.int64))
    assert rows.documents is not None
    assert rows.documents.shape == rows.tokens.shape
    for row, tokens in enumerate(rows.tokens.tolist()):
        numbers = rows.documents[row].tolist()
        assert numbers[0] == 0
        for place in range(1, block_size + 1):
            step = numbers[place] - numbers[place - 1]
            assert step in (0, 1)
            counted = rows.weights is None or rows.weights[row, place - 1] > 0
            if counted:
                assert step == (tokens[place] == split.eot_id)
                assert not step or tokens[place - 1] != split.eot_id


@pytest.mark.parametrize("packing", [Pack(), Pack(min_fill=0.5), Document()], ids=["pack", "pack_half", "document"])
@settings(max_examples=10, deadline=None)
@given(block_size=st.integers(1, 100), batch_size=st.integers(1, 7), world=st.integers(1, 3))
def test_evaluation_inside_documents_counts_each_successor_once(
    packing: Packing, block_size: int, batch_size: int, world: int, corpus: tuple[TokenSplit, list[int]]
) -> None:
    """The multiset of (token, next token) that count is that of the documents, each with its end token behind it."""
    split, expected = corpus
    windows = EvaluationWindows(split, block_size, packing=packing, documents=True)
    pairs = []
    for rank in range(world):
        for rows in windows.batches(batch_size, rank, world):
            assert rows.weights is not None
            counted = rows.weights > 0
            pairs += list(zip(rows.tokens[:, :-1][counted].tolist(), rows.tokens[:, 1:][counted].tolist(), strict=True))
    documents = [each for each in documents_of(expected, split.eot_id) if len(each) > 1]
    wanted = [pair for document in documents for pair in pairwise([*document, split.eot_id])]
    assert sorted(pairs) == sorted(wanted)


@pytest.mark.parametrize("packing", [Concat(), Pack(), Document()], ids=lambda packing: type(packing).__name__)
@pytest.mark.parametrize("mask", [False, True], ids=["open", "masked"])
def test_every_document_teaches_its_end(packing: Packing, mask: bool, tmp_path: Path) -> None:
    """Of 400 documents 0 ends were targets under a document mask and with Document, 220 with Pack."""
    lengths = [1 + number * 37 % 23 for number in range(400)]
    store, _ = write_store(tmp_path / "s", lengths)
    stream = TrainStream(store.split("train"), 64, seed=1, packing=packing, documents=mask)
    rows = stream.read(np.arange(stream.windows_per_epoch, dtype=np.int64))
    targets = rows.tokens[:, 1:] if rows.weights is None else rows.tokens[:, 1:][rows.weights > 0]
    # Running text loses what lies before the first window and behind the last, and the end of the store.
    assert 400 - int((targets == store.manifest.eot_id).sum()) in (range(8) if isinstance(packing, Concat) else [0])


def test_documents_that_bring_their_end_token_have_one_end(tmp_path: Path) -> None:
    """nanoGPT's files: the end token stands behind a document, and is its last target."""
    tokens = np.array([1, 2, 3, 50256, 4, 5, 50256, 6, 7, 8, 9, 50256], dtype=np.uint16)
    tokens.tofile(tmp_path / "train.bin")
    (split,) = [ForeignStore([tmp_path / "train.bin"], resolve("gpt2")).split("train")]
    for packing in (Pack(), Document(), Concat()):
        rows = next(EvaluationWindows(split, 6, packing=packing, documents=True).batches(8))
        assert rows.weights is not None
        counted = rows.weights > 0
        pairs = zip(rows.tokens[:, :-1][counted].tolist(), rows.tokens[:, 1:][counted].tolist(), strict=True)
        wanted = [(1, 2), (2, 3), (3, 50256), (4, 5), (5, 50256), (6, 7), (7, 8), (8, 9), (9, 50256)]
        assert sorted(pairs) == wanted


def test_document_rows_hold_one_document_each(corpus: tuple[TokenSplit, list[int]]) -> None:
    split, expected = corpus
    rows = next(EvaluationWindows(split, 100, packing=Document()).batches(batch_size=20))
    assert rows.weights is not None
    found = [row[: 1 + int(weights.sum())].tolist() for row, weights in zip(rows.tokens, rows.weights, strict=True)]
    assert [row for row in found if len(row) > 1] == [
        [*row, split.eot_id] for row in documents_of(expected, split.eot_id) if len(row) > 1
    ]


def test_an_epoch_of_packed_windows_is_a_permutation(corpus: tuple[TokenSplit, list[int]]) -> None:
    split, _ = corpus
    stream = TrainStream(split, 16, seed=7, packing=Pack())
    count = stream.windows_per_epoch
    first, second = stream.windows(0, count).tolist(), stream.windows(count, count).tolist()
    assert first != second
    assert sorted(first) == sorted(second)


def test_packed_rows_teach_the_end_of_a_document_but_no_random_neighbour(
    corpus: tuple[TokenSplit, list[int]],
) -> None:
    split, _ = corpus
    rows = TrainStream(split, 30, packing=Pack(), documents=True).read(np.arange(5, dtype=np.int64))
    assert rows.weights is not None
    assert rows.documents is not None
    borders = (rows.documents[:, 1:] != rows.documents[:, :-1]) & (rows.weights > 0)
    assert borders.any()
    assert set(rows.tokens[:, 1:][borders].tolist()) == {split.eot_id}


def test_mistakes_are_explained(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match=r"data\.packing\.min_fill is a share: got 1\.5"):
        Pack(min_fill=1.5)
    store, _ = write_store(tmp_path_factory.mktemp("empty") / "s", [0, 0, 0])
    with pytest.raises(DataError, match=r"No document of the train split has two tokens.*got '3 documents'"):
        TrainStream(store.split("train"), 2, packing=Pack())

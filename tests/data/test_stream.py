from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.stream import EvaluationWindows, TrainStream
from gpt_lightning.errors import DataError
from tests.data.stores import write_store


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenSplit, list[int]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path_factory.mktemp("cache")))
        store, expected = write_store(tmp_path_factory.mktemp("stream") / "s", [100] * 9, shard_tokens=300)
        return store.split("train"), expected


def read_ranks(
    stream: TrainStream, steps: int, batch_size: int, accumulate: int, world: int, gather: int, first_step: int = 0
) -> Iterator[list[int]]:
    """All rows of all ranks in global order, put together by their stated positions."""
    rows: dict[int, list[int]] = {}
    for rank in range(world):
        super_batches = stream.super_batches(
            first_step,
            steps,
            batch_size=batch_size,
            accumulate=accumulate,
            rank=rank,
            world=world,
            gather_batches=gather,
        )
        for batch in (batch for batches in super_batches for batch in batches):
            assert batch.tokens.shape == (batch_size, stream.block_size + 1)
            assert batch.tokens.flags.writeable
            for number, row in enumerate(batch.tokens.tolist()):
                assert batch.position + number not in rows
                rows[batch.position + number] = row
    first = first_step * batch_size * accumulate * world
    assert sorted(rows) == list(range(first, first + len(rows)))
    return (rows[key] for key in sorted(rows))


@settings(max_examples=20, deadline=None)
@given(
    factors=st.sampled_from([(b, a, w) for b in (1, 2, 3, 4, 6, 12) for a in (1, 2, 3, 4) for w in (1, 2, 3, 4)]),
    steps=st.integers(1, 9),
    resumed=st.integers(0, 50),
    gather=st.integers(1, 7),
)
def test_the_order_depends_on_the_global_batch_only(
    factors: tuple[int, int, int], steps: int, resumed: int, gather: int, corpus: tuple[TokenSplit, list[int]]
) -> None:
    stream = TrainStream(corpus[0], 16, seed=5)
    batch_size, accumulate, world = factors
    whole = batch_size * accumulate * world
    rows = list(read_ranks(stream, steps, batch_size, accumulate, world, gather, resumed))
    assert rows == stream.windows(resumed * whole, steps * whole).tolist()


@pytest.mark.parametrize("block_size", [1, 16, 64, 300, 454])
def test_an_epoch_shows_every_window_once_in_windows_of_the_text(
    block_size: int, corpus: tuple[TokenSplit, list[int]]
) -> None:
    split, expected = corpus
    stream = TrainStream(split, block_size, seed=1)
    count = stream.windows_per_epoch
    assert count == (len(expected) - block_size) // block_size
    offsets = set()
    for epoch in range(4):
        rows = stream.read(np.arange(epoch * count, (epoch + 1) * count, dtype=np.int64)).tokens.tolist()
        possible = [
            offset
            for offset in range(block_size)
            if sorted(rows)
            == sorted(expected[n : n + block_size + 1] for n in range(offset, offset + count * block_size, block_size))
        ]
        assert possible
        offsets.add(possible[0])
    assert len(offsets) > 1 or block_size == 1


def test_samples_of_several_epochs_in_one_read(corpus: tuple[TokenSplit, list[int]]) -> None:
    stream = TrainStream(corpus[0], 100, seed=3)
    samples = np.array([25, 0, 9, 8, 25, 17], dtype=np.int64)
    alone = [stream.windows(sample, 1)[0].tolist() for sample in samples.tolist()]
    assert stream.read(samples).tokens.tolist() == alone


def test_seeds_and_epochs_differ(corpus: tuple[TokenSplit, list[int]]) -> None:
    one, other = TrainStream(corpus[0], 16, seed=1), TrainStream(corpus[0], 16, seed=2)
    first, count = one.windows(0, 20).tolist(), one.windows_per_epoch
    assert first != other.windows(0, 20).tolist()
    assert first != one.windows(count, 20).tolist()
    assert first == TrainStream(corpus[0], 16, seed=1).windows(0, 20).tolist()


@pytest.mark.parametrize("block_size", [455, 600, 908])
def test_a_corpus_of_a_single_window(block_size: int, corpus: tuple[TokenSplit, list[int]]) -> None:
    split, expected = corpus
    stream = TrainStream(split, block_size)
    assert stream.windows_per_epoch == 1
    for row in stream.windows(0, 3).tolist():
        assert "".join(map(chr, row)) in "".join(map(chr, expected))


def test_a_corpus_shorter_than_the_block_is_refused(corpus: tuple[TokenSplit, list[int]]) -> None:
    with pytest.raises(DataError, match=r"train split has 909 tokens.*got 909 \(allowed: block_size from 1 to 908\)"):
        TrainStream(corpus[0], 909)


@settings(max_examples=25, deadline=None)
@given(block_size=st.integers(1, 1000), batch_size=st.integers(1, 9), world=st.integers(1, 5))
def test_evaluation_predicts_every_token_exactly_once(
    block_size: int, batch_size: int, world: int, corpus: tuple[TokenSplit, list[int]]
) -> None:
    split, expected = corpus
    windows = EvaluationWindows(split, block_size)
    targets: dict[int, int] = {}
    batches = [list(windows.batches(batch_size, rank, world)) for rank in range(world)]
    assert {len(own) for own in batches} == {windows.num_batches(batch_size, world)}
    for rows in (batch for own in batches for batch in own):
        tokens, weights, position = rows.tokens, rows.weights, rows.position
        assert weights is not None
        assert tokens.shape == (batch_size, block_size + 1)
        assert weights.shape == (batch_size, block_size)
        assert set(np.unique(weights).tolist()) <= {0.0, 1.0}
        for row, column in zip(*np.nonzero(weights), strict=True):
            place = int((position + row) * block_size + column)
            assert place + 1 not in targets
            assert tokens[row, column] == expected[place]
            targets[place + 1] = int(tokens[row, column + 1])
    assert targets == dict(enumerate(expected[1:], start=1))


@pytest.mark.parametrize(("limit", "counted"), [(1, 100), (3, 300), (10, 908), (11, 908)])
def test_a_limit_counts_windows_whatever_the_batch(
    limit: int, counted: int, corpus: tuple[TokenSplit, list[int]]
) -> None:
    for batch_size in (1, 2, 7):
        windows = EvaluationWindows(corpus[0], 100, limit=limit)
        total = Counter[float]()
        for rows in windows.batches(batch_size):
            assert rows.weights is not None
            total.update(rows.weights.ravel().tolist())
        assert total[1.0] == counted

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.stream.mixed_stream import MixedStream
from gpt_lightning.data.stream.mixture import plan_phases
from gpt_lightning.data.stream.packing import Document
from gpt_lightning.data.stream.stream import TrainStream
from gpt_lightning.errors import DataError
from tests.data.stores import write_store

LENGTHS = {"small": [50], "middle": [300, 200], "large": [900] * 3}


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainStream]:
    place = tmp_path_factory.mktemp("mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
        splits = {
            name: write_store(place / name, lengths, seed=number)[0].split("train")
            for number, (name, lengths) in enumerate(LENGTHS.items())
        }
        return {name: TrainStream(split, 16, seed=number) for number, (name, split) in enumerate(splits.items())}


def mix(streams: dict[str, TrainStream], *weights: float, limits: tuple[int | None, ...] = (None,) * 3) -> MixedStream:
    shares = [float(weight) for weight in weights]
    return MixedStream(streams, plan_phases([(0, shares), (5000, shares[::-1])], limits), seed=3)


def test_each_source_is_read_in_its_own_order_without_gaps(streams: dict[str, TrainStream]) -> None:
    mixed = mix(streams, 0.01, 0.3, 0.69)
    sources, numbers = mixed.locate(np.arange(20_000, dtype=np.int64))
    for source, stream in enumerate(streams.values()):
        assert numbers[sources == source].tolist() == list(range(int((sources == source).sum())))
        assert stream.windows_per_epoch < len(numbers[sources == source])
    rows = mixed.windows(0, 6000).tolist()
    for source, stream in enumerate(streams.values()):
        own = [row for row, home in zip(rows, sources.tolist(), strict=False) if home == source]
        assert own == stream.windows(0, len(own)).tolist()


@settings(max_examples=15, deadline=None)
@given(samples=st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_a_sample_depends_on_its_number_alone(samples: list[int], streams: dict[str, TrainStream]) -> None:
    alone = [mix(streams, 1, 2, 3).windows(sample, 1)[0].tolist() for sample in samples]
    assert mix(streams, 1, 2, 3).read(np.array(samples, dtype=np.int64)).tokens.tolist() == alone


@pytest.mark.parametrize(("batch_size", "accumulate", "world"), [(12, 1, 1), (3, 2, 2), (1, 4, 3), (2, 6, 1)])
def test_the_order_is_the_same_for_any_world(
    batch_size: int, accumulate: int, world: int, streams: dict[str, TrainStream]
) -> None:
    mixed = mix(streams, 1, 2, 3)
    rows: dict[int, list[int]] = {}
    for rank in range(world):
        for batches in mixed.super_batches(
            411, 12, batch_size=batch_size, accumulate=accumulate, rank=rank, world=world, gather_batches=5
        ):
            for batch in batches:
                rows |= {batch.position + number: row for number, row in enumerate(batch.tokens.tolist())}
    first = 411 * 12
    assert [rows[number] for number in range(first, first + 144)] == mixed.windows(first, 144).tolist()


def test_the_sources_are_shuffled_among_each_other(streams: dict[str, TrainStream]) -> None:
    sources, _ = mix(streams, 1, 1, 1).locate(np.arange(4096, dtype=np.int64))
    runs = 1 + int((np.diff(sources) != 0).sum())
    assert abs(runs - 4096 * 2 / 3) < 150
    other, _ = MixedStream(streams, plan_phases([(0, [1.0, 1.0, 1.0])], [None] * 3), seed=4).locate(
        np.arange(4096, dtype=np.int64)
    )
    assert sources.tolist() != other.tolist()


def test_counts_are_those_of_the_samples(streams: dict[str, TrainStream]) -> None:
    """Within blocks, at their ends, where the weights change, and at the end of all sources."""
    caps = tuple(9 * stream.windows_per_epoch for stream in streams.values())
    for mixed in (mix(streams, 1e-4, 3e-4, 1), mix(streams, 1, 2, 3, limits=caps)):
        end = mixed.num_samples or 14_000
        sources, _ = mixed.locate(np.arange(end, dtype=np.int64))
        places = {*range(0, end, 997), 4096, 5000, 9096, end - 1, end}
        for samples in filter(end.__ge__, places):
            expected = np.bincount(sources[:samples], minlength=3).tolist()
            assert list(mixed.counts(samples).values()) == expected, samples


def test_epochs_and_the_end_of_capped_sources(streams: dict[str, TrainStream]) -> None:
    caps = tuple(2 * stream.windows_per_epoch for stream in streams.values())
    mixed = mix(streams, 1, 2, 3, limits=caps)
    assert mixed.num_samples is not None
    assert sum(caps) - 3 <= mixed.num_samples <= sum(caps)
    epochs = mixed.epochs(mixed.num_samples)
    assert all(1.5 < value <= 2 for value in epochs.values())
    mixed.check_length(mixed.num_samples)
    with pytest.raises(DataError, match=r"asks for 1000000 windows.*used up after \d+"):
        mixed.check_length(1_000_000)


def test_weights_and_documents_travel_along(tmp_path: Path) -> None:
    split = write_store(tmp_path / "s", [3, 9, 30])[0].split("train")
    streams = {
        name: TrainStream(split, 16, seed=seed, packing=Document(), documents=True) for seed, name in enumerate("ab")
    }
    mixed = MixedStream(streams, plan_phases([(0, [1.0, 1.0])], [None, None]), seed=0)
    rows = mixed.read(np.arange(8, dtype=np.int64))
    sources, numbers = mixed.locate(np.arange(8, dtype=np.int64))
    for place in range(8):
        own = streams["ab"[sources[place]]].read(numbers[place : place + 1])
        for name in ("tokens", "weights", "documents"):
            assert getattr(rows, name)[place].tolist() == getattr(own, name)[0].tolist()

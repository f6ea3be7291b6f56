"""The same tokens through other libraries' loaders, as far as this Python has them. Prints JSON.

Run by an interpreter of its own (BENCH_PEERS_PYTHON), since some of these libraries replace torch where they are
installed; hence nothing of ours is imported here.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BLOCK_SIZE, BATCH_SIZE, BATCHES, REPEATS = 1024, 8, 300, 5


def read_windows(path: str) -> Any:
    """Windows of a file in llm.c's format, ``(windows, time + 1)``."""
    header = np.fromfile(path, dtype="<i4", count=256)
    tokens = np.fromfile(path, dtype="<u2" if header[1] == 1 else "<u4", offset=1024)
    count = len(tokens) // (BLOCK_SIZE + 1)
    return tokens[: count * (BLOCK_SIZE + 1)].reshape(count, BLOCK_SIZE + 1)


def time_batches(open_batches: Callable[[], Iterable[Any]]) -> dict[str, float]:
    """Medians of rate and of the time to the first batch; a pass that ends early is started again."""

    def endless() -> Iterator[Any]:
        while True:
            yield from open_batches()

    first, rates = [], []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        batches = endless()
        next(batches)
        running = time.perf_counter()
        for _batch in itertools.islice(batches, BATCHES):
            pass
        rates.append(BATCHES * BATCH_SIZE * BLOCK_SIZE / (time.perf_counter() - running))
        first.append(running - begin)
    return {"tokens_per_second": statistics.median(rates), "first_ms": 1000 * statistics.median(first)}


def hugging_face(windows: Any, folder: Path) -> dict[str, dict[str, float]]:
    """``datasets``: shuffled map-style in batches, through a DataLoader, and iterable with a buffer of 1000."""
    datasets = importlib.import_module("datasets")
    loaders = importlib.import_module("torch.utils.data")
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value(windows.dtype.name), BLOCK_SIZE + 1)})
    made = datasets.Dataset.from_dict({"tokens": windows}, features=features)
    made.save_to_disk(str(folder / "hf"))
    stored = datasets.load_from_disk(str(folder / "hf"))
    return {
        "HF datasets, map-style": time_batches(
            lambda: stored.shuffle(seed=1).with_format("numpy").iter(batch_size=BATCH_SIZE)
        ),
        "HF datasets, DataLoader": time_batches(
            lambda: loaders.DataLoader(stored.with_format("torch"), batch_size=BATCH_SIZE, shuffle=True)
        ),
        "HF datasets, iterable": time_batches(
            lambda: (
                stored.to_iterable_dataset()
                .shuffle(seed=1, buffer_size=1000)
                .with_format("numpy")
                .iter(batch_size=BATCH_SIZE)
            )
        ),
    }


def litdata(windows: Any, folder: Path) -> dict[str, dict[str, float]]:
    """``litdata`` with its TokensLoader, shuffled, without workers."""
    library = importlib.import_module("litdata")
    streaming = importlib.import_module("litdata.streaming")
    torch = importlib.import_module("torch")
    loader = streaming.TokensLoader(block_size=BLOCK_SIZE + 1)
    cache = streaming.Cache(str(folder / "litdata"), chunk_bytes="64MB", item_loader=loader)
    for number, window in enumerate(windows):
        cache[number] = torch.from_numpy(window.astype(np.int32))
    cache.done()
    cache.merge()

    def batches() -> Iterable[Any]:
        data = library.StreamingDataset(str(folder / "litdata"), item_loader=loader, shuffle=True, drop_last=True)
        loaded: Iterable[Any] = library.StreamingDataLoader(data, batch_size=BATCH_SIZE, num_workers=0)
        return loaded

    return {"litdata TokensLoader": time_batches(batches)}


def mosaicml(windows: Any, folder: Path) -> dict[str, dict[str, float]]:
    """``streaming`` (mosaicml-streaming) over MDS shards on this disk, shuffled, without workers."""
    library = importlib.import_module("streaming")
    loaders = importlib.import_module("torch.utils.data")
    place = str(folder / "mds")
    with library.MDSWriter(out=place, columns={"tokens": f"ndarray:{windows.dtype.name}:{BLOCK_SIZE + 1}"}) as out:
        for window in windows:
            out.write({"tokens": window})
    library.base.util.clean_stale_shared_memory()
    data = library.StreamingDataset(local=place, shuffle=True, batch_size=BATCH_SIZE)
    return {"mosaicml streaming": time_batches(lambda: loaders.DataLoader(data, batch_size=BATCH_SIZE))}


PEERS = {"datasets": hugging_face, "litdata": litdata, "streaming": mosaicml}


def main(path: str) -> None:
    """Every peer that can be imported."""
    windows = read_windows(path)
    found: dict[str, dict[str, float]] = {}
    for module, peer in PEERS.items():
        if importlib.util.find_spec(module) is not None:
            folder = Path(tempfile.mkdtemp(prefix="peer-streams-"))
            try:
                found |= peer(windows, folder)
            finally:
                shutil.rmtree(folder)
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

"""What each way to stream costs, beside other libraries' loaders where they can be imported.

BENCH_PEERS_PYTHON names the interpreter of an environment that has them; never install them into this one, some
replace torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.bench.publish import ROOT, measure, publish

NOTES = """\
Block 1024, batch 8, shuffled, `builtin:stdlib` as bytes ({tokens:,} tokens, {documents:,} documents), one process, no
worker processes, ids as stored; medians of 5 passes with the file in the page cache. The other libraries read the same
windows in the same run. First batch: from making the stream. Far: first batch of a run that goes on after 10^9 steps.
Opening the store and its first batch together took {open_and_first_ms:.1f} ms; 10,000 batches changed the memory that
is not mapped from files by {growth_mb:.1f} MB. The machine was shared."""


def measure_peers(path: str) -> dict[str, dict[str, float]]:
    command = [os.environ.get("BENCH_PEERS_PYTHON", sys.executable), str(ROOT / "tests/bench/peer_streams.py"), path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, dict[str, float]] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.mark.bench
def test_stream() -> None:
    measured: Any = measure("stream_variants")
    facts = measured["facts"]
    peers = measure_peers(f"{facts['path']}/tokens-train-00000.bin")
    rows: list[list[object]] = [
        [name, found["tokens_per_second"] / 1e6, found["first_ms"], found.get("far_ms", "-")]
        for name, found in {**measured["variants"], **peers}.items()
    ]
    publish(
        "stream", "Ways to stream", ["loader", "M tokens/s", "first batch, ms", "far, ms"], rows, NOTES.format(**facts)
    )

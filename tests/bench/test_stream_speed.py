"""How fast windows come out of a prepared store."""

from __future__ import annotations

import pytest

from tests.bench.publish import measure, publish

NOTES = """\
Block 1024, batch 8, `builtin:stdlib` as bytes, one process, no worker processes, ids widened to int64 as training does;
medians of 7 passes over 500 batches with the file in the page cache. Opening includes the check that the store is still
what its inputs give. The machine was shared."""


@pytest.mark.bench
def test_stream() -> None:
    found = measure("stream_speed")
    rows: list[list[object]] = [
        ["tokens in the training split", found["store_tokens"]],
        ["open the store, ms", found["open_ms"]],
        ["first batch, ms", found["first_batch_ms"]],
        ["tokens/s, median", found["tokens_per_second"]],
        ["tokens/s, best", found["best_tokens_per_second"]],
    ]
    publish("stream_speed", "The training stream", ["quantity", "value"], rows, NOTES)

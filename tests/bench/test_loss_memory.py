"""What the loss takes on a CPU, whole and in pieces, beside torch's."""

from __future__ import annotations

import pytest

from tests.bench.loss_memory import VARIANTS, VOCAB_SIZE, WIDTH, measure_loss
from tests.bench.publish import measure, publish

POSITIONS = 2048

NOTES = f"""\
Head and cross-entropy with their gradients, {WIDTH} wide, {VOCAB_SIZE} ids, {POSITIONS} positions, fp32, two threads:
the second of two passes in a process of its own. Memory is the peak resident size beyond what there was before
(weights, their gradient, hidden states); all logits once are {POSITIONS * VOCAB_SIZE * 4 / 2**30:.2f} GiB. The peak of
"compiled" includes the compiler's own memory."""


@pytest.mark.bench
def test_memory_of_the_loss() -> None:
    rows: list[list[object]] = []
    for variant in VARIANTS:
        found = measure("loss_memory", variant, str(POSITIONS), threads=2)
        rows.append([variant, found["bytes"] / 2**30, found["seconds"], round(found["loss"], 6)])
    publish("loss_memory", "Memory of the loss", ["loss", "peak GiB", "seconds", "nats"], rows, NOTES)


def test_variants_agree() -> None:
    losses = [
        measure_loss(variant, 12, vocab_size=31, width=8)["loss"]
        for variant in ("whole", "chunk 5", "torch cross_entropy")
    ]
    assert losses == pytest.approx(losses[:1] * 3, rel=1e-6)

"""Fine-tuning beside trl, and its memory."""

from __future__ import annotations

import pytest

from tests.bench.publish import measure, publish

NOTES = """\
4 layers, 256 wide, like Llama, 2,000 pairs of neighbouring sentences of the built-in prose, loss on the answers alone,
AdamW, float32. `fit` packs them into 4 rows of 256 and keeps attention inside each; trl pads 16 rows to the longest, as
is its default. Tokens are those of the conversations, padding left out; a step is timed from its end to the next one's.
Whole runs take turns, "fit / trl" is the median over the turns. trl is in no extra: pip install trl."""

MEMORY = """\
GPT-2's 124M shape, 2 x 128 tokens, AdamW, one thread: resident memory above what the process had before the model, at
the peak of two steps and after the model was made; and the size of a checkpoint with the optimizer's state. LoRA: r = 8
on all linear layers."""


@pytest.mark.bench
def test_beside_trl() -> None:
    for name in ("trl", "peft", "datasets"):
        pytest.importorskip(name)
    rows: list[list[object]] = []
    for threads in (1, 2):
        found = measure("peers_finetune", threads=threads)
        for name in ("sft", "lora"):
            speeds = found[name]["speeds"]
            rows.append([name, threads, speeds["fit"], speeds["trl"], found[name]["ratio"]])
    columns = ["what", "threads", "fit tokens/s", "trl tokens/s", "fit / trl"]
    publish("peers_finetune", f"Fine-tuning beside trl {found['trl']}", columns, rows, NOTES)


@pytest.mark.slow
def test_memory_of_an_adapter() -> None:
    """At most half of what full fine-tuning takes, and a checkpoint of at most 20 MB."""
    found = {kind: measure("finetune_memory", kind, threads=1) for kind in ("full", "lora", "int8")}
    rows = [[kind, *(each[key] / 1e6 for key in ("peak", "resting", "checkpoint"))] for kind, each in found.items()]
    publish(
        "finetune_memory", "Memory of fine-tuning", ["what", "peak MB", "resting MB", "checkpoint MB"], rows, MEMORY
    )
    assert found["lora"]["peak"] <= 0.5 * found["full"]["peak"]
    assert found["int8"]["peak"] < 0.9 * found["lora"]["peak"]
    assert found["lora"]["checkpoint"] <= 20e6 < found["full"]["checkpoint"]

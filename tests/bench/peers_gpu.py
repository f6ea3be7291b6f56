"""``fit`` beside a loop in nanoGPT's manner on one GPU, compiled, bfloat16 by autocast, taking turns. Prints JSON.

For every loop: tokens per second, model-FLOPs utilisation of the matrix peak measured in the same process, and the
memory it needs alone: what its turn takes beyond what all loops hold, and its own weights, gradients and state.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpt_lightning.model.flops import count_training_flops, measure_matrix_peak
from gpt_lightning.model.presets import PRESETS
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import Run
from tests.bench.nano_gpt import NanoGPT, NanoLoop
from tests.bench.publish import SEED
from tests.bench.turns import Loop, Turns, read_tokens


@dataclass(frozen=True)
class Size:
    """One row of the table.

    Attributes:
        config: Of the model.
        batch_size: Windows per step; halved until they fit.
        block_size: Positions per window.
    """

    config: dict[str, Any]
    batch_size: int
    block_size: int = 1024


SIZES = {
    "gpt2": Size(PRESETS["gpt2"], 64),
    "gpt2-medium": Size(PRESETS["gpt2-medium"], 32),
    "gpt2-large": Size(PRESETS["gpt2-large"], 24),
    "gpt2-xl": Size(PRESETS["gpt2-xl"], 16),
}
_SEGMENT = 4
_BYTES_AT_REST = {"fit": 16, "nano": 12}
"""Per weight: itself and two moments, each of four bytes; ``fit`` keeps the gradients until the next step."""


def compare(
    size: Size,
    *,
    batch_size: int,
    turns: int,
    accelerator: str = "cuda",
    precision: str = "bf16-mixed",
    source: str = "builtin:pydoc",
) -> dict[str, Any]:
    """Measure one size.

    Args:
        size: Model and window.
        batch_size: Windows per step.
        turns: Counted turns of each loop, after two that compile and settle.
        accelerator: Where; ``cpu`` tests the logic, and compiles nothing.
        precision: Of ``fit``; the other loop uses autocast on CUDA.
        source: Text, which does not matter.
    """
    on_cuda = accelerator == "cuda"
    steps = (turns + 2) * _SEGMENT + 1
    settings = {
        "model.config": {**size.config, "vocab_multiple": 128},
        "model.compile": on_cuda,
        "model.schedule.warmup": 1,
        "data": {"source": source, "tokenizer": "bytes"},
        "data.block_size": size.block_size,
        "data.batch_size": batch_size,
        "trainer": {"accelerator": accelerator, "devices": 1, "precision": precision, "gradient_clip_val": 1.0},
        "trainer.max_steps": steps,
        "seed_everything": SEED,
    }
    peak = measure_matrix_peak(torch.device(accelerator), torch.bfloat16 if on_cuda else torch.float32, seconds=0.5)
    run = build(settings)
    clock = Turns({"nano": make_nano(run, on_cuda=on_cuda)}, segment=_SEGMENT, warmup=2)
    with tempfile.TemporaryDirectory() as folder:
        run.rehearse(Path(folder), steps, clock)
    return summarise(run, clock, peak)


def make_nano(run: Run, *, on_cuda: bool) -> Callable[[], Loop]:
    """The rival: 50304 rows for 50257 ids, as in nanoGPT, compiled as a whole, fused AdamW."""
    tokens, data, config = read_tokens(run), run.datamodule, run.module.config

    def make() -> Loop:
        with torch.device("cuda" if on_cuda else "cpu"):
            model = NanoGPT(config, config.padded_vocab_size)
        return NanoLoop(model, tokens, block_size=data.block_size, batch_size=data.batch_size, compiled=on_cuda)

    return make


def summarise(run: Run, clock: Turns, peak: float) -> dict[str, Any]:
    """Rates from median steps."""
    tokens, weights = run.plan.horizon.tokens_per_step, run.module.config.num_parameters
    flops = count_training_flops(run.module.config, run.datamodule.block_size)
    loops = {}
    for name, found in clock.summary("nano").items():
        rate = tokens / found["median"]
        memory = found["memory"] + _BYTES_AT_REST[name] * weights
        loops[name] = {"tokens_per_second": rate, "mfu": rate * flops / peak, "memory": memory, "speed": found["speed"]}
    return {"batch_size": run.datamodule.batch_size, "peak": peak, "loops": loops}


def compare_largest(size: Size, turns: int, **options: Any) -> dict[str, Any]:
    """``compare`` with the largest batch that fits: ``size.batch_size``, or a half of it, or a quarter, ..."""
    batch_size = size.batch_size
    while True:
        try:
            return compare(size, batch_size=batch_size, turns=turns, **options)
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
        # Outside the handler: the exception's frames hold the tensors of the failed try.
        batch_size //= 2
        torch.cuda.empty_cache()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("turns", type=int)
    chosen = parser.parse_args()
    sys.stdout.write(json.dumps(compare_largest(SIZES[chosen.size], chosen.turns)) + "\n")

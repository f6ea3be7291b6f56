"""What prompt lookup saves: the same greedy texts with and without guesses, in turns within one process. Prints JSON.

The processor's time is counted, not the clock, so that whatever else the machine does weighs less. Texts must be equal
to the last token, or the comparison ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch

from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import pack
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.loading import load_model
from tests.bench.publish import SEED

_PROMPTS = (
    "The method append(x) adds x to the list. The method extend(x) adds all of x to the list. The method insert(i, x)",
    "a = read(1)\nb = read(2)\nc = read(3)\nd = read(4)\ne = read(5)\nf = ",
    "If the file does not exist, an error is raised. If the file cannot be read, an error is raised. If the file",
)
"""Texts that repeat themselves, as code and manuals do."""


def write(engine: Engine, prompts: list[list[int]], count: int, guesses: int) -> tuple[list[list[int]], int, float]:
    """Texts, passes of the model over new tokens, and seconds of the processor."""
    texts, passes, begin = [], 0, time.process_time()
    for prompt in prompts:
        text: list[int] = []
        request = Request(
            prompt, max_tokens=count, sampling=Sampling(temperature=0.0), draft_tokens=guesses, stop_ids=()
        )
        for event in engine.stream(request):
            text += event.ids
            passes += 1
        texts.append(text)
    return texts, passes, time.process_time() - begin


def compare(engine: Engine, prompts: list[list[int]], count: int, guesses: list[int], turns: int) -> dict[str, Any]:
    """Tokens per pass and the quotient of the times, for every number of guesses."""
    seconds: dict[int, list[float]] = {number: [] for number in (0, *guesses)}
    passes: dict[int, int] = {}
    expected, _, _ = write(engine, prompts, count, 0)  # also warms up
    for _ in range(turns):
        for number in seconds:
            texts, passes[number], spent = write(engine, prompts, count, number)
            assert texts == expected, "guesses changed a text"
            seconds[number].append(spent)
    written = sum(map(len, expected))
    return {
        str(number): {
            "tokens per pass": round(written / passes[number], 2),
            "CPU ms per token": round(1000 * statistics.median(spent) / written, 2),
            "times faster": round(statistics.median(a / b for a, b in zip(seconds[0], spent, strict=True)), 2),
        }
        for number, spent in seconds.items()
    }


def main() -> None:
    """A trained model on the prompts above, or GPT-2's shape with random weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="a run, or gpt2 for its shape with random weights")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--guesses", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    if options.model == "gpt2":
        generator = torch.Generator().manual_seed(SEED)
        model = GPT(GPTConfig.preset("gpt2"), generator)
        prompts = [torch.randint(50257, (64,), generator=generator).tolist() for _ in range(2)]
    else:
        loaded = load_model(options.model)
        model = loaded.model
        prompts = [loaded.tokenizer.encode(text).tolist() for text in _PROMPTS]
    engine = Engine(pack(model), slots=1)
    print(json.dumps(compare(engine, prompts, options.count, options.guesses, options.turns)))


if __name__ == "__main__":
    main()

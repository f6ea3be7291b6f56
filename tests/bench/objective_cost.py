"""What a step of each objective costs beside one of next-token prediction, on the same tokens: steps in turns.

python -m tests.bench.objective_cost TURNS
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch

from gpt_lightning.batch import Batch
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Objective
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.infilling import FillInTheMiddle
from gpt_lightning.objectives.corruptions.masked import MaskedLM, NextTokenMasked
from gpt_lightning.objectives.corruptions.prefix import PrefixLM
from gpt_lightning.objectives.corruptions.spans import SpanCorruption
from gpt_lightning.objectives.mixture import UL2
from tests.objectives.applying import apply

TIME, ROWS, VOCAB = 128, 4, 256
OBJECTIVES: list[Objective] = [
    CausalLM(),
    MaskedLM(),
    NextTokenMasked(),
    PrefixLM(),
    FillInTheMiddle(max_documents=1),
    SpanCorruption(max_documents=1),
    UL2(max_documents=1),
]


def _seconds(objective: Objective, model: GPT, batch: Batch) -> float:
    start = time.process_time()
    torch.autograd.backward(apply(objective, model, batch, VOCAB).loss)
    model.zero_grad()
    return time.process_time() - start


def measure_costs(turns: int) -> dict[str, tuple[float, float]]:
    """CPU seconds of a forward and backward pass, and how many times the causal one of its turn: medians."""
    room = max(each.needs(GPTConfig(block_size=TIME)).room for each in OBJECTIVES)
    config = GPTConfig(n_layer=4, n_head=4, n_embd=128, block_size=TIME + room, vocab_size=VOCAB + 200)
    model = GPT(config, torch.Generator().manual_seed(0))
    batch = Batch(torch.randint(1, VOCAB, (ROWS, TIME + 1), generator=torch.Generator().manual_seed(1)), position=0)
    taken = [[_seconds(each, model, batch) for each in OBJECTIVES] for _ in range(turns + 1)][1:]
    names = [type(each).__name__ for each in OBJECTIVES]
    return {
        name: (statistics.median(turn[place] for turn in taken), statistics.median(t[place] / t[0] for t in taken))
        for place, name in enumerate(names)
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure_costs(int(sys.argv[1]))))

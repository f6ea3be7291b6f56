"""Compiled decoders under every objective: one graph, and none more after the second step."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import torch
from torch._dynamo.utils import counters

from gpt_lightning.batch import Batch
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.infilling import FillInTheMiddle
from gpt_lightning.objectives.corruptions.masked import MaskedLM, NextTokenMasked
from gpt_lightning.objectives.corruptions.prefix import PrefixLM
from gpt_lightning.objectives.corruptions.spans import SpanCorruption
from gpt_lightning.objectives.contrastive import ContrastivePredictive, Regression
from gpt_lightning.objectives.mixture import UL2, Mixture, Part
from gpt_lightning.objectives.multi_token import MultiToken
from tests.objectives.applying import apply

mixture = Mixture({"clm": Part(CausalLM()), "masked": Part(MaskedLM()), "spans": Part(SpanCorruption())})
objectives = [CausalLM(), PrefixLM(), MaskedLM(), NextTokenMasked(), FillInTheMiddle(), SpanCorruption(), mixture]
objectives += [UL2(), MultiToken(2), MultiToken(2, "parallel"), ContrastivePredictive(), Regression()]
for objective in objectives:
    name, time = type(objective).__name__, 24
    needs = objective.needs(GPTConfig(block_size=time))
    sizes = dict(vocab_size=50 + len(needs.special_tokens), block_size=time + needs.room)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=16, **sizes), torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    counters.clear()
    model.compile(backend="eager", fullgraph=True)  # the graphs are what is counted, not their kernels
    graphs = []
    for step in range(5):
        tokens = torch.randint(1, 50, (3, time + 1), generator=torch.Generator().manual_seed(step))
        documents = (torch.arange(time + 1) > 5 + step).int().expand(3, time + 1)
        batch = Batch(tokens, documents=documents, position=3 * step)
        apply(objective, model, batch, 50).loss.backward()
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[1:] == graphs[1:2] * 4, (name, graphs)
    assert not counters["graph_break"], (name, dict(counters["graph_break"]))
    print(name, graphs)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_graph_break_and_no_recompilation_after_the_second_step() -> None:
    # A process of its own: the compiler cannot trace through the run-time type checks of the test session.
    finished = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("[1, 1, 1, 1, 1]") == 12, finished.stdout

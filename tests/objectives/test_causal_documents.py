"""With document numbers, a packed batch has the loss and gradients of a loop over its documents, one at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.data.stream.packing import Document, Pack, Packing
from gpt_lightning.data.stream.stream import EvaluationWindows
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.causal import CausalLM
from tests.data.stores import write_store
from tests.objectives.applying import apply

_CONFIG = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=24, vocab_size=257)


def build() -> GPT:
    return GPT(_CONFIG, torch.Generator().manual_seed(0)).double()


def gradients(model: GPT) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def run_alone(model: GPT, documents: list[Tensor], weights: list[Tensor]) -> tuple[float, float]:
    """Weighted mean loss of documents that never meet, with its gradient; and the sum of the weights."""
    total = sum(float(weight.sum()) for weight in weights)
    loss = 0.0
    for document, weight in zip(documents, weights, strict=True):
        if len(document) > 1 and weight.sum() > 0:
            output = apply(CausalLM(), model, Batch(document[None], weight[None]))
            share = output.loss * (output.weight / total)
            torch.autograd.backward(share)
            loss += share.item()
    return loss, total


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradients_equal_a_loop_over_documents(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(257, (3, 25), generator=generator)
    lengths = [[25], [5, 1, 12, 7], [2, 2, 20, 1]]
    documents = torch.stack([torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row)) for row in lengths])
    weights = torch.rand(3, 24, generator=generator, dtype=torch.float64) if weighted else None
    if weights is not None:
        weights *= documents[:, 1:] == documents[:, :-1]
    together = build()
    output = apply(CausalLM(), together, Batch(tokens, weights, documents.int()))
    torch.autograd.backward(output.loss)
    alone, pieces, piece_weights = build(), list[Tensor](), list[Tensor]()
    own = torch.ones(3, 24, dtype=torch.float64) if weights is None else weights
    for row, sizes in enumerate(lengths):
        start = 0
        for size in sizes:
            pieces.append(tokens[row, start : start + size])
            piece_weights.append(own[row, start : start + size - 1])
            start += size
    loss, weight = run_alone(alone, pieces, piece_weights)
    assert output.loss.item() == pytest.approx(loss, rel=1e-12)
    assert output.weight.item() == pytest.approx(weight, rel=1e-6)
    ours, theirs = gradients(together), gradients(alone)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("packing", [Pack(), Document()], ids=["pack", "document"])
def test_a_packed_store_measures_its_documents_alone(packing: Packing, tmp_path: Path) -> None:
    """Every document is shorter than a row here, so that none is cut."""
    lengths = [3, 0, 20, 7, 1, 15, 12, 12, 5]
    store, expected = write_store(tmp_path / "s", lengths, shard_tokens=40)
    split, model = store.split("train"), build()
    outputs: list[LossOutput] = []
    with torch.no_grad():
        for rows in EvaluationWindows(split, 24, packing=packing, documents=True).batches(2):
            assert rows.weights is not None
            assert rows.documents is not None
            weights, documents = torch.from_numpy(rows.weights).double(), torch.from_numpy(rows.documents)
            batch = Batch(torch.from_numpy(rows.tokens).long(), weights, documents)
            outputs.append(apply(CausalLM(), model, batch))
    ended = [[*part.tolist(), split.eot_id] for part in np.split(np.array(expected), split.document_ends[:-1])]
    pieces = [torch.tensor(part) for part in ended if len(part) > 2]
    loss, weight = run_alone(build(), pieces, [torch.ones(len(piece) - 1, dtype=torch.float64) for piece in pieces])
    total = sum(float(output.weight) for output in outputs)
    assert total == weight == sum(length + 1 for length in lengths if length)
    assert sum(float(output.loss * output.weight) for output in outputs) / total == pytest.approx(loss, rel=1e-12)

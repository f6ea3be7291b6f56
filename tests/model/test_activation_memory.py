"""Blocks that are computed twice: the same numbers, fewer bytes kept for the backward pass."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from gpt_lightning.model.cache import KeyValueCache
from gpt_lightning.model.gpt import GPT
from tests.model.options import EVERYTHING, draw_tokens, small_config


def train_once(every: int | None, compiled: bool = False, **changes: Any) -> tuple[int, list[torch.Tensor]]:
    """Bytes kept for the backward pass (each storage once), and the loss with all gradients."""
    model = GPT(small_config(**{"dropout": 0.3, **changes}), torch.Generator().manual_seed(0))
    model.checkpoint_every = every
    if compiled:
        model.compile(fullgraph=True)
    owned = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = draw_tokens(8)
    torch.manual_seed(5)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = F.cross_entropy(model.logits(model(tokens[:, :-1])).flatten(0, 1), tokens[:, 1:].flatten())
        measured = sum(kept.values())  # the backward pass keeps things too, for a moment
    torch.autograd.backward(loss)
    gradients = [parameter.grad for parameter in model.parameters()]
    return measured, [loss.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["gpt2", "everything"])
@pytest.mark.parametrize("every", [1, 2])
def test_loss_and_gradients_are_the_same_bits(changes: dict[str, Any], every: int) -> None:
    _, expected = train_once(None, n_layer=4, **changes)
    _, found = train_once(every, n_layer=4, **changes)
    assert len(found) == len(expected) > 20
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_what_is_kept_grows_by_one_input_for_every_block() -> None:
    """A block keeps its input (batch x time x embed floats) and 10 to 20 times that without the option."""
    row = 8 * 11 * 16 * 4
    kept = {every: train_once(every, n_layer=8)[0] - train_once(every, n_layer=4)[0] for every in (None, 2, 1)}
    every_block, every_second, none = kept[1] / 4 / row, kept[2] / 4 / row, kept[None] / 4 / row
    assert every_block < 1.5
    assert none > 12
    assert every_second == pytest.approx((none + every_block) / 2, rel=0.1)


def test_only_training_recomputes() -> None:
    model = GPT(small_config(), torch.Generator().manual_seed(0))
    tokens, cache = draw_tokens(), KeyValueCache(2, 12)
    expected = model(tokens)
    model.checkpoint_every = 1
    torch.testing.assert_close(model(tokens, cache), expected)
    assert cache.length == tokens.shape[1]


_COMPILED = """
import sys
sys.path.insert(0, {root!r})
from tests.model.test_activation_memory import train_once
import torch
from tests.model.options import EVERYTHING, MODERN

for changes in ({{}}, MODERN, EVERYTHING):
    _, expected = train_once(None, dropout=0.0, **changes)
    kept, found = train_once(1, compiled=True, dropout=0.0, **changes)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert kept < train_once(None, compiled=True, dropout=0.0, **changes)[0]
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_compiled_blocks_recompute_too(request: pytest.FixtureRequest) -> None:
    # A process of its own: the compiler cannot trace through the run-time type checks of the test session.
    program = _COMPILED.format(root=str(request.config.rootpath))
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr

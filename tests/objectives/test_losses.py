"""The loss in pieces equals the loss at once, with its gradients, and never has all logits."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpt_lightning.batch import Batch
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.causal import CausalLM
from tests.objectives.applying import apply

_TOKENS = torch.randint(7, (3, 7), generator=torch.Generator().manual_seed(1))
_WEIGHTS = torch.rand(3, 6, generator=torch.Generator().manual_seed(2))


def _build(**changes: Any) -> GPT:
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 6, "vocab_size": 7}
    return GPT(GPTConfig(**{**sizes, **changes}), torch.Generator().manual_seed(0))


def _run(model: GPT, chunk_size: int | None) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    output = apply(CausalLM(chunk_size=chunk_size), model, Batch(tokens=_TOKENS, weights=_WEIGHTS))
    torch.autograd.backward(output.loss)
    assert output.losses is not None
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return output.loss.detach(), output.losses, gradients


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False, "logit_softcap": 1.0, "vocab_multiple": 4}], ids=str)
@pytest.mark.parametrize("chunk_size", [1, 5, 6, 18, 100])
def test_pieces_give_the_same_loss_and_gradients(chunk_size: int, changes: dict[str, Any]) -> None:
    model = _build(**changes).double()
    loss, losses, gradients = _run(model, None)
    chunked_loss, chunked_losses, chunked_gradients = _run(model, chunk_size)
    torch.testing.assert_close(chunked_loss, loss, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(chunked_losses, losses, rtol=1e-6, atol=1e-9)
    assert len(gradients) == len(list(model.parameters()))
    torch.testing.assert_close(chunked_gradients, gradients, rtol=1e-5, atol=1e-9)


class _LargestLogits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Rows of the largest tensor that has the vocabulary as its last axis."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.ndim >= 2 and result.shape[-1] == 29:
            self.rows = max(self.rows, result.shape[:-1].numel())
        return result


@pytest.mark.parametrize(("chunk_size", "rows"), [(None, 18), (4, 8)])
def test_all_logits_never_exist_at_once(chunk_size: int | None, rows: int) -> None:
    # 8 = n_embd: the transposed head has so many rows; the 4 rows of a piece are below.
    with _LargestLogits() as largest:
        _run(_build(vocab_size=29, logit_softcap=5.0), chunk_size)
    assert largest.rows == rows


def test_pieces_leave_the_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    _run(_build(), 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_low_precision_is_compared_in_single_precision() -> None:
    model = _build().bfloat16()
    batch = Batch(tokens=_TOKENS)
    assert apply(CausalLM(chunk_size=4), model, batch).loss.dtype == torch.float32


def test_a_piece_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="chunk_size is not positive: got 0"):
        CausalLM(chunk_size=0)


_COMPILED = """
import torch
from gpt_lightning.batch import Batch
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives import losses
from gpt_lightning.objectives.causal import CausalLM
from tests.objectives.applying import apply

sizes = dict(n_layer=1, n_head=2, n_embd=16, vocab_size=11, vocab_multiple=8, logit_softcap=5.0)
seen = []
compare = losses._compare
losses._compare = lambda *args: seen.append(torch.compiler.is_compiling()) or compare(*args)
for block_size in (6, 140):  # below and above the length up to which attention is written out
    tokens = torch.randint(11, (2, block_size + 1), generator=torch.Generator().manual_seed(3))
    for chunk_size in (None, 4):
        model = GPT(GPTConfig(**sizes, block_size=block_size), torch.Generator().manual_seed(0))
        found = {}
        for way in ("plain", "compiled"):
            if way == "compiled":
                model.compile()
            model.zero_grad()
            loss = apply(CausalLM(chunk_size=chunk_size), model, Batch(tokens=tokens)).loss
            loss.backward()
            found[way] = (loss, [parameter.grad.clone() for parameter in model.parameters()])
        torch.testing.assert_close(found["compiled"], found["plain"], rtol=1e-5, atol=1e-6)
assert seen.count(True) > 0, seen
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_loss_agrees() -> None:
    # A process of its own: the compiler cannot trace through the run-time type checks of the test session.
    finished = subprocess.run([sys.executable, "-c", _COMPILED], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr

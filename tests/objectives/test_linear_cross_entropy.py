"""The head and its loss in one operation equal torch's two, and hold the logits once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gpt_lightning.batch import Batch
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.linear_cross_entropy import linear_cross_entropy
from tests.objectives.applying import apply

_CLASSES, _ROWS, _POSITIONS = 29, 32, 6


def _inputs(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = scale * torch.randn(_POSITIONS, 8, dtype=dtype, generator=generator)
    weight = torch.randn(_ROWS, 8, dtype=dtype, generator=generator)
    targets = torch.randint(_CLASSES, (_POSITIONS,), generator=generator)
    targets[1] = targets[0]
    return hidden.requires_grad_(), weight.requires_grad_(), targets


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_losses_and_gradients_are_torchs(scale: float) -> None:
    hidden, weight, targets = _inputs(scale=scale)
    importance = torch.arange(_POSITIONS, dtype=torch.float64)
    found = linear_cross_entropy(hidden, weight, targets, _CLASSES)
    expected = F.cross_entropy(F.linear(hidden, weight[:_CLASSES]), targets, reduction="none")
    torch.testing.assert_close(found, expected)
    assert found.max() > scale
    gradients = torch.autograd.grad((importance * found).sum(), (hidden, weight))
    torch.testing.assert_close(gradients, torch.autograd.grad((importance * expected).sum(), (hidden, weight)))
    assert torch.equal(gradients[1][_CLASSES:], torch.zeros(_ROWS - _CLASSES, 8, dtype=torch.float64))


def test_only_what_is_asked_for_is_computed() -> None:
    hidden, weight, targets = _inputs()
    linear_cross_entropy(hidden.detach(), weight, targets, _CLASSES).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    linear_cross_entropy(hidden, weight.detach(), targets, _CLASSES).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None


def test_its_gradient_is_given_once() -> None:
    hidden, weight, targets = _inputs()
    total = linear_cross_entropy(hidden, weight, targets, _CLASSES).sum()
    torch.autograd.backward(total, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(total)
    total = linear_cross_entropy(hidden, weight, targets, _CLASSES).square().sum()
    (gradient,) = torch.autograd.grad(total, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(gradient.sum())


class _LogitTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Where in memory tensors lie that have one number per class and position."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.numel() == _CLASSES * _POSITIONS:
            self.kept.append(result)  # alive, so that no other tensor gets its place
        return result


def test_the_logits_exist_once() -> None:
    hidden, weight, targets = _inputs()
    with _LogitTensors() as seen:
        linear_cross_entropy(hidden, weight, targets, _CLASSES).sum().backward()  # type: ignore[no-untyped-call]
    assert len({tensor.untyped_storage().data_ptr() for tensor in seen.kept}) == 1


@pytest.mark.parametrize("changes", [{}, {"logit_softcap": 5.0}, {"tie_embeddings": False}], ids=str)
@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
def test_taken_only_where_nothing_else_happens_to_logits(
    precision: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def note(*args: Any) -> Tensor:
        taken.append(1)
        return linear_cross_entropy(*args)

    monkeypatch.setattr("gpt_lightning.objectives.losses.linear_cross_entropy", note)
    config = GPTConfig(n_layer=1, n_head=1, n_embd=8, vocab_size=_CLASSES, block_size=6, **changes)
    model = GPT(config, torch.Generator().manual_seed(0))
    tokens = torch.randint(_CLASSES, (2, 7), generator=torch.Generator().manual_seed(1))
    if precision == "bfloat16":
        model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        loss = apply(CausalLM(), model, Batch(tokens=tokens)).loss
        logits = model.logits(model(tokens[:, :-1])).float()
    torch.testing.assert_close(loss, F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))
    assert bool(taken) == (precision == "float32" and "logit_softcap" not in changes)


def test_a_head_of_another_class_is_called() -> None:
    class Doubling(nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            return 2 * super().forward(hidden)

    config = GPTConfig(n_layer=1, n_head=1, n_embd=8, vocab_size=_CLASSES, block_size=6, tie_embeddings=False)
    model = GPT(config, torch.Generator().manual_seed(0))
    model.head = Doubling(8, _CLASSES, bias=False)
    tokens = torch.randint(_CLASSES, (2, 7), generator=torch.Generator().manual_seed(1))
    logits = model.logits(model(tokens[:, :-1]))
    expected = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(apply(CausalLM(), model, Batch(tokens=tokens)).loss, expected)

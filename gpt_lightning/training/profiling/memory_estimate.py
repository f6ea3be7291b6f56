"""How much memory a training step takes, found by running it without data or memory.

Two steps of the real model, objective and optimizer are run on tensors that have a shape and no content (torch's
``FakeTensorMode``); every storage that an operation makes is counted from its birth to its death. So an option costs
what its code does: there is no formula for each of them that could drift from it.

Not counted: what kernels use inside, the allocator's rounding and gaps, the CUDA context (about half a GiB), what
``torch.compile`` saves, and the shares that several processes hold of a sharded model.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.batch import Batch
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Learner, Objective
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.optim.clipping import measure_gradients
from gpt_lightning.optim.groups import join_extras
from gpt_lightning.optim.optimizers import OptimizerRecipe
from gpt_lightning.optim.parametrization import Parametrization, Standard


@dataclass(frozen=True)
class StepSpec:
    """What a step consists of.

    Attributes:
        config: Architecture, sizes known.
        objective: The loss, with what it trains beside the decoder.
        told: What the run tells the objective. Without ``texts``: their tables would be kept, and have no content.
        optimizer: The optimizer's recipe.
        parametrization: What it says about widths.
        batch_size: Windows of a micro-batch.
        block_size: Positions of a window.
        accumulate: Micro-batches of a step; from 2 on, gradients are there during the backward pass.
        checkpoint_every: ``model.checkpoint_activations``.
        averaged: Whether a mean of the weights is kept beside the optimizer's state.
        adaptation: What of the decoder is trained; None = all of it.
        device: Type of the device.
        dtype: Of weights and state.
        context: Makes the precision's context around the forward pass.
    """

    config: GPTConfig
    objective: Objective
    optimizer: OptimizerRecipe
    told: Context = field(default_factory=Context)
    parametrization: Parametrization = Standard()  # noqa: RUF009 (no state)
    batch_size: int = 8
    block_size: int = 1024
    accumulate: int = 1
    checkpoint_every: int | None = None
    averaged: bool = False
    adaptation: Adaptation | None = None
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the device of one process.

    Attributes:
        weights: Parameters and buffers.
        gradients: One for each parameter that is trained.
        optimizer: The optimizer's state.
        average: A mean of the weights kept beside it.
        activations: What the forward pass keeps for the backward pass, logits included.
        logits: The largest tensor as wide as the vocabulary: one copy of the logits that exist at a time.
        peak: All at the worst moment; more than the parts where backward or update need room, or less where the
            gradients come only as activations go.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    logits: int
    peak: int


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all storages that operations have made and that still live."""

    def __init__(self, vocab_sizes: Sequence[int], positions: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.logits = 0
        self._vocab_sizes, self._positions = vocab_sizes, positions
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._watch(tensor)
        return result

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.now += self._sizes[key]
        self.peak = max(self.peak, self.now)
        # A loss on a CPU lays them class by class; the head itself has as many rows, but not of so many positions.
        by_class = tensor.ndim == 2 and tensor.shape[1] == self._positions and tensor.shape[0] in self._vocab_sizes
        if by_class or (tensor.shape and tensor.shape[-1] in self._vocab_sizes):
            self.logits = max(self.logits, self._sizes[key])
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def estimate_memory(spec: StepSpec) -> MemoryEstimate:
    """Run two steps on tensors without content; the second is the first that has gradients and state to carry.

    Raises:
        RuntimeError: An operation asks for values, which are not there (an objective or a class of the user's own).
    """
    with torch.device("meta"):
        model = GPT(spec.config).to(spec.dtype)
        extras = spec.objective.build_extras(spec.config, spec.told).to(spec.dtype)
    if spec.adaptation is not None:
        spec.adaptation.attach(model)
    model.train()
    model.checkpoint_every = spec.checkpoint_every
    vocab_sizes = [spec.config.data_sizes()[0], spec.config.padded_vocab_size]
    live = _LiveBytes(vocab_sizes, spec.batch_size * spec.block_size)
    with FakeTensorMode(), live:
        _materialize(model, spec.device)
        _materialize(extras, spec.device)
        weights = live.now
        whole = model if not extras else join_extras(model, extras, spec.objective.roles())
        optimizer = spec.optimizer.build(whole, spec.parametrization)
        trained: list[Tensor] = [parameter for parameter in whole.parameters() if parameter.requires_grad]
        learner = Learner(model, extras, spec.told)
        activations = 0
        for _ in range(2):
            activations = _run_step(spec, learner, optimizer, trained, live)
        gradients = _bytes([parameter.grad for parameter in trained])
        state = _bytes(tree_leaves([list(entry.values()) for entry in optimizer.state.values()]))
        widths = [max(4, parameter.element_size()) * parameter.numel() for parameter in trained]
        average = sum(widths) if spec.averaged else 0  # callbacks.ema keeps it in float32 at least
        return MemoryEstimate(weights, gradients, state, average, activations, live.logits, live.peak + average)


def _materialize(model: nn.Module, device: str) -> None:
    """Give every parameter and buffer a tensor of the present mode on ``device``."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
                module._parameters[name] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)


def _run_step(
    spec: StepSpec, learner: Learner, optimizer: torch.optim.Optimizer, trained: list[Tensor], live: _LiveBytes
) -> int:
    """One optimizer step in Lightning's order: the old gradients are dropped only after the first forward pass."""
    kept = 0
    # More than two micro-batches meet nothing that the second has not met.
    for micro in range(min(spec.accumulate, 2)):
        tokens = torch.zeros(spec.batch_size, spec.block_size + 1, dtype=torch.int64, device=spec.device)
        before = live.now
        with spec.context():
            rows = torch.arange(spec.batch_size, device=spec.device)
            output = spec.objective(learner, Batch(tokens=tokens), Draws(0, rows))
        kept = max(kept, live.now - before)
        if micro == 0:
            optimizer.zero_grad(set_to_none=True)
        loss = output.loss
        del output
        torch.autograd.backward(loss)
        del loss, tokens
    measure_gradients(trained)  # clipping itself takes no room
    optimizer.step()
    return kept


def _bytes(tensors: Sequence[Any]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors if isinstance(tensor, Tensor))

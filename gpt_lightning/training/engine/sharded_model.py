"""A decoder spread over processes: which numbers of which parameter are here, and how they come in.

Two ways of spreading, one inside the other::

    tensor parallel     a process computes some of the heads and channels   (model.tensor_parallel)
    FSDP2               of what is left, it keeps some of the rows; before a block runs, its rows are gathered from
                        the other processes, and gradients go back as means over them  (torch's fully_shard)

With one process in either direction that way changes nothing, so there is one path for all of them. All numbers come
in and go out as boxes in coordinates of the whole model; nobody ever holds more of it than one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from gpt_lightning.checkpoints.pieces import Box, Part, Place
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.tensor_parallel import Cut, Team, split_over_team
from gpt_lightning.optim.parametrization import Parametrization


class ShardedModel:
    """Builds a decoder of which this process holds its share, without values.

    Args:
        config: A complete record.
        mesh: Processes by ``data_parallel`` and ``tensor_parallel``.
        device: Where this process computes.
        compile: Compile every block.
        mixed: Whether the run computes in bfloat16 from float32 weights. The blocks' linear layers are then gathered in
            bfloat16, which halves the traffic and changes nothing: autocast rounds them to it anyway.

    Attributes:
        model: The decoder.
        parameters: This process's shares, by name.
        names: The names, by the identity of the share.
    """

    def __init__(
        self, config: GPTConfig, mesh: DeviceMesh, device: torch.device, *, compile: bool = False, mixed: bool = False
    ) -> None:
        tensor_mesh, self._data_mesh = mesh["tensor_parallel"], mesh["data_parallel"]
        self._team = Team(tensor_mesh.get_group(), tensor_mesh.get_local_rank(), tensor_mesh.size())
        with torch.device("meta"):
            self._outline, self.model = GPT(config), GPT(config)
            self._cuts = split_over_team(self.model, self._team)
        narrow = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        for block in self.model.blocks:
            if compile:
                block.compile()
            if mixed:
                fully_shard(_matrices(block), mesh=self._data_mesh, mp_policy=narrow)
            else:
                fully_shard(block, mesh=self._data_mesh)
        # The rest stays gathered between forward and backward: the head is used outside of the model's forward.
        fully_shard(self.model, mesh=self._data_mesh, reshard_after_forward=False)
        self.model.to_empty(device=device)
        self._shapes = {name: whole.shape for name, whole in self._outline.named_parameters()}
        # Kept, because between forward and backward the model has other ones under these names, gathered.
        self.parameters: dict[str, DTensor] = dict(self.model.named_parameters())  # type: ignore[arg-type]
        self.names = {id(parameter): name for name, parameter in self.parameters.items()}

    def _stretches(self, name: str) -> Iterator[tuple[int, Box]]:
        """Boxes of a parameter that are here, each with its first row in the local tensor."""
        shape = self._shapes[name]
        cut = self._cuts.get(name) or Cut(((0, shape[0]),))
        rest = [(0, length) for length in shape[1:]]
        if cut.columns is not None:
            rest[0] = cut.columns
        first, last = self._local_rows(sum(stop - start for start, stop in cut.rows))
        passed = 0
        for start, stop in cut.rows:
            low, high = max(first, passed), min(last, passed + stop - start)
            if low < high:
                offset = (start + low - passed, *(begin for begin, _ in rest))
                yield low - first, Box(offset, (high - low, *(end - begin for begin, end in rest)))
            passed += stop - start

    def _local_rows(self, rows: int) -> tuple[int, int]:
        """FSDP2's division: as ``torch.chunk``, equal chunks and a rest."""
        chunk = -(-rows // self._data_mesh.size())
        first = min(self._data_mesh.get_local_rank() * chunk, rows)
        return first, min(first + chunk, rows)

    @torch.no_grad()
    def fill(self, name: str, target: DTensor, read: Callable[[Box], Tensor]) -> None:
        """Set this process's share of a parameter, or of a tensor of its shape, from boxes of the whole."""
        local = target.to_local()
        for row, box in self._stretches(name):
            local.narrow(0, row, box.size[0]).copy_(read(box))

    def part(self, place: Place, name: str, value: DTensor) -> Part:
        """This process's share of a parameter, or of a tensor of its shape, for a checkpoint."""
        local, boxes, values = value.to_local().detach(), [], []
        # What is whole on every process of a team is written by its first.
        for row, box in self._stretches(name) if name in self._cuts or self._team.rank == 0 else ():
            boxes.append(box)
            values.append(local.narrow(0, row, box.size[0]))
        return Part(place, tuple(self._shapes[name]), boxes, values)

    def is_whole_shape(self, name: str, value: Tensor) -> bool:
        """Whether a tensor of a whole checkpoint has the parameter's shape."""
        return value.shape == self._shapes[name]

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Set all parameters from whole tensors."""
        for name, parameter in self.parameters.items():
            whole = weights[name]
            self.fill(name, parameter, lambda box, whole=whole: box.inside(whole, (0,) * whole.ndim))  # type: ignore[misc]

    def draw(self, seed: int, parametrization: Parametrization) -> None:
        """The initial values that one process would draw, bit for bit; layer by layer, each whole for a moment."""
        generator, parameters = torch.Generator().manual_seed(seed), self.parameters
        for place, layer in self._outline.named_modules():
            if next(layer.parameters(recurse=False), None) is None:
                continue
            layer.to_empty(device="cpu", recurse=False)
            self._outline.init_layer(place, layer, generator)
            for key, whole in layer.named_parameters(prefix=place, recurse=False):
                parametrization.scale_weight(key, whole, self._outline)
                self.fill(key, parameters[key], lambda box, whole=whole: box.inside(whole, (0,) * whole.ndim))  # type: ignore[misc]
            layer.to_empty(device="meta", recurse=False)

    @torch.no_grad()
    def measure_norm(self, parameters: list[Tensor]) -> Float[Tensor, ""]:
        """L2 norm of the gradients of all processes, each number counted once; in at least float32.

        Args:
            parameters: Some of ``model``'s, each with a gradient.
        """
        gradients, shares = [], []
        for parameter in parameters:
            local = _local_gradient(parameter)
            if local.numel():
                gradients.append(local)
                shares.append(1.0 if self.names[id(parameter)] in self._cuts else 1 / self._team.size)
        dtype = torch.promote_types(gradients[0].dtype, torch.float32) if gradients else torch.float32
        norms = torch._foreach_norm(gradients, 2, dtype=dtype) if gradients else []
        total = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
        for norm, share in zip(norms, shares, strict=True):
            total += norm.double().square() * share
        torch.distributed.all_reduce(total)
        return total.sqrt().to(dtype)


def _matrices(block: nn.Module) -> list[nn.Module]:
    """The linear layers of a block; its norms are small and stay with the rest."""
    return [layer for layer in block.modules() if isinstance(layer, nn.Linear)]


def _local_gradient(parameter: Any) -> Tensor:
    gradient = parameter.grad
    assert isinstance(gradient, DTensor)
    local: Tensor = gradient.to_local()
    return local

"""Lightning's strategy for sharded runs: connects, builds, saves and loads; the rules are in ``sharding``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from gpt_lightning.checkpoints.durable import step_of, verify_checkpoint
from gpt_lightning.checkpoints.folder import (
    begin_checkpoint,
    commit_checkpoint,
    open_checkpoint,
    storing,
    write_tensors,
)
from gpt_lightning.checkpoints.pieces import INDEX, Box, Part, describe_parts, pack_parts, pick, pieces_file, put
from gpt_lightning.errors import ConfigError, TrainingError, UserError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.training.engine.checkpoint_io import facts_of
from gpt_lightning.training.engine.sharded_model import ShardedModel

_PREFIX = "model."


class Sharded(ModelParallelStrategy):
    """FSDP2 over groups of processes, tensor parallelism inside each group.

    Args:
        data_parallel_size: Number of groups, each with a data stream of its own. "auto": as many as there are.
        tensor_parallel_size: Processes of a group; divides the heads (of queries and of keys) and the MLP's width.
            "auto": all processes of a node, or what data_parallel_size leaves.
    """

    def __init__(
        self,
        data_parallel_size: Literal["auto"] | int = "auto",
        tensor_parallel_size: Literal["auto"] | int = 1,
    ) -> None:
        for name, value in (("data_parallel", data_parallel_size), ("tensor_parallel", tensor_parallel_size)):
            if isinstance(value, int) and value < 1:
                raise ConfigError(f"trainer.strategy's {name}_size is a count", got=value, allowed=">= 1, or auto")
        super().__init__(data_parallel_size, tensor_parallel_size)
        self._sharded: ShardedModel | None = None
        self._read: Callable[[tuple[str | int, ...], Box], Tensor] | None = None

    @property
    def sharded(self) -> ShardedModel:
        """The model, once it is built."""
        assert self._sharded is not None
        return self._sharded

    def sizes(self) -> tuple[int, int]:
        """Groups, and processes of each; raises like ``divide``."""
        return self.divide(self.num_nodes, self.num_processes)

    def divide(self, num_nodes: int, num_processes: int) -> tuple[int, int]:
        """Groups, and processes of each, of ``num_nodes`` machines with ``num_processes`` each.

        Raises:
            ConfigError: Together they are not the number of processes.
        """
        world = num_nodes * num_processes
        typed = {"data": self._data_parallel_size, "tensor": self._tensor_parallel_size}
        given = {way: size for way, size in typed.items() if isinstance(size, int)}
        rest = num_processes if not given else max(1, world // given.get("data", 1))
        tensor = given.get("tensor", rest)
        data = given.get("data", max(1, world // tensor))
        if data * tensor != world:
            raise ConfigError(
                "data_parallel_size x tensor_parallel_size is not the number of processes "
                f"(trainer.devices x num_nodes = {world})",
                got=f"{data} x {tensor}",
                fix="Leave data_parallel_size out, and let tensor_parallel_size divide the number of processes.",
            )
        return data, tensor

    def setup_environment(self) -> None:
        """Connect the processes, once: under torchrun and srun it happens before the run folder is chosen."""
        if self._device_mesh is None:
            self._data_parallel_size, self._tensor_parallel_size = self.sizes()
            super().setup_environment()

    def teardown(self) -> None:
        """Forget the processes, whose group is closed next."""
        super().teardown()
        self._device_mesh = None

    def build_model(self, config: GPTConfig, *, compile: bool) -> ShardedModel:
        """The decoder, this process's share of it, still without values."""
        mixed = isinstance(self.precision_plugin, MixedPrecision)
        self._sharded = ShardedModel(config, self.device_mesh, self.root_device, compile=compile, mixed=mixed)
        return self._sharded

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The parameters as they are: shares."""
        return {_PREFIX + name: parameter for name, parameter in self.sharded.parameters.items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state as it is: shares."""
        state: dict[str, Any] = optimizer.state_dict()
        return {**state, "state": {index: dict(values) for index, values in state["state"].items()}}

    def _name_of(self, optimizer: Optimizer) -> list[str]:
        """Names of an optimizer's parameters, in the order in which its state counts them."""
        return [self.sharded.names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Every process writes its pieces; process 0 the rest, last, and gives the folder its name.

        Raises:
            TrainingError: A process could not write; the same error on all of them, and nothing is left behind.
        """
        target, parts = Path(filepath), self._take_parts(checkpoint)
        step = step_of(target)
        assert step is not None
        begun = self._on_first(lambda: begin_checkpoint(target.parent, step), target)
        written = self._on_all(lambda: self._write_parts(begun, parts), target, begun)

        def commit() -> Path:
            index = [entry for _, _, entries in written for entry in entries]
            files = {name: facts for name, facts, _ in written}
            state = {**checkpoint, INDEX: index}
            return commit_checkpoint(begun, step=step, state=state, facts=facts_of(checkpoint), files=files)

        self._on_first(commit, target)

    def _take_parts(self, checkpoint: dict[str, Any]) -> list[Part]:
        """What is in pieces, taken out of the state."""
        parts = []
        for key, value in checkpoint["state_dict"].items():
            parts.append(self.sharded.part(("state_dict", key), key.removeprefix(_PREFIX), value))
        for number, (optimizer, state) in enumerate(
            zip(self.optimizers, checkpoint.get("optimizer_states", []), strict=True)
        ):
            names = self._name_of(optimizer)
            for index, values in state["state"].items():
                for key, value in values.items():
                    if isinstance(value, DTensor):
                        place = ("optimizer_states", number, "state", index, key)
                        parts.append(self.sharded.part(place, names[index], value))
        for part in parts:
            put(checkpoint, part.place, None)
        return parts

    def _write_parts(self, folder: Path, parts: list[Part]) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
        name = pieces_file(self.global_rank)
        facts = write_tensors(folder / name, pack_parts(parts))
        return name, facts, describe_parts(parts, self.global_rank)

    def _on_first(self, action: Callable[[], Path], target: Path) -> Path:
        """Do something that writes on process 0, and have all processes know how it went."""
        result = self._attempt(action, target) if self.global_rank == 0 else None
        path: Path = _unwrap(self.broadcast(result))
        return path

    def _on_all(self, action: Callable[[], Any], target: Path, begun: Path) -> list[Any]:
        """Do something that writes on every process; where one fails, all do."""
        results: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(results, self._attempt(action, target))
        if self.global_rank == 0 and any(isinstance(result, UserError) for result in results):
            shutil.rmtree(begun, ignore_errors=True)
        return [_unwrap(result) for result in results]

    def _attempt(self, action: Callable[[], Any], target: Path) -> Any:
        step = step_of(target)
        assert step is not None
        try:
            with storing(target.parent, step):
                return action()
        except TrainingError as error:
            return error

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """The state with outlines of the tensors; their values are read when it is known where they go."""
        folder = Path(checkpoint_path)
        # Every process would read every byte for the checksums; the first does it for all.
        problem: UserError | None = None
        if self.global_rank == 0:
            try:
                verify_checkpoint(folder)
            except UserError as error:
                problem = error
        _unwrap(self.broadcast(problem))
        state, pieces = open_checkpoint(folder, mmap=True, verify=False)
        if pieces is None:
            whole = dict(state)
            self._read = lambda place, box: box.inside(pick(whole, place), (0,) * len(box.offset))
            return state
        self._read = pieces.read
        for place, outline in pieces.outlines():
            put(state, place, outline)
        return state

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Read this process's share of the weights."""
        read = self._read
        assert read is not None
        for name, parameter in self.sharded.parameters.items():
            self.sharded.fill(name, parameter, lambda box, name=name: read(("state_dict", _PREFIX + name), box))  # type: ignore[misc]

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning asks us to."""
        return True

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Read this process's share of the optimizer's state."""
        for number, (optimizer, saved) in enumerate(zip(self.optimizers, checkpoint["optimizer_states"], strict=True)):
            names = self._name_of(optimizer)
            state = {
                index: {
                    key: self._load_value(("optimizer_states", number, "state", index, key), names[index], value)
                    for key, value in values.items()
                }
                for index, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})
        self._read = None

    def _load_value(self, place: tuple[str | int, ...], name: str, value: Any) -> Any:
        if not isinstance(value, Tensor) or not self.sharded.is_whole_shape(name, value):
            return value
        read = self._read
        assert read is not None
        share = torch.zeros_like(self.sharded.parameters[name], dtype=value.dtype, requires_grad=False)
        assert isinstance(share, DTensor)
        self.sharded.fill(name, share, lambda box: read(place, box))
        return share


def _unwrap(result: Any) -> Any:
    if isinstance(result, UserError):
        raise result
    return result

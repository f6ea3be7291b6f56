"""The state of some steps ago, in memory: what a rollback returns to.

Weights, optimizer state and the running mean, copied every so many steps after everything else has been done at the
step. A checkpoint carries the copy, so that a resumed run goes back to the same place.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from gpt_lightning.adapters.base import trained_names
from gpt_lightning.errors import ConfigError
from gpt_lightning.training.engine.steps import StepKeeper
from gpt_lightning.training.modules.ema import EMA

_STATE = "snapshot"
_NOT_STATE = ("params", "lr")
"""Entries of a parameter group that a rollback leaves: the rate is a function of the step."""


class Snapshot(StepKeeper):
    """Takes and restores the copy.

    Args:
        every_steps: Optimizer steps between copies.

    Attributes:
        step: Steps that were done when the copy was taken.
    """

    def __init__(self, every_steps: int) -> None:
        self._every_steps = every_steps
        self.step = 0
        self._kept: dict[str, Any] = {}
        self._owners: tuple[Trainer, LightningModule] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the initial state, unless a checkpoint brought a copy."""
        if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            raise ConfigError(
                "nonfinite Rollback needs every process to hold all weights",
                got=type(trainer.strategy).__name__,
                allowed="one device, or DDP",
                fix="Set model.nonfinite to Skip.",
            )
        self._owners = (trainer, pl_module)
        if not self._kept:
            self._take(trainer, pl_module)

    def keep_step(self, trainer: Trainer, module: LightningModule) -> None:
        """Copy when it is time."""
        if trainer.global_step % self._every_steps == 0:
            self._take(trainer, module)

    def _take(self, trainer: Trainer, module: LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        state = module.state_dict()
        self.step = trainer.global_step
        self._kept = {
            "weights": _copy({name: state[name] for name in trained_names(module)}),
            "moments": [[_copy(optimizer.state.get(p, {})) for p in g["params"]] for g in optimizer.param_groups],
            "groups": [
                {key: value for key, value in group.items() if key not in _NOT_STATE}
                for group in optimizer.param_groups
            ],
            "mean": {} if (mean := _find_mean(trainer)) is None else _copy(mean.average(trainer, module)),
        }

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copy in the place of what there is; it stays for another time."""
        assert self._owners is not None
        trainer, module = self._owners
        (optimizer,) = trainer.optimizers
        state = module.state_dict()
        for name, value in self._kept["weights"].items():
            state[name].copy_(value)
        for group, values, moments in zip(
            optimizer.param_groups, self._kept["groups"], self._kept["moments"], strict=True
        ):
            group.update(values)
            for parameter, state in zip(group["params"], moments, strict=True):
                optimizer.state.pop(parameter, None)
                if state:
                    optimizer.state[parameter] = _copy(state)
        mean = _find_mean(trainer)
        if mean is not None:
            mean.take_over(_copy(self._kept["mean"]))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The copy and its step."""
        checkpoint[_STATE] = {"step": self.step, **self._kept}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go back to the same place as the run that saved would."""
        if trainer.training and _STATE in checkpoint:
            self._kept = dict(checkpoint[_STATE])
            self.step = int(self._kept.pop("step"))
            device = next(pl_module.parameters()).device
            self._kept = _move(self._kept, device)


def _find_mean(trainer: Trainer) -> EMA | None:
    return next((callback for callback in vars(trainer)["callbacks"] if isinstance(callback, EMA)), None)


def _copy(values: Any) -> Any:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in values.items()}


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        # Adam counts its steps in a number on the CPU unless it is fused; torch moves it along with the moments.
        return {key: _move(entry, device) for key, entry in value.items()}
    return [_move(entry, device) for entry in value] if isinstance(value, list) else value

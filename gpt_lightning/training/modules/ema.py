"""The running mean of the weights (Polyak averaging): what is validated, saved for use, and left at the end.

    after step t     mean <- d mean + (1 - d) weights,  d = min(decay, (1 + t) / (10 + t))

The share d grows at first, so that the random start is forgotten. It depends on the step alone, and the checkpoint
holds both sets of weights, so a resumed run has the same mean. The mean is kept in float32 at least: 4 bytes for each
parameter, also under bf16-true, where the weights are 2; during a validation the weights themselves are there twice.

In a checkpoint ``state_dict`` holds the *mean*, because that is what was validated and what everything that reads a
checkpoint (generate, validate, ``--init_from``) should use; the weights under training lie beside it, for resuming.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.optim.schedule_free import ScheduleFreeOptimizer
from gpt_lightning.training.engine.steps import StepKeeper

_STATE = "ema"


class AveragedWeights(StepKeeper):
    """Puts a mean in the place of the weights for validation, in checkpoints and at the end; see the file's head."""

    def __init__(self) -> None:
        self._trained: dict[str, Tensor] = {}

    @abstractmethod
    def average(self, trainer: Trainer, module: LightningModule) -> dict[str, Tensor]:
        """The mean of every trained parameter, by name; empty while nothing is trained."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Every process must hold all weights."""
        if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            raise ConfigError(
                "A mean of the weights (ema_decay, ScheduleFree) needs every process to hold all weights",
                got=type(trainer.strategy).__name__,
                allowed="one device, or DDP",
                fix="Leave model.ema_decay out, and choose another optimizer.",
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the mean."""
        mean = self.average(trainer, pl_module)
        if mean:
            self._trained = {name: value.detach().clone() for name, value in _trained(pl_module).items()}
            _put(pl_module, mean)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on training the weights."""
        if self._trained:
            _put(pl_module, self._trained)
            self._trained = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """As at the end of the validation that it may have come from: what is saved now are the trained weights."""
        self.on_validation_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the mean, which is what the last checkpoint offers."""
        _put(pl_module, self.average(trainer, pl_module))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The mean as the weights, and the weights under training beside them."""
        weights, mean = checkpoint["state_dict"], self.average(trainer, pl_module)
        # The mean itself as well, where weights are narrower; where they are not, both names share one storage.
        checkpoint[_STATE] = {"trained": {name: weights[name] for name in mean}, "mean": mean}
        for name, value in mean.items():
            weights[name] = value.to(weights[name].dtype)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Where training goes on, with both; elsewhere the mean has just been loaded as the weights."""
        if not trainer.training:
            return
        state = checkpoint.get(_STATE)
        if state is None:
            raise CheckpointError("The checkpoint holds no mean of the weights", fix="Leave out ema_decay.")
        _put(pl_module, state["trained"])
        self.take_over(dict(state["mean"]))

    def take_over(self, mean: dict[str, Tensor]) -> None:
        """Go on from the mean of a checkpoint."""

    def keep_step(self, trainer: Trainer, module: LightningModule) -> None:
        """Nothing, where somebody else keeps the mean."""


class OptimizerAverage(AveragedWeights):
    """The mean that the optimizer itself keeps (``ScheduleFree``)."""

    def average(self, trainer: Trainer, module: LightningModule) -> dict[str, Tensor]:
        """As the optimizer computes it."""
        if not trainer.optimizers:
            return {}
        (optimizer,) = trainer.optimizers
        assert isinstance(optimizer, ScheduleFreeOptimizer)
        return {name: optimizer.average(value) for name, value in _trained(module).items()}


class EMA(AveragedWeights):
    """The exponential mean, kept beside the weights.

    Args:
        decay: Share of the mean that each step keeps in the long run; above 0 and below 1.

    Raises:
        ConfigError: ``decay`` is out of range.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise ConfigError("ema_decay is out of range", got=decay, allowed="above 0 and below 1, e.g. 0.999")
        self._decay = decay
        self._mean: dict[str, Tensor] = {}

    def average(self, trainer: Trainer, module: LightningModule) -> dict[str, Tensor]:
        """The mean as it stands."""
        return dict(self._mean)

    def take_over(self, mean: dict[str, Tensor]) -> None:
        """Go on from it; ``on_fit_start`` moves it to the device."""
        self._mean = mean

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The mean begins as the initial weights, or where the checkpoint left it; on the weights' device."""
        super().on_fit_start(trainer, pl_module)
        for name, parameter in _trained(pl_module).items():
            # At least float32: a narrower mean would not notice a step's small share.
            wide = torch.promote_types(parameter.dtype, torch.float32)
            loaded = self._mean.get(name)
            begin = parameter.detach() if loaded is None else loaded
            self._mean[name] = begin.to(parameter.device, wide, copy=loaded is None)

    def keep_step(self, trainer: Trainer, module: LightningModule) -> None:
        """Take the step just done into the mean."""
        step = trainer.global_step
        decay = min(self._decay, (1 + step) / (10 + step))
        same = {name: value.detach() for name, value in _trained(module).items()}
        for name in [name for name, value in same.items() if value.dtype != self._mean[name].dtype]:
            # One by one, so that no more than one of them is there a second time in the mean's type.
            self._mean[name].lerp_(same.pop(name).to(self._mean[name].dtype), 1 - decay)
        if same:
            torch._foreach_lerp_([self._mean[name] for name in same], list(same.values()), 1 - decay)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the mean, and let go of it."""
        super().on_train_end(trainer, pl_module)
        self._mean = {}


def _trained(module: LightningModule) -> dict[str, nn.Parameter]:
    """What is trained: a mean of what stays as it is would be that again."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def _put(module: LightningModule, weights: dict[str, Tensor]) -> None:
    for name, parameter in module.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])

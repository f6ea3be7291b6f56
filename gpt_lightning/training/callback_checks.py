"""Callbacks that would change what we count, refused by name of the setting that does the same here.

Lengths, learning rates, tokens, checkpoints and resumes are functions of the step, and a step is what the configuration
says. A callback that changes the number of micro-batches, a learning rate or the weights behind that would leave every
figure wrong and no trace in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Callback
from lightning.pytorch import callbacks as stock

from gpt_lightning.errors import ConfigError

_INSTEAD: dict[type[Callback], str] = {
    stock.GradientAccumulationScheduler: "Set data.batch_ramp: it counts tokens and validations as it grows.",
    stock.StochasticWeightAveraging: "Set model.ema_decay 0.999, or model.optimizer ScheduleFree.",
    stock.WeightAveraging: "Set model.ema_decay 0.999.",
    stock.ModelCheckpoint: "Set run.save_every and run.keep_checkpoints; the best by val/loss is always kept.",
    stock.LearningRateFinder: "Compare rates with gpt-lightning sweep run.",
    stock.BatchSizeFinder: "Let gpt-lightning bench find data.batch_size.",
}


def check_callbacks(callbacks: Sequence[Callback], measured: Sequence[str] | None) -> None:
    """Refuse callbacks that change what is counted, and an ``EarlyStopping`` on what is never measured.

    Args:
        callbacks: ``trainer.callbacks``.
        measured: Names that a validation gives; those of ``eval/`` and of other people's callbacks are not known here.
            None = not known yet, and not asked.

    Raises:
        ConfigError: Names the setting to use instead.
    """
    for callback in callbacks:
        for kind, instead in _INSTEAD.items():
            if isinstance(callback, kind):
                raise ConfigError(
                    "trainer.callbacks names one that changes what is counted here",
                    got=type(callback).__name__,
                    fix=instead,
                )
    own = any(not type(each).__module__.startswith(("lightning.", "gpt_lightning.")) for each in callbacks)
    for callback in callbacks:
        if not isinstance(callback, stock.EarlyStopping) or measured is None or own or not callback.strict:
            continue
        if callback.monitor not in measured and not callback.monitor.startswith("eval/"):
            raise ConfigError(
                "EarlyStopping monitors what no validation measures",
                got=callback.monitor,
                allowed=", ".join(measured),
                fix="Set its monitor to val/loss.",
            )

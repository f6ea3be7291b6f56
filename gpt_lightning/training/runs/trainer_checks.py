"""Ranges of the Trainer's numbers that Lightning itself lets through, to fail later or to do something else.

Checked before anything is built: a run that cannot train should not leave a folder behind.

Callbacks that would change what we count, refused by name of the setting that does the same here.

Lengths, learning rates, tokens, checkpoints and resumes are functions of the step, and a step is what the configuration
says. A callback that changes the number of micro-batches, a learning rate or the weights behind that would leave every
figure wrong and no trace in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch import callbacks as stock

from gpt_lightning.errors import ConfigError

_LARGEST_SEED = 2**32 - 1
"""NumPy's limit."""


def check_ranges(trainer: Mapping[str, Any], seed: int) -> None:
    """Refuse counts below one, a clipping norm that is not positive, and seeds that NumPy does not take.

    Args:
        trainer: ``trainer.*`` as parsed.
        seed: ``seed_everything``.

    Raises:
        ConfigError: Names the setting.
    """
    for name in ("accumulate_grad_batches", "log_every_n_steps"):
        value = trainer[name]
        if value is not None and value < 1:
            raise ConfigError(f"trainer.{name} is a count", got=value, allowed=">= 1", fix=f"Say --trainer.{name} 1.")
    norm = trainer["gradient_clip_val"]
    if norm is not None and not norm > 0:
        raise ConfigError(
            "trainer.gradient_clip_val is not a norm", got=norm, allowed="above 0, or null", fix="1.0 is usual."
        )
    if not 0 <= seed <= _LARGEST_SEED:
        raise ConfigError(
            "seed_everything is out of range", got=seed, allowed=f"0 to {_LARGEST_SEED}", fix="Say --seed_everything 1."
        )


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

"""Ranges of the Trainer's numbers that Lightning itself lets through, to fail later or to do something else.

Checked before anything is built: a run that cannot train should not leave a folder behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

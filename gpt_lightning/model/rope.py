"""How rotary positions of a model that was trained on short texts are stretched for longer ones, as numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpt_lightning.errors import ConfigError


@dataclass(frozen=True)
class RopeStretch:
    """Llama 3.1's rule (2024): slow angles become slower, fast ones stay, those between go over from one to the other.

    A wavelength is the number of tokens in which an angle comes round. Those above ``context / low`` are multiplied by
    ``factor``, those below ``context / high`` are left.

    Args:
        factor: How many times longer the longest wavelengths become, 1 or more.
        low: Turns within ``context`` up to which an angle counts as slow, above 0.
        high: Turns within ``context`` from which on an angle counts as fast, above ``low``.
        context: Longest text, in tokens, that the model was first trained with.

    Raises:
        ConfigError: A number is out of range.
    """

    factor: float
    low: float
    high: float
    context: int

    def __post_init__(self) -> None:
        if not 1.0 <= self.factor < math.inf:
            raise ConfigError("rope_factor does not lengthen", got=self.factor, allowed="1 or more, finite")
        if not 0.0 < self.low < self.high < math.inf:
            raise ConfigError(
                "rope_low_factor and rope_high_factor bound the angles that are stretched in part",
                got=(self.low, self.high),
                allowed="0 < rope_low_factor < rope_high_factor",
                fix="Llama 3.1 has 1 and 4.",
            )
        if isinstance(self.context, bool) or self.context < 1:
            raise ConfigError("rope_context is a number of tokens", got=self.context, allowed="1, 2, 3, ...")

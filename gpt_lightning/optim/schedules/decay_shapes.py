"""How a factor falls from one value to another: the shape of a cooldown, as small classes.

A shape g maps the share y of the way that is done, 0 to 1, to the share of the height that is left, 1 to 0:

    Straight        1 - y
    OneMinusSqrt    1 - sqrt(y)                              falls at once, then eases out (Haegele et al. 2024)
    HalfCosine      (1 + cos(pi y)) / 2
    Square          1 - y^2                                  stays high, then drops
    Geometric       (k^y - k) / (1 - k)                      equal ratios, shifted so that it reaches 0
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from gpt_lightning.errors import ConfigError


class Shape(ABC):
    """A monotone way from 1 to 0, without state."""

    @abstractmethod
    def left(self, y: float) -> float:
        """Share of the height that is left when the share ``y`` (0 to 1) of the way is done; 1 at 0 and 0 at 1."""

    def between(self, high: float, low: float, y: float) -> float:
        """From ``high`` (y = 0) to ``low`` (y = 1)."""
        return low + (high - low) * self.left(y)


class Straight(Shape):
    """A straight line."""

    def left(self, y: float) -> float:
        """``1 - y``."""
        return 1 - y


class OneMinusSqrt(Shape):
    """Falls fast at first and slowly at the end (Haegele et al. 2024)."""

    def left(self, y: float) -> float:
        """``1 - sqrt(y)``."""
        return 1 - math.sqrt(y)


class HalfCosine(Shape):
    """Slow at both ends."""

    def left(self, y: float) -> float:
        """``(1 + cos(pi y)) / 2``."""
        return (1 + math.cos(math.pi * y)) / 2


class Square(Shape):
    """Falls slowly at first and fast at the end."""

    def left(self, y: float) -> float:
        """``1 - y^2``."""
        return 1 - y * y


class Geometric(Shape):
    """Equal ratios in equal times, shifted so that it reaches the end (Hu et al. 2024 decay exponentially).

    Args:
        ratio: What would be left at the end without the shift, between 0 and 1; the smaller, the steeper the start.
    """

    def __init__(self, ratio: float = 0.01) -> None:
        if not 0 < ratio < 1:
            raise ConfigError("shape.ratio is out of range", got=ratio, allowed="between 0 and 1, both excluded")
        self._ratio = ratio

    def left(self, y: float) -> float:
        """``(ratio^y - ratio) / (1 - ratio)``."""
        return (math.pow(self._ratio, y) - self._ratio) / (1 - self._ratio)

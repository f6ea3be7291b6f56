"""The shape of a learning-rate curve up to a step, as a short key: trials with equal keys can be compared half-way.

A loss in the middle of a run says little about its end when the learning rates went different ways (they have high
losses while the rate is high), and nearly everything when they went the same way at different heights. The key is a
hash of the factors so far, divided by the largest factor of the whole run, so that the peak learning rate itself does
not count. Stretches of equal factors are one entry, written with the tokens before them: a constant stretch is the
same for any batch size, and a run that will cool down has the key of one that will not, until it does.
"""

from __future__ import annotations

import hashlib

from gpt_lightning.optim.lengths import Horizon
from gpt_lightning.optim.schedules import Schedule


class ShapeKeys:
    """Keys of one run, step after step; each step is hashed once.

    Args:
        schedule: The curve.
        horizon: Length of the run.
    """

    def __init__(self, schedule: Schedule, horizon: Horizon) -> None:
        self._schedule, self._horizon = schedule, horizon
        self._peak = max(schedule.factor(step, horizon) for step in range(horizon.total_steps)) or 1.0
        self._hash = hashlib.sha256()
        self._done, self._last = 0, ""

    def at(self, step: int) -> str:
        """Key of the first ``step`` optimizer steps; steps must not fall from call to call.

        Returns:
            16 hexadecimal digits.

        Raises:
            ValueError: An earlier step than in the call before.
        """
        if step < self._done:
            raise ValueError(f"steps go forward: got {step} after {self._done}")
        for place in range(self._done, step):
            # 12 digits: two formulas of one curve may differ in the last bits.
            factor = f"{self._schedule.factor(place, self._horizon) / self._peak:.12g}"
            if factor != self._last:
                self._hash.update(f"{self._horizon.tokens_before(place)}:{factor};".encode())
                self._last = factor
        self._done = step
        return self._hash.hexdigest()[:16]


def shape_key(schedule: Schedule, horizon: Horizon, step: int) -> str:
    """Key of the first ``step`` optimizer steps of a run: equal for equal learning-rate histories up to a factor.

    >>> from gpt_lightning.optim.schedules import WSD, Constant, Linear
    >>> run = Horizon(total_steps=100, tokens_per_step=512)
    >>> shape_key(WSD(warmup=0), run, 80) == shape_key(Constant(), run, 80)
    True
    >>> shape_key(WSD(warmup=0), run, 82) == shape_key(Constant(), run, 82)
    False
    >>> shape_key(Linear(), run, 10) == shape_key(Constant(), run, 10)
    False
    """
    return ShapeKeys(schedule, horizon).at(step)

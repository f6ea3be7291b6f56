"""TensorBoard's HParams tab with the losses in its first columns.

The tab shows the first few metrics alone, sorted by name: ``activation/rms/block_00`` stood where ``val/loss`` should.
An experiment record in a run's own event file would order them too, but TensorBoard takes the first such record of all
runs: settings that another run alone has would vanish from the table, and a sweep's record would not be found.
"""

from __future__ import annotations

from typing import Any

from tensorboard.plugins.hparams import backend_context, hparams_plugin

_FIRST = ("val/loss", "val/bits_per_byte", "val/perplexity", "train/loss")
_ROOMS = ("val/", "test/", "train/")


def rank_metric(name: str) -> tuple[int, str]:
    """Where a metric stands: what runs are compared by, other losses, everything else by name."""
    if name in _FIRST:
        return _FIRST.index(name), name
    rooms = [number for number, room in enumerate(_ROOMS) if name.startswith(room)]
    return len(_FIRST) + (rooms[0] if rooms else len(_ROOMS)), name


class _Context(backend_context.Context):  # type: ignore[misc]
    def _compute_metric_names(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """(name, subfolder) of all metrics."""
        found = super()._compute_metric_names(*args, **kwargs)
        return sorted(found, key=lambda metric: (*rank_metric(metric[0]), metric[1]))


class OrderedHParams(hparams_plugin.HParamsPlugin):  # type: ignore[misc]
    """The stock tab; without a record of a sweep, losses come first."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._context = _Context(context)

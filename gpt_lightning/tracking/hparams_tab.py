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


_SETTINGS = (
    *("model.optimizer.class_path", "model.optimizer", "model.schedule.class_path", "model.schedule"),
    *("trainer.max_steps", "run.max_tokens", "model.config", "model", "data.batch_size", "data", "trainer"),
)


def rank_setting(name: str) -> tuple[int, str]:
    """Where a setting stands: what is tuned first, then the length, the architecture, the data.

    >>> sorted(["data.block_size", "model.config.n_layer", "model.optimizer.init_args.lr"], key=rank_setting)
    ['model.optimizer.init_args.lr', 'model.config.n_layer', 'data.block_size']
    """
    places = [place for place, key in enumerate(_SETTINGS) if name == key or name.startswith(f"{key}.")]
    return min(places, default=len(_SETTINGS)), name


class _Context(backend_context.Context):  # type: ignore[misc]
    def _compute_metric_names(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """(name, subfolder) of all metrics."""
        found = super()._compute_metric_names(*args, **kwargs)
        return sorted(found, key=lambda metric: (*rank_metric(metric[0]), metric[1]))

    def experiment_from_metadata(self, *args: Any, **kwargs: Any) -> Any:
        """What the tab shows: settings that differ first, as ever, but not by the alphabet."""
        found = super().experiment_from_metadata(*args, **kwargs)
        settings = sorted(found.hparam_infos, key=lambda each: (not each.differs, rank_setting(each.name)))
        found.ClearField("hparam_infos")
        found.hparam_infos.extend(settings)
        return found


class OrderedHParams(hparams_plugin.HParamsPlugin):  # type: ignore[misc]
    """The stock tab; without a record of a sweep, losses come first."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._context = _Context(context)

"""TensorBoard's HParams tab: settings with types and domains, and how each run really ended.

Lightning's logger writes the status "success" when training starts, turns null, lists and types into strings, and
writes nothing at all without a metric; the functions that would do better need TensorFlow. So here are the records.

They lie in an event file of their own, which every start replaces: TensorBoard keeps the first record it finds under a
name, and a run that crashed and then went on to its end would be shown as failed for ever.

TensorBoard's HParams tab with the losses in its first columns.

The tab shows the first few metrics alone, sorted by name: ``activation/rms/block_00`` stood where ``val/loss`` should.
An experiment record in a run's own event file would order them too, but TensorBoard takes the first such record of all
runs: settings that another run alone has would vanish from the table, and a sweep's record would not be found.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, backend_context, hparams_plugin, metadata, plugin_data_pb2, summary_v2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from gpt_lightning.tracking.patient import patient_event_files
from gpt_lightning.tracking.texts import write_setting

Value = bool | int | float | str
Status = Literal["success", "failure", "stopped", "ended early"]
Domain = tuple[int | float, int | float] | list[Value] | None
"""Bounds of a number, all values of a choice, or open."""

_SUFFIX = ".hparams"
_STATUS = {
    "success": api_pb2.STATUS_SUCCESS,
    "failure": api_pb2.STATUS_FAILURE,
    "stopped": api_pb2.STATUS_UNKNOWN,  # by a signal, to go on another time
    "ended early": api_pb2.STATUS_UNKNOWN,  # no failure, but its last loss is not to be compared with the others
}


def choose_values(settings: Mapping[str, object], keys: Sequence[str]) -> dict[str, Value]:
    """Flat settings as the tab can hold them: null and lists become text."""
    chosen: dict[str, Value] = {}
    for key in keys:
        value = settings.get(key)
        chosen[key] = value if isinstance(value, (bool, int, float, str)) else write_setting(value)
    return chosen


class Session:
    """A run in the tab: opened when training starts, closed with the true end.

    Between both, and after a kill that nobody could catch, TensorBoard shows it as running.

    Args:
        folder: The run folder.
        name: Of the run; equal names are shown as one group.
        values: Settings by name.
    """

    def __init__(self, folder: Path, name: str, values: Mapping[str, Value]) -> None:
        for old in folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
            old.unlink()
        with patient_event_files(folder):
            self._writer = EventFileWriter(str(folder), filename_suffix=_SUFFIX)
        _add(self._writer, summary_v2.hparams_pb(dict(values), trial_id=name, start_time_secs=time.time()))
        self._writer.flush()

    def close(self, status: Status) -> None:
        """Write how the run ended."""
        _end(self._writer, status)


def close_session(folder: Path, status: Status) -> None:
    """Write how a run ended whose process was killed and could not; nothing where no session was opened."""
    if any(folder.glob(f"events.out.tfevents.*{_SUFFIX}")):
        _end(EventFileWriter(str(folder), filename_suffix=_SUFFIX), status)


def _end(writer: EventFileWriter, status: Status) -> None:
    end = plugin_data_pb2.SessionEndInfo(status=_STATUS[status], end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=metadata.create_summary_metadata(data))
    value.tensor.CopyFrom(metadata.NULL_TENSOR)
    _add(writer, Summary(value=[value]))
    writer.close()


def write_experiment(folder: Path, domains: Mapping[str, Domain], metrics: Sequence[str]) -> None:
    """Say in the folder of a study which settings vary, within which bounds, and what is measured.

    Args:
        folder: The folder that holds the runs.
        domains: By setting.
        metrics: Names of scalars.
    """
    for old in folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
        old.unlink()
    params = [summary_v2.HParam(name, _convert(domain)) for name, domain in domains.items()]
    writer = EventFileWriter(str(folder), filename_suffix=_SUFFIX)
    _add(writer, summary_v2.hparams_config_pb(params, [summary_v2.Metric(name) for name in metrics]))
    writer.close()


def _convert(domain: Domain) -> object:
    if domain is None:
        return None
    if isinstance(domain, tuple):
        low, high = domain
        if isinstance(low, int) and isinstance(high, int):
            return summary_v2.IntInterval(low, high)
        return summary_v2.RealInterval(float(low), float(high))
    kinds = {type(value) for value in domain}
    if len(kinds) > 1:  # the tab knows choices of one type only
        numbers = kinds <= {int, float}
        return summary_v2.Discrete([float(value) if numbers else str(value) for value in domain])
    return summary_v2.Discrete(domain)


def _add(writer: EventFileWriter, record: Summary) -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    writer.add_event(Event(summary=record, wall_time=time.time()))


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

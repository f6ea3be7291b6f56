"""TensorBoard's HParams tab: settings with types and domains, and how each run really ended.

Lightning's logger writes the status "success" when training starts, turns null, lists and types into strings, and
writes nothing at all without a metric; the functions that would do better need TensorFlow. So here are the records.

They lie in an event file of their own, which every start replaces: TensorBoard keeps the first record it finds under a
name, and a run that crashed and then went on to its end would be shown as failed for ever.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
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

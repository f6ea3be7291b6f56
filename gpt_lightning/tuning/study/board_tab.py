"""A sweep in TensorBoard's HParams tab: what varies, within which bounds, and how trials ended that were killed.

The names are those of the sweep file, in the declaration and in every trial's session alike: the tab joins both by
name, and a resolved configuration says ``model.schedule.class_path`` where the user wrote ``model.schedule``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.training.runs.run_folder import is_in_use, read_starts, write_end
from gpt_lightning.tuning.spec.parameters import LogGrid, Parameter, Values, label
from gpt_lightning.tuning.spec.spec import SweepSpec

log = logging.getLogger("gpt_lightning")

_SEED = "seed_everything"
_DYING_SECONDS, _PAUSE_SECONDS = 2.0, 0.02


def declare(spec: SweepSpec, trials: Path) -> None:
    """Write the domains of all parameters and the names of the metrics into the folder of the trials."""
    from gpt_lightning.tracking.hparams import Domain, write_experiment

    domains: dict[str, Domain] = {_SEED: None}
    for key, parameter in spec.parameters.items():
        if isinstance(parameter, (Values, LogGrid)):
            domains[key] = [shown(parameter, each) for each in parameter.grid()]
        else:
            low, high = parameter.edges()
            domains[key] = (low, high)
    write_experiment(trials, domains, [metric.name for metric in spec.metrics])


def session_values(spec: SweepSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial's session shows of its chosen values."""
    return {key: shown(spec.parameters[key], value) for key, value in values.items() if key in spec.parameters}


def shown(parameter: Parameter, value: Any) -> bool | int | float | str:
    """A value as the tab can hold it: choices of several types, which it cannot, as text."""
    plain = label(value)
    if isinstance(parameter, Values):
        kinds = {type(label(each)) for each in parameter.values}
        if len(kinds) > 1 and not kinds <= {int, float}:
            return str(plain)
    return plain if isinstance(plain, (bool, int, float, str)) else str(plain)


def close_killed(folder: Path, *, stopped: bool, reason: str, step: int, seconds: float) -> None:
    """Say in a trial's manifest and in the tab how it ended, if its process could not, because it was killed.

    Args:
        folder: The trial's.
        stopped: Whether it was asked to stop and took too long; else it failed.
        reason: One line.
        step: Optimizer steps that are known to have been done.
        seconds: From its start on.
    """
    from gpt_lightning.training.runs.run_status import End

    end = time.monotonic() + _DYING_SECONDS
    while is_in_use(folder):  # killed, but not dead yet; or a process of another machine that lives
        if time.monotonic() > end:
            return
        time.sleep(_PAUSE_SECONDS)
    try:
        starts = read_starts(folder)
        if not starts or starts[-1].get("end") is not None:
            return
        from gpt_lightning.tracking.hparams import close_session

        total = int(starts[-1].get("total_steps") or 0)
        write_end(folder, vars(End("stopped" if stopped else "failed", reason, step, total, round(seconds, 3))))
        close_session(folder, "stopped" if stopped else "failure")
    except (OSError, ValueError, LookupError) as error:
        log.warning("%s: how it ended could not be written: %s", folder, error)

"""``doctor``, ``bench`` and ``plot-schedule`` as typed: help and mistakes are answered before torch is imported.

Each takes the settings of ``fit`` beside its own options, see ``training.fitting.front``.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.command import OwnOptions
from gpt_lightning.reports.pictures import check_picture
from gpt_lightning.training.fitting.front import check_arguments

_DOCTOR = """\
Check a run before it starts: settings against data, parameters, memory, time, energy, disk. Settings as for fit.

Example: gpt-lightning doctor --config configs/quickstart.yaml --watts 65

Exit code 0: no errors (there may be warnings). 2 or 3: the run cannot work as it is.
"""
_BENCH = """\
Measure the training step of a configuration on this machine, and say what to change. Settings as for fit.

Example: gpt-lightning bench --config configs/quickstart.yaml --model.compile true
"""
_PLOT_SCHEDULE = """\
Draw the learning rate of a run: of every --config on its own, in one drawing. Other settings, as for fit, hold for all.

Example: gpt-lightning plot-schedule --config configs/quickstart.yaml --model.schedule WSD
"""


def doctor_command(command: str, args: Sequence[str]) -> int:
    """Parse, check and tell.

    Args:
        command: How the command is called.
        args: What follows it.

    Returns:
        0, or 2 when there is an error among the findings.

    Raises:
        UserError: A setting is wrong, or the data do not fit it.
    """
    parser = OwnOptions(command, _DOCTOR, settings=True)
    parser.add_argument("--steps", type=int, default=6, help="Steps to measure; 0 = none (default: 6).")
    parser.add_argument("--watts", type=float, help="Power of the machine while it trains, for the energy.")
    parser.add_argument("--json", action="store_true", help="Write one JSON object instead.")
    own, settings = parser.parse_known_args(list(args))
    if own.steps < 0 or (own.watts is not None and not own.watts > 0):
        raise ConfigError(
            "doctor measures a number of steps at a power",
            got={"steps": own.steps, "watts": own.watts},
            allowed="steps >= 0, watts > 0",
        )
    _check_settings(settings)
    from gpt_lightning.training.profiling.doctor import examine

    return examine(settings, steps=own.steps, watts=own.watts, as_json=own.json)


def bench_command(command: str, args: Sequence[str]) -> int:
    """Parse, measure and tell.

    Args:
        command: How the command is called.
        args: What follows it.

    Returns:
        0, or what a signal that ended it asks for.

    Raises:
        UserError: A setting is wrong, or the data do not fit it.
    """
    parser = OwnOptions(command, _BENCH, settings=True)
    parser.add_argument("--steps", type=int, default=20, help="Steps to measure (default: 20).")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="Stop earlier after this time, with 3 steps at least (default: 60)."
    )
    parser.add_argument("--json", action="store_true", help="Write one JSON object instead of a table.")
    own, settings = parser.parse_known_args(list(args))
    if own.steps < 1 or not own.seconds > 0:
        raise ConfigError(
            "bench measures a number of steps for a time",
            got={"steps": own.steps, "seconds": own.seconds},
            allowed="steps >= 1, seconds > 0",
        )
    _check_settings(settings)
    from gpt_lightning.training.profiling.bench import tell_step

    return tell_step(settings, steps=own.steps, seconds=own.seconds, as_json=own.json)


def plot_schedule_command(command: str, args: Sequence[str]) -> None:
    """Parse, compute and draw.

    Args:
        command: How the command is called.
        args: What follows it.

    Raises:
        ConfigError: A setting is wrong, or the length of a run depends on data.
    """
    parser = OwnOptions(command, _PLOT_SCHEDULE, settings=True)
    parser.add_argument("-c", "--config", action="append", default=[], help="YAML file; several are several curves.")
    parser.add_argument("-o", "--output", help="Write a picture too: NAME.svg or NAME.png.")
    own, settings = parser.parse_known_args(list(args))
    check_picture(own.output, "plot-schedule")
    _check_settings([*(f"--config={file}" for file in own.config), *settings])
    from gpt_lightning.training.profiling.plot_schedule import draw_curves

    draw_curves(own.config, settings, own.output)


def _check_settings(settings: Sequence[str]) -> None:
    if settings:  # without any, each has something to say of the defaults
        check_arguments("fit", settings)

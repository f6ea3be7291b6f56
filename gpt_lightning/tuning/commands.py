"""The commands ``sweep ...`` as typed."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gpt_lightning.errors import ConfigError, RunFolderError, TrainingError
from gpt_lightning.files.processes import WARNING_SIGNAL
from gpt_lightning.parsing.command import OwnOptions

if TYPE_CHECKING:
    from gpt_lightning.tuning.study.checking import Checked
    from gpt_lightning.tuning.study.sweep import Sweep

_Body = Callable[[argparse.Namespace], "int | None"]


class _CurrentStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is stderr at the moment: while a live table is shown, that is a place above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def sweep_command(command: str, args: Sequence[str]) -> int:
    """Parse and run one of the sweep commands.

    Args:
        command: Its name, such as ``sweep run``.
        args: What follows it.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[_CurrentStderr()])
    logging.getLogger("gpt_lightning").setLevel(logging.INFO)
    name = command.partition(" ")[2]
    body, text, example, add = _COMMANDS[name]
    parser = OwnOptions(command, f"{text}\n\nExample: gpt-lightning {command} {example}")
    what = "Sweep file." if name in ("validate", "run") else "Folder, name or file of a sweep that was begun."
    parser.add_argument("sweep", metavar="SWEEP", help=what)
    add(parser)
    return body(parser.parse_args(list(args))) or 0


def _add_set(parser: argparse.ArgumentParser) -> object:
    return parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="Change a key of the file; may be repeated."
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_set(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--fork", action="store_true", help="A changed space: begin anew with the trials that fit.")
    how.add_argument("--force", action="store_true", help="A changed space: go on in the same study all the same.")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


_positive.__name__ = "whole number from 1 on"


def _add_extend(parser: argparse.ArgumentParser) -> None:
    for name, metavar, text in (
        ("--add", "KEY=VALUES", "Values for a list of values, such as 'model.schedule=[Linear]'; may be repeated."),
        (
            "--widen",
            "KEY",
            "A range: where its best value is the first or last, else both ends; may be repeated.",
        ),
    ):
        parser.add_argument(name, action="append", default=[], metavar=metavar, help=text)
    parser.add_argument("--trials", type=_positive, default=None, help="How many more; none = 10, or all of a grid.")
    parser.add_argument("--top", type=_positive, default=None, help="So many of the best, for a longer run: --steps.")
    parser.add_argument("--steps", default=None, metavar="2x", help="Factor of the length of these.")


def _add_worker(parser: argparse.ArgumentParser) -> None:
    _add_set(parser)
    parser.add_argument("--slot", type=int, default=-1, help="Hold this numbered place of the machine; -1 = none.")
    parser.add_argument("--devices", default="", help="Devices of its trials, as in CUDA_VISIBLE_DEVICES.")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of its trials; 0 = torch's choice.")
    parser.add_argument("--trials", type=int, default=None, help="Attempts after which to leave.")
    parser.add_argument(
        "--requeue", action="store_true", help="In a SLURM job: put it back in the queue when USR1 has come."
    )


def _validate(given: argparse.Namespace) -> None:
    from gpt_lightning.tuning.launch.creating import read_named
    from gpt_lightning.tuning.study.checking import check_sweep, describe_plan, estimate

    spec, _ = read_named(given.sweep, given.set)
    checked = check_sweep(spec)
    estimate(spec, checked)
    sys.stdout.write(describe_plan(spec, checked))


def _run(given: argparse.Namespace) -> int:
    from gpt_lightning.tuning.launch.creating import begin, fork, read_named

    spec, folder = read_named(given.sweep, given.set)
    if given.fork:
        spec, folder = fork(spec)
    return _go_on(*begin(spec, folder, force=given.force))


def _extend(given: argparse.Namespace) -> int:
    from gpt_lightning.tuning.launch.extending import extend, lengthen
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import find_sweep

    if (given.top is None) != (given.steps is None):
        raise ConfigError("--top and --steps belong together", got=given.sweep, fix="Say --top 3 --steps 2x.")
    if given.top is not None and (given.add or given.widen or given.trials is not None):
        raise ConfigError("--top goes with --steps alone", got=given.sweep, fix="Extend twice.")
    old = open_sweep(find_sweep(given.sweep))
    if given.top is not None:
        return _go_on(*lengthen(old, top=given.top, steps=given.steps))
    return _go_on(*extend(old, add=given.add, widen=given.widen, trials=given.trials))


def _go_on(sweep: Sweep, checked: Checked) -> int:
    """Have the trials of a sweep that is begun run to their end."""
    from gpt_lightning.tuning.launch.cluster_launchers import make_launcher
    from gpt_lightning.tuning.launch.creating import allow
    from gpt_lightning.tuning.launch.live import Display
    from gpt_lightning.tuning.launch.running import finish, run_sweep, why_it_failed
    from gpt_lightning.tuning.study.checking import describe_plan
    from gpt_lightning.tuning.workers.worker import StopSignals

    spec, folder = sweep.spec, sweep.folder
    launcher = make_launcher(folder, spec.launcher)
    sys.stdout.write(describe_plan(spec, checked) + f"{launcher.describe()}\n")
    sys.stdout.flush()
    allow(sweep)
    stop = StopSignals()
    reason = run_sweep(sweep, launcher, Display(sweep), stop)
    sys.stdout.write(f"{reason}\n")
    finish(sweep)
    if stop.received in (signal.SIGINT, signal.SIGTERM):
        return 128 + stop.received
    failure = why_it_failed(sweep)
    if failure is not None:
        fix = f"Mend that, then go on: gpt-lightning sweep run {folder.path}."
        raise TrainingError(f"The sweep was stopped: {failure.rstrip('.')}", fix=fix)
    return 0


def _work(given: argparse.Namespace) -> None:
    from gpt_lightning.tuning.launch.cluster_launchers import requeue_job
    from gpt_lightning.tuning.launch.creating import begin, complete, read_named
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.workers.slots import Slot, check_reach, hold_slot
    from gpt_lightning.tuning.workers.worker import StopSignals, work

    stop = StopSignals()  # a job may be warned while it still imports
    spec, folder = read_named(given.sweep, given.set)
    check_reach(spec, folder)
    if not folder.is_begun or Path(given.sweep).is_file():
        begin(spec, folder)
    devices = tuple(each for each in given.devices.split(",") if each)
    with hold_slot(folder, given.slot):
        check_reach(spec, folder)  # again: workers of two machines that start at once see each other now
        sweep = open_sweep(folder)
        complete(sweep)
        ends = work(sweep, Slot(given.slot, devices, given.threads), asked_to_stop=stop, most=given.trials)
    told = ", ".join(f"{count} {state}" for state, count in sorted(ends.items()))
    sys.stdout.write(f"{told or 'nothing to do'}{f'; stopped by {stop.received.name}' if stop.received else ''}\n")
    if stop.received is not None and stop.received == WARNING_SIGNAL and given.requeue:
        requeue_job()


def _status(given: argparse.Namespace) -> None:
    from gpt_lightning.tuning.launch.live import status_text
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import find_sweep

    sys.stdout.write(status_text(open_sweep(find_sweep(given.sweep)), given.json))


def _stop(given: argparse.Namespace) -> None:
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import find_sweep
    from gpt_lightning.tuning.workers.worker import stop_sweep

    sys.stdout.write(stop_sweep(open_sweep(find_sweep(given.sweep))))


def _retry(given: argparse.Namespace) -> None:
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import find_sweep
    from gpt_lightning.tuning.workers.worker import retry_trials

    sys.stdout.write(retry_trials(open_sweep(find_sweep(given.sweep)), given.trials))


def _best(given: argparse.Namespace) -> None:
    from gpt_lightning.tuning.study.best import write_best
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import find_sweep

    sweep = open_sweep(find_sweep(given.sweep))
    path = write_best(sweep, Path(given.out) if given.out else sweep.folder.best, given.trial)
    sys.stdout.write(f"{path}\n")


def _export(given: argparse.Namespace) -> None:
    from gpt_lightning.tuning.study.best import as_table, rows
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import find_sweep

    text = as_table(rows(open_sweep(find_sweep(given.sweep))), given.format)
    if given.out:
        Path(given.out).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def _dashboard(given: argparse.Namespace) -> NoReturn:
    from importlib.metadata import entry_points

    from gpt_lightning.tuning.study.study import load_study
    from gpt_lightning.tuning.study.sweep import read_frozen
    from gpt_lightning.tuning.study.sweep_folder import find_sweep

    folder = find_sweep(given.sweep)
    spec = read_frozen(folder)
    load_study(spec, folder)  # the dashboard would create what is not there
    # Not by its name on the PATH, where another environment's may come first.
    found = list(entry_points(group="console_scripts", name="optuna-dashboard"))
    if not found:
        raise ConfigError(
            "sweep dashboard starts optuna-dashboard, which is not installed",
            fix="pip install 'gpt-lightning[dashboard]'",
        )
    module, _, function = found[0].value.partition(":")
    code = f"import sys, {module} as program; sys.argv[0] = 'optuna-dashboard'; sys.exit(program.{function}())"
    storage = spec.storage
    url = {"sqlite": f"sqlite:///{folder.database}", "journal": str(folder.journal)}.get(storage, storage)
    sys.stdout.flush()
    # In place of this process: whatever ends us ends it.
    os.execv(sys.executable, [sys.executable, "-c", code, url, "--host=127.0.0.1", f"--port={given.port}"])


def _watch(given: argparse.Namespace) -> None:
    from gpt_lightning.parsing.extras import import_extra
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import find_sweep

    for module in ("starlette", "uvicorn"):
        import_extra(module, "serve", "sweep watch needs", ConfigError)
    from gpt_lightning.tuning.launch.watching import watch

    watch(open_sweep(find_sweep(given.sweep)), given.port)


def _fsck(given: argparse.Namespace) -> None:
    from gpt_lightning.tuning.study.sweep_folder import find_sweep
    from gpt_lightning.tuning.workers.repair import check_folder

    if given.set and not given.repair:
        raise ConfigError("sweep fsck changes nothing without --repair", got=given.set, fix="Add --repair.")
    problems = check_folder(find_sweep(given.sweep), mend=given.repair, changes=given.set)
    sys.stdout.write("".join(f"{line}\n" for line in problems) or "nothing to mend\n")
    if problems and not given.repair:
        raise RunFolderError(
            f"{given.sweep} is damaged", fix=f"Mend it: gpt-lightning sweep fsck {given.sweep} --repair."
        )


def _nothing(parser: argparse.ArgumentParser) -> None:
    """No further options."""


_COMMANDS: dict[str, tuple[_Body, str, str, Callable[[argparse.ArgumentParser], object]]] = {
    "validate": (_validate, "Try every key and its edge values, and show what the sweep will do.", "s.yaml", _add_set),
    "run": (
        _run,
        "Run a sweep, or go on with it; Ctrl-C saves and stops.",
        "sweeps/lr_schedule.yaml --set budget.trials=20",
        _add_run,
    ),
    "extend": (
        _extend,
        "Go on from an ended sweep with more values, a wider range, more trials or longer runs of the best; "
        "nothing is trained twice.",
        "runs/lr_schedule --widen model.optimizer.lr",
        _add_extend,
    ),
    "worker": (_work, "Run trials of a sweep in this process, besides any others.", "runs/lr_schedule", _add_worker),
    "status": (
        _status,
        "Show the trials of a sweep.",
        "runs/lr_schedule --json",
        lambda parser: parser.add_argument("--json", action="store_true", help="As JSON."),
    ),
    "watch": (
        _watch,
        "Follow a sweep in the browser: its report as a page that goes on, with buttons to stop, retry and enqueue.",
        "runs/lr_schedule",
        lambda parser: parser.add_argument("--port", type=int, default=0, help="Port of 127.0.0.1; 0 = a free one."),
    ),
    "stop": (_stop, "Ask all workers of a sweep to save and end.", "runs/lr_schedule", _nothing),
    "retry": (
        _retry,
        "Let failed trials run again, from their own checkpoints.",
        "runs/lr_schedule 3 7",
        lambda parser: parser.add_argument(
            "trials", nargs="*", type=int, help="Their numbers; none = all failed ones."
        ),
    ),
    "best": (
        _best,
        "Write the complete configuration of the best trial.",
        "runs/lr_schedule --out configs/best.yaml",
        lambda parser: (
            parser.add_argument("--out", default="", help="File to write; best.yaml in the sweep's folder."),
            parser.add_argument("--trial", type=int, default=None, help="That of another trial."),
        ),
    ),
    "export": (
        _export,
        "Write all trials as a table.",
        "runs/lr_schedule --format csv --out trials.csv",
        lambda parser: (
            parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="Kind of table."),
            parser.add_argument("--out", default="", help="File to write; none = standard output."),
        ),
    ),
    "dashboard": (
        _dashboard,
        "Start optuna-dashboard on a sweep.",
        "runs/lr_schedule",
        lambda parser: parser.add_argument("--port", type=int, default=8080, help="Port of 127.0.0.1."),
    ),
    "fsck": (
        _fsck,
        "Look for damage in the storage of a sweep, and mend it, if need be from the results in its folder.",
        "runs/lr_schedule --repair",
        lambda parser: (
            parser.add_argument("--repair", action="store_true", help="Mend what was found."),
            _add_set(parser),
        ),
    ),
}

"""A trial's process: the same ``build`` and ``fit`` as any other run, between a letter that says how and last words.

    python -m gpt_lightning.tuning.trial.child FOLDER START    a process of its own, for trials on several devices
    run_trial(FOLDER, START), forked from a warm server  everything else

The last words say how it ended in a way that the supervisor can count: finished, pruned, stopped after saving, or by
what class of cause (``causes``). Killed, it leaves none; where the disk takes none, its exit code says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpt_lightning.errors import ConfigError, StopRequested
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.files.processes import ProcessIdentity, kill_with_children
from gpt_lightning.parsing.strict_yaml import load_yaml
from gpt_lightning.training.engine.processes import process_rank
from gpt_lightning.training.fitting.build import build_parsed, quieten_lightning
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.fitting.run import Run, add_callbacks
from gpt_lightning.training.profiling.reuse_commands import compare_with_scratch
from gpt_lightning.training.reuse.reuse import PrefixReuse, Reuse
from gpt_lightning.training.runs.run_folder import CONFIG_FILE, is_in_use
from gpt_lightning.tuning.spec.causes import BUG, MACHINE_EXIT_CODE, MEMORY, find_cause
from gpt_lightning.tuning.trial.mailbox import NEEDS_OWN, Exit, Mailbox, read_trial_spec
from gpt_lightning.tuning.trial.reporting import Pruned, Reporting, check_limits

_WATCH_SECONDS, _PAUSE_SECONDS = 1.0, 0.05
_SAVE_SECONDS = 120.0
"""Longest time that a process gets to save when it is no longer wanted."""
_NAMED = (MEMORY, BUG)
"""Causes whose texts say little without the class of the error."""


def run_trial(folder: Path, start: str, forked: bool = False) -> None:
    """Train the trial in ``folder`` to its end, and leave last words.

    Args:
        folder: Of the trial.
        start: Mark of this start; with a letter of another one there is nothing to do here any more.
        forked: Whether this process came from a warm server.
    """
    letter, mailbox = read_trial_spec(folder), Mailbox(folder, start)
    if letter["start"] != start:
        return
    os.environ.update(letter["environment"])
    if letter["threads"]:
        torch.set_num_threads(letter["threads"])
    if process_rank() == 0:
        _watch(ProcessIdentity(**letter["supervisor"]), mailbox)
    reporting: list[Reporting] = []
    try:
        end = _train(folder, letter, mailbox, reporting, forked)
    except BaseException as problem:
        if not isinstance(problem, (Pruned, StopRequested)):
            _print_traceback()
        last = reporting[0].last if reporting else None
        outcome, reason, detail = explain(problem)
        end = Exit(outcome, reason, detail, metrics=getattr(problem, "metrics", {}))
        if last is not None:
            end = replace(end, step=last.step, executed_steps=last.executed, tokens=last.tokens)
        if isinstance(problem, StopRequested) and reporting:
            end = replace(end, step=problem.step, executed_steps=reporting[0].executed(problem.step))
    if process_rank() == 0:
        _leave(mailbox, end)


def _leave(mailbox: Mailbox, end: Exit) -> None:
    try:
        mailbox.leave(end)
    except OSError as problem:
        _print_traceback()
        # At once: what Python and libraries do at an end writes to the same disk, and changes the exit code.
        os._exit(MACHINE_EXIT_CODE if find_cause(problem).outcome == "machine" else 1)


def _print_traceback() -> None:
    with contextlib.suppress(OSError):  # the file that is printed to may be on the disk that is full
        traceback.print_exc()


def _train(folder: Path, letter: dict[str, Any], mailbox: Mailbox, reporting: list[Reporting], forked: bool) -> Exit:
    line = TrainerCommandLine("fit", [*letter["arguments"], f"--run.dir={folder}"], typed=False)
    if forked and needs_processes(line.config.trainer):
        return Exit("failed", NEEDS_OWN)
    if process_rank() == 0 and not (folder / CONFIG_FILE).exists():
        write_text_durably(folder / CONFIG_FILE, dump_config(line))
    run = build_parsed(line)
    check_limits(run, letter.get("limits", ()))
    run.varied = letter.get("varied")
    reporting.append(Reporting(run, mailbox, letter["patience"]))
    add_callbacks(run.trainer, reporting[0])
    if process_rank() == 0:
        _wait_for_folder(mailbox)
    result = run.fit("auto", _choose_reuse(run, letter["reuse"]))
    if process_rank() == 0:
        reporting[0].catch_up(result.step, result.executed_steps)
    differing = _verify(folder, letter["reuse"]) if result.reused_steps else []
    return Exit(
        "failed" if differing else "finished",
        f"reuse: a run from scratch differs in {'; '.join(differing[:3])}" if differing else None,
        step=result.step,
        executed_steps=result.executed_steps,
        reused_steps=result.reused_steps,
        tokens=run.plan.horizon.tokens_before(result.step),
    )


def _choose_reuse(run: Run, wish: dict[str, Any] | None) -> Reuse | None:
    """The store of prefixes, unless the run cannot share and nobody insists."""
    if wish is None:
        return None
    reuse = Reuse(Path(wish["folder"]), wish["every"], wish["budget_bytes"])
    try:
        PrefixReuse(reuse, run)
    except ConfigError as problem:
        if wish["insist"]:
            raise
        sys.stdout.write(f"nothing is shared: {problem}\n")
        return None
    return reuse


def _verify(folder: Path, wish: dict[str, Any] | None) -> list[str]:
    """Train once more from scratch if this trial is among those that are checked; what differs."""
    if wish is None or not wish["verify"]:
        return []
    return compare_with_scratch(folder, folder / "again")


def dump_config(line: TrainerCommandLine) -> str:
    """The whole configuration as ``fit --config`` reads it; where it runs and how it began are not part of it."""
    config = line.config.clone()
    for key in ("config", "preset", "resume", "init_from"):
        config.pop(key, None)
    config["run.dir"] = None
    return str(line.parser.dump(config, skip_unset=False, skip_validation=True))


def needs_processes(trainer: Any) -> bool:
    """Whether a Trainer of these settings starts more than one process."""
    devices = trainer.devices
    if isinstance(devices, list) or (isinstance(devices, str) and "," in devices):
        count = len(devices if isinstance(devices, list) else [each for each in devices.split(",") if each.strip()])
    elif str(devices) in ("auto", "-1"):
        count = torch.accelerator.device_count() if str(trainer.accelerator) != "cpu" else 1
    else:
        count = int(devices)
    return count > 1 or int(trainer.num_nodes) > 1


def explain(problem: BaseException) -> tuple[str, str, str]:
    """Outcome, reason and text of what ended a trial."""
    text = " ".join(str(problem).split())
    if isinstance(problem, Pruned):
        return "pruned", text, ""
    if isinstance(problem, (StopRequested, KeyboardInterrupt)):
        return "stopped", text or "interrupted", ""
    cause = find_cause(problem)
    return cause.outcome, cause.word, f"{type(problem).__name__}: {text}" if cause in _NAMED else text


def _watch(supervisor: ProcessIdentity, mailbox: Mailbox) -> None:
    """Save and end when nobody listens any more: another worker goes on from what was saved."""

    def look() -> None:
        while supervisor.alive() and mailbox.is_current():
            time.sleep(_WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_SAVE_SECONDS)
        kill_with_children(os.getpid())  # and its group: both kinds of process lead one

    threading.Thread(target=look, daemon=True).start()


def _wait_for_folder(mailbox: Mailbox) -> None:
    """A process of an earlier start may still be saving here: it ends by itself, see ``_watch``.

    Raises:
        StopRequested: Meanwhile somebody else has begun the trial anew.
    """
    end = time.monotonic() + _WATCH_SECONDS + _SAVE_SECONDS
    while is_in_use(mailbox.folder) and time.monotonic() < end:
        time.sleep(_PAUSE_SECONDS)
    if not mailbox.is_current():
        raise StopRequested("a later start", 0)


def warm_up() -> None:
    """Parse once in the server, so that forked trials find the signatures of all classes read already."""
    quieten_lightning()
    load_yaml("{}")
    TrainerCommandLine("fit", [])


if __name__ == "__main__":
    run_trial(Path(sys.argv[1]), sys.argv[2])

"""``sweep stop`` and ``sweep retry``."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from gpt_lightning.errors import RunFolderError
from gpt_lightning.files.processes import ProcessIdentity
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.sweep import FAULT, STOP, Sweep
from gpt_lightning.tuning.workers.leases import add_copy


def stop_sweep(sweep: Sweep) -> str:
    """Ask every worker to save and end: at once on this machine, elsewhere with the next lease; returns what to say."""
    sweep.store(lambda: sweep.study.set_user_attr(STOP, "stopped by sweep stop"), "writing to the study")
    here, elsewhere = 0, 0
    for entry in sweep.entries():
        lease = entry.fact(names.LEASE) if entry.state == "running" else None
        owner = ProcessIdentity(**lease["owner"]) if lease else None
        if owner is not None and owner.here() and owner.alive():
            owner.signal_alone(signal.SIGTERM)
            here += 1
        elsewhere += owner is not None and not owner.here()
    wait = f", {elsewhere} elsewhere within {sweep.spec.retry.lease_seconds:g} s" if elsewhere else ""
    return (
        f"{here} workers of this machine were asked to stop{wait}. Go on: gpt-lightning sweep run {sweep.folder.path}\n"
    )


def stop_for_fault(sweep: Sweep, reason: str) -> None:
    """Stop every worker because of the machine; ``sweep run`` says so, and takes it back when it is started again."""
    sweep.store(lambda: sweep.study.set_user_attr(FAULT, reason), "writing to the study")
    sweep.store(lambda: sweep.study.set_user_attr(STOP, f"stopped, {reason}"), "writing to the study")


def retry_trials(sweep: Sweep, numbers: Sequence[int]) -> str:
    """Let failed trials wait again; returns what to say.

    Raises:
        RunFolderError: One of the numbers is not that of a failed trial.
    """
    with sweep.folder.locked():
        failed = {entry.first: entry for entry in sweep.entries() if entry.state == "failed"}
        wanted = list(numbers) or sorted(failed)
        for number in wanted:
            if number not in failed:
                known = ", ".join(map(str, sorted(failed))) or "none"
                raise RunFolderError(f"Trial {number} is not a failed one", got=number, allowed=f"failed: {known}")
        for number in wanted:
            add_copy(sweep, failed[number].last, **{names.DEATHS: 0, names.FAULTS: 0})
    return f"{len(wanted)} trials wait again. Run them: gpt-lightning sweep run {sweep.folder.path}\n"

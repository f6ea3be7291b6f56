"""A worker: claims trials and runs them, one at a time, until there is nothing left or it is asked to stop.

Workers know nothing of each other. All that they share is the study and the folder; any number may come and go.

Also how a sweep is stopped and its trials tried again, which workers see in the study.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from gpt_lightning.errors import MachineError, RunFolderError
from gpt_lightning.files.processes import STOP_SIGNALS, ProcessIdentity
from gpt_lightning.tuning.spec.causes import Patience
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.entries import LEASE
from gpt_lightning.tuning.study.sweep import FAULT, STOP, Sweep
from gpt_lightning.tuning.trial.children import prepare_server
from gpt_lightning.tuning.workers.claiming import claim
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper, add_copy
from gpt_lightning.tuning.workers.slots import Slot
from gpt_lightning.tuning.workers.supervisor import Supervisor

log = logging.getLogger("gpt_lightning")


class StopSignals:
    """Remembers SIGTERM, SIGINT or SIGUSR1 (which clusters send before they take a node away)."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._remember)

    def __call__(self) -> bool:
        """Whether one has come."""
        return self.received is not None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        # The first one: a job that was warned by USR1 is requeued, and gets TERM when that takes effect.
        self.received = self.received or signal.Signals(number)


def work(
    sweep: Sweep, slot: Slot, *, asked_to_stop: Callable[[], bool], most: int | None = None, lease: Lease | None = None
) -> dict[str, int]:
    """Run trials until none is left.

    Args:
        sweep: The sweep.
        slot: What the trials may use.
        asked_to_stop: Whether to stop: the running trial saves, and waits for another worker.
        most: Attempts after which to leave; None = no limit.
        lease: The worker's identity; None = this process.

    Returns:
        How many attempts ended in which state.

    Raises:
        MachineError: Disk, network or storage fail again and again: the sweep is stopped, its trials wait.
    """
    prepare_server()
    lease = lease or Lease()
    reaper = StaleTrialReaper(sweep)
    supervisor = Supervisor(sweep, slot, lease, asked_to_stop)
    patience, ends = Patience(sweep.spec.retry, asked_to_stop), dict[str, int]()
    while not asked_to_stop() and (most is None or sum(ends.values()) < most):
        trial = claim(sweep, reaper, lease)
        if trial is None:
            break
        state = supervisor.run(trial)
        ends[state] = ends.get(state, 0) + 1
        log.info("trial %d: %s", trial.user_attrs["first"], state)
        if state != "machine":
            patience.recover()
            continue
        log.warning("%s; the trial waits", supervisor.reason)
        if not patience.endure(supervisor.faults):
            raise _stop_for_the_machine(sweep, supervisor.reason)
    return ends


def _stop_for_the_machine(sweep: Sweep, reason: str) -> MachineError:
    """Stop the sweep; where trials run on other machines, only this worker ends."""
    if not _others_work(sweep):
        stop_for_fault(sweep, reason)
    return MachineError(
        f"{reason}; tried {sweep.spec.retry.max} times more",
        fix=f"No trial is lost. Mend that, then go on: gpt-lightning sweep run {sweep.folder.path}.",
    )


def _others_work(sweep: Sweep) -> bool:
    leases = [entry.fact(LEASE) for entry in sweep.entries() if entry.state == "running"]
    return any(lease and not ProcessIdentity(**lease["owner"]).here() for lease in leases)


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

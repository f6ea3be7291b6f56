"""What a supervisor writes for a trial's process before it starts it: how to build the run, and with what."""

from __future__ import annotations

import random
from typing import Any

from optuna.trial import FrozenTrial

from gpt_lightning.files.processes import ProcessIdentity
from gpt_lightning.tuning.spec.trial_arguments import complete_values, shares_steps, trial_arguments
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.board_tab import session_values
from gpt_lightning.tuning.study.sweep import Sweep
from gpt_lightning.tuning.workers.slots import Slot

_VERDICT_SECONDS = 30.0
"""Longest time that a trial waits for the answer to a report."""


def compose_trial_spec(
    sweep: Sweep, trial: FrozenTrial, slot: Slot, supervisor: ProcessIdentity, start: str
) -> dict[str, Any]:
    """The content of ``trial.json``.

    Args:
        sweep: The sweep.
        trial: A claimed attempt.
        slot: What it may use.
        supervisor: The process whose death it must notice.
        start: Mark of this start.
    """
    spec, base, chosen = sweep.spec, sweep.base, trial.user_attrs[names.VALUES]
    arguments = trial_arguments(spec, complete_values(spec, chosen, base["constants"]), base["classes"])
    seed = trial.user_attrs.get("seed")
    if seed is not None:
        arguments.append(f"--seed_everything={seed}")
    return {
        "start": start,
        "arguments": arguments,
        "environment": slot.environment(),
        "threads": slot.threads,
        "patience": _VERDICT_SECONDS,
        "reuse": _reuse(sweep, int(trial.user_attrs[names.FIRST])),
        "varied": session_values(spec, chosen),
        "values": chosen,
        "repeats": trial.user_attrs.get("repeats"),
        "supervisor": supervisor.plain(),
    }


def _reuse(sweep: Sweep, number: int) -> dict[str, Any] | None:
    """How the trial shares steps with others; None = it does not."""
    spec = sweep.spec
    if not shares_steps(spec):
        return None
    return {
        "folder": str(sweep.folder.prefixes),
        "every": spec.reuse.every,
        "budget_bytes": spec.reuse.budget_bytes,
        "insist": spec.reuse.enabled == "true",
        "verify": _is_chosen(spec.reuse.verify, spec.seed, number),
    }


def _is_chosen(fraction: float, seed: int, number: int) -> bool:
    """Whether a trial is among those whose reused steps are computed once more."""
    return random.Random(f"{seed} {number}").random() < fraction

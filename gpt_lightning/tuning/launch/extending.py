"""``sweep extend``: a sweep that goes on from an ended one, which stays as it is.

Two ways. With more values, a wider range or more trials, the new sweep begins with all ended trials of the old one, so
that nothing is trained twice. With ``--top K --steps 2x`` it has the best K points once more over a longer run. Both
share the checkpoints of the old one: a longer run of a schedule with a constant stretch goes on from where the shorter
one began to decay.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.optim.schedules.lengths import parse_length
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.training.runs.run_folder import CONFIG_FILE
from gpt_lightning.tuning.launch.creating import begin_after
from gpt_lightning.tuning.study.best import trial_folder
from gpt_lightning.tuning.study.checking import Checked
from gpt_lightning.tuning.study.edges import adding, widening
from gpt_lightning.tuning.study.entries import Entry
from gpt_lightning.tuning.study.sweep import Sweep, read_frozen

MORE_TRIALS = 10
"""Trials that a sampler gets for what was added, unless a number is given."""
_LENGTHS = ("trainer.max_steps", "run.max_tokens", "trainer.max_epochs")
_WARMUP = "model.schedule.warmup"


def extend(
    old: Sweep, *, add: Sequence[str] = (), widen: Sequence[str] = (), trials: int | None = None
) -> tuple[Sweep, Checked]:
    """Begin a sweep with more values, wider ranges or more trials, and all that the old one has found.

    Args:
        old: All of its trials have ended.
        add: ``KEY=VALUES`` each.
        widen: Keys of ranges.
        trials: How many more; None = every new point of a grid, else ``MORE_TRIALS``.

    Raises:
        ConfigError: There is nothing to change, or it cannot be changed so.
        RunFolderError: Trials of the old one have not ended.
    """
    entries = _ended(old)
    if not add and not widen and trials is None:
        fix = "Say --add 'KEY=VALUES', --widen KEY, --trials N, or --top K --steps 2x."
        raise ConfigError("sweep extend was told nothing to extend", fix=fix)
    changes = [each for wish in add for each in adding(old.spec, wish)]
    changes += [each for key in widen for each in widening(old, key)]
    there = sum(entry.repeats is None and entry.state != "failed" for entry in entries)
    if trials is None and old.spec.method.name == "grid":
        changes.append("budget.trials=null")
    else:
        changes.append(f"budget.trials={there + (MORE_TRIALS if trials is None else trials)}")
    return begin_after(old, read_frozen(old.folder, changes), take_over=True)


def lengthen(old: Sweep, *, top: int, steps: str) -> tuple[Sweep, Checked]:
    """Begin a sweep of the best points of an old one over a longer run.

    A warm-up that is a share of the run keeps the steps that it had: else no step would be that of the shorter run.

    Args:
        old: All of its trials have ended.
        top: How many of the best.
        steps: Factor of the length, such as ``2x``.

    Raises:
        ConfigError: The length is varied, or the factor is none.
        RunFolderError: Trials of the old one have not ended, or none has a value.
    """
    _ended(old)
    factor = _factor(steps)
    best = old.ranked()[:top]
    if not best:
        raise RunFolderError(f"{old.folder.path} has no finished trial", fix="Finish it first.")
    config = read_yaml(trial_folder(old, best[0]) / CONFIG_FILE)
    key, length = next((name, value) for name in _LENGTHS if (value := _setting(config, name)) not in (None, -1))
    if key in old.spec.parameters:
        raise ConfigError(f"--steps: {key} is a parameter of this sweep", got=steps, fix=f"Say --widen {key}.")
    new = round(float(length) * factor)
    points, changes = [entry.values for entry in best], [f"derive.{key}={new}", f"budget.trials={len(best)}"]
    warmup = _kept_warmup(old, config, factor)
    if warmup is not None and _WARMUP in old.spec.parameters:
        points = [{**each, **({_WARMUP: warmup} if _WARMUP in each else {})} for each in points]
        changes.append(f"parameters.{_WARMUP}.value={warmup}")
    elif warmup is not None:
        changes.append(f"derive.{_WARMUP}={warmup}")
    changes.append(f"enqueue={json.dumps(points)}")
    spec = read_frozen(old.folder, [*changes, "budget.stop_when={}", "early_terminate={type: none}"])
    return begin_after(old, spec, take_over=False)


def _ended(old: Sweep) -> list[Entry]:
    entries = old.entries()
    going = [entry for entry in entries if not entry.ended]
    if going:
        states = {entry.state for entry in going}
        raise RunFolderError(
            f"{len(going)} trials of {old.folder.path} have not ended ({' and '.join(sorted(states))})",
            fix=f"Let it end first: gpt-lightning sweep run {old.folder.path}.",
        )
    return entries


def _factor(steps: str) -> float:
    try:
        factor = float(steps.strip().removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 1.0 < factor < 1e6:
        raise ConfigError("--steps is no factor of the length", got=steps, allowed="above 1, such as 2x or 1.5x")
    return factor


def _setting(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _kept_warmup(old: Sweep, config: dict[str, Any], factor: float) -> str | None:
    """The warm-up as the smaller share that it is of the longer run; None where it is no share, or a choice."""
    parameter = old.spec.parameters.get(_WARMUP)
    given = _setting(config, "model.schedule.init_args.warmup")
    if given is None or (parameter is not None and len(parameter.edges()) > 1):
        return None
    length = parse_length(given, _WARMUP)
    if length.unit != "share":
        return None
    return f"{100 * float(length.value) / factor * (1 + 1e-9):.14g}%"  # not a step less by rounding

"""Where a sweep's best value lies at the end of its range, and how a sweep is changed so that it goes on.

A change is text as of ``--set``, so that what ``sweep extend`` does could be typed and is checked as what is typed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.strict_yaml import YAMLProblem, load_yaml
from gpt_lightning.parsing.suggest import did_you_mean, join_names
from gpt_lightning.tuning.spec.parameters import Parameter, Values
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.entries import Entry, rank
from gpt_lightning.tuning.study.samplers import position
from gpt_lightning.tuning.study.sweep import Sweep

_NEAR = 0.03
"""Share of a range at which a value counts as its end."""
_INVERTED = ("log_uniform", "q_log_uniform", "inv_log_uniform")
"""Distributions of a Weights & Biases file whose ends are exponents."""


def edge_notes(spec: SweepSpec, entries: Sequence[Entry], folder: Path) -> list[str]:
    """A line for each parameter whose best value is the first or last of its range, with the command that widens it.

    An end at 0 is none: below it there is mostly nothing.
    """
    ranked = rank(spec, entries)
    if not ranked:
        return []
    found = []
    for key, value in ranked[0].values.items():
        parameter = spec.parameters.get(key)
        place = None if parameter is None else _end(parameter, value)
        if place:
            found.append(
                f"{key}: the best value, {value:g}, is the {place} of its range. Go on from there: "
                f"gpt-lightning sweep extend {folder} --widen {key}"
            )
    return found


def _end(parameter: Parameter, value: Any) -> str:
    """``first``, ``last``, or empty."""
    ends = parameter.ordered()
    if not ends or isinstance(value, bool) or not isinstance(value, (int, float)) or ends[0] == ends[1]:
        return ""
    grid = parameter.grid()
    if grid is not None:
        low, high = value == grid[0], value == grid[-1]
    else:
        place = position(parameter.distribution(), parameter.encode(value))
        low, high = place <= _NEAR, place >= 1 - _NEAR
    return "first" if low and ends[0] != 0 else "last" if high else ""


def widening(sweep: Sweep, key: str) -> list[str]:
    """Changes that let a range go on where its best value lies: at that end, or at both where it lies between.

    Raises:
        ConfigError: There is no such range.
    """
    parameter = _known(sweep.spec, key)
    ranked = sweep.ranked()
    value = ranked[0].values.get(key) if ranked else None
    end = _end(parameter, value)
    sides = [True] if end == "last" else [False] if end == "first" else [True, False]
    if isinstance(parameter, Values) and len(sides) == 2:
        new = [*parameter.widen(up=False)["values"][:1], *parameter.widen(up=True)["values"]]
        fields = {"values": new}
    else:
        fields = {name: each for up in sides for name, each in parameter.widen(up=up).items()}
    return [f"parameters.{key}.{name}={json.dumps(each)}" for name, each in fields.items()]


def adding(spec: SweepSpec, wish: str) -> list[str]:
    """The change of ``--add KEY=VALUES``.

    Raises:
        ConfigError: It names no list of values, or a value that is there.
    """
    key, equals, text = wish.partition("=")
    if not equals or not text.strip():
        raise ConfigError("--add takes key=values", got=wish, fix="Say --add 'model.optimizer.lr=[4e-3, 8e-3]'.")
    parameter = _known(spec, key)
    if not isinstance(parameter, Values):
        raise ConfigError(f"--add: {key} is a range", got=parameter.describe(), fix=f"Say --widen {key}.")
    try:
        given = load_yaml(text)
        new = given if isinstance(given, list) else load_yaml(f"[{text}]")
    except YAMLProblem as problem:
        raise ConfigError(f"--add {key} has values that are not YAML: {problem}", got=text) from problem
    values = [*parameter.values, *new]
    if parameter.ordered() and all(isinstance(each, (int, float)) for each in values):
        values.sort()
    return [f"parameters.{key}.values={json.dumps(values)}"]


def _known(spec: SweepSpec, key: str) -> Parameter:
    parameter = spec.parameters.get(key)
    if parameter is None:
        near = did_you_mean(key, spec.parameters)
        raise ConfigError("no parameter of this sweep", got=key, allowed=join_names(spec.parameters), fix=near)
    own = spec.raw["parameters"].get(key)
    if not isinstance(own, dict) or own.get("distribution") in (_INVERTED if spec.ignored else ()):
        raise ConfigError(
            f"{key} is written in the words of Weights & Biases, which are not changed here",
            got=own,
            fix="Change the sweep file, then: gpt-lightning sweep run FILE --fork.",
        )
    return parameter

"""The ``parameters`` of a sweep file -> records, in an order in which parents of ``when`` come first.

Key names are those of Weights & Biases, so that its files load unchanged; its ``log_uniform`` gives exponents of e,
which only a file of that kind can mean (a range in ours is written in values).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from gpt_lightning.parsing.suggest import did_you_mean, join_names
from gpt_lightning.tuning.parameters import Conditions, LogGrid, Normal, Parameter, Range, Values, label, same
from gpt_lightning.tuning.sections import Section

FIELDS = ("value", "values", "distribution", "min", "max", "q", "mu", "sigma", "per_octave", "when", "probabilities")
_Build = Callable[["Section", str, Conditions], Parameter]


def read_parameters(section: Section, foreign: bool) -> dict[str, Parameter]:
    """All parameters by key.

    Args:
        section: ``parameters`` of the file.
        foreign: Whether it is a Weights & Biases file.

    Raises:
        ConfigError: A parameter is not understood, or waits for one that is not there.
    """
    found: dict[str, Parameter] = {}
    _collect(section, "", foreign, found)
    if not found:
        section.refuse("", "names nothing to vary", got=dict(section.content), fix="Add a key with values or a range.")
    for parameter in found.values():
        _check_conditions(section, parameter, found)
    return _in_order(section, found)


def _collect(section: Section, prefix: str, foreign: bool, found: dict[str, Parameter]) -> None:
    for name in section.content:
        key = f"{prefix}{name}"
        if not isinstance(section.content[name], Mapping):
            section.refuse(
                name, "is not a parameter", got=section.content[name], allowed="{values: [..]} or {min: .., max: ..}"
            )
        inner = section.section(name)
        if set(inner.content) == {"parameters"}:
            _collect(inner.section("parameters"), f"{key}.", foreign, found)
        else:
            found[key] = _read_parameter(inner, key, foreign)
            inner.finish()


def _read_parameter(section: Section, key: str, foreign: bool) -> Parameter:
    for name in section.content:
        if name not in FIELDS:
            section.refuse(
                name,
                "is not a key",
                got=section.content[name],
                allowed=join_names(FIELDS),
                fix=did_you_mean(name, FIELDS),
            )
    conditions = {name: tuple(section.section("when").sequence(name)) for name in section.section("when").content}
    given = [name for name in ("value", "values") if name in section.content]
    if given:
        section.take("distribution")
        section.take("probabilities")
        values = [section.take("value")] if given[0] == "value" else section.sequence("values")
        if not values:
            section.refuse("values", "is empty", got=values, allowed="at least one value")
        for index, value in enumerate(values):
            if any(same(value, other) for other in values[:index]) and not isinstance(value, Mapping):
                section.refuse("values", "names a value twice", got=value)
        return Values(key, values, conditions)
    kind = section.take("distribution") or _guess(section)
    kinds = {**_KINDS, **(_FOREIGN if foreign else {})}
    if kind not in kinds:
        section.refuse(
            "distribution", "is not known", got=kind, allowed=join_names(kinds, 30), fix=did_you_mean(str(kind), kinds)
        )
    return kinds[kind](section, key, conditions)


def _guess(section: Section) -> str:
    ends = [section.content.get(name) for name in ("min", "max")]
    return "int" if all(isinstance(end, int) and not isinstance(end, bool) for end in ends) else "uniform"


def _ends(section: Section) -> tuple[float, float]:
    low, high = section.number("min"), section.number("max")
    for name, value in (("min", low), ("max", high)):
        if value is None:
            section.refuse(name, "is missing", got=dict(section.content), allowed="min and max, or values")
    if low > high:
        section.refuse("min", "is above max", got=low, allowed=f"at most {high:g}")
    return low, high


def _range(*, log: bool = False, whole: bool = False, quantised: bool = False, exponents: bool = False) -> _Build:
    def build(section: Section, key: str, when: Conditions) -> Parameter:
        low, high = _ends(section)
        if exponents:
            low, high = math.exp(low), math.exp(high)
        if log and low <= 0:
            section.refuse("min", "has no logarithm", got=low, allowed="above 0 (values, not exponents)")
        quantum = section.number("q")
        if quantum is None and quantised:
            quantum = 1
        if quantum is not None and quantum <= 0:
            section.refuse("q", "is not a distance", got=quantum, allowed="above 0")
        if whole and any(number != int(number) for number in (low, high, quantum or 1)):
            section.refuse("min", "is not whole", got=dict(section.content), allowed="whole min, max and q")
        return Range(key, minimum=low, maximum=high, log=log, whole=whole, quantum=quantum, when=when)

    return build


def _log_grid(section: Section, key: str, when: Conditions) -> Parameter:
    low, high = _ends(section)
    if low <= 0:
        section.refuse("min", "has no logarithm", got=low, allowed="above 0")
    per_octave = section.number("per_octave", 1, least=1, whole=True)
    return LogGrid(key, minimum=low, maximum=high, per_octave=per_octave, when=when)


def _normal(*, log: bool = False, quantised: bool = False) -> _Build:
    def build(section: Section, key: str, when: Conditions) -> Parameter:
        mean, deviation = section.number("mu", 0.0), section.number("sigma", 1.0)
        if deviation <= 0:
            section.refuse("sigma", "is not a deviation", got=deviation, allowed="above 0")
        quantum = section.number("q", 1.0) if quantised else None
        return Normal(key, mean=mean, deviation=deviation, log=log, quantum=quantum, when=when)

    return build


_KINDS: dict[str, _Build] = {
    "uniform": _range(),
    "q_uniform": _range(quantised=True),
    "log_uniform": _range(log=True),
    "log_uniform_values": _range(log=True),
    "q_log_uniform": _range(log=True, quantised=True),
    "q_log_uniform_values": _range(log=True, quantised=True),
    "int": _range(whole=True),
    "int_uniform": _range(whole=True),
    "log_int": _range(whole=True, log=True),
    "log_grid": _log_grid,
    "normal": _normal(),
    "q_normal": _normal(quantised=True),
    "log_normal": _normal(log=True),
    "q_log_normal": _normal(log=True, quantised=True),
}
_FOREIGN: dict[str, _Build] = {
    "log_uniform": _range(log=True, exponents=True),
    "q_log_uniform": _range(log=True, quantised=True, exponents=True),
}


def _check_conditions(section: Section, parameter: Parameter, known: Mapping[str, Parameter]) -> None:
    for name, values in parameter.when.items():
        place = f"{parameter.key}.when"
        parent = known.get(name)
        if parent is None:
            section.refuse(place, "waits for no parameter of this sweep", got=name, fix=did_you_mean(name, known))
        choices = parent.grid()
        if choices is None:
            section.refuse(place, "waits for a continuous range", got=name, allowed="a parameter with single values")
        for value in values:
            if not any(same(value, choice) for choice in choices):
                allowed = join_names(str(label(choice)) for choice in choices)
                section.refuse(place, f"waits for a value that {name} never has", got=value, allowed=allowed)


def _in_order(section: Section, found: dict[str, Parameter]) -> dict[str, Parameter]:
    ordered: dict[str, Parameter] = {}
    while len(ordered) < len(found):
        ready = [
            key for key, each in found.items() if key not in ordered and all(name in ordered for name in each.when)
        ]
        if not ready:
            stuck = [key for key in found if key not in ordered]
            section.refuse(f"{stuck[0]}.when", "waits for itself", got=stuck)
        ordered |= {key: found[key] for key in ready}
    return ordered


def is_active(parameter: Parameter, chosen: Mapping[str, Any]) -> bool:
    """Whether a parameter exists beside these values."""
    return all(
        name in chosen and any(same(chosen[name], value) for value in values) for name, values in parameter.when.items()
    )

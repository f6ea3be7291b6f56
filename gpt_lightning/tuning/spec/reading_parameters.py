"""The ``parameters`` of a sweep file -> records, in an order in which parents of ``when`` come first.

Key names are those of Weights & Biases, so that its files load unchanged; its ``log_uniform`` gives exponents of e,
which only a file of that kind can mean (a range in ours is written in values).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.suggest import did_you_mean, join_names
from gpt_lightning.tuning.spec.parameters import Conditions, LogGrid, Parameter, Range, Values, label, same
from gpt_lightning.tuning.spec.quantiles import Beta, Normal
from gpt_lightning.tuning.spec.sections import Section, ask

FIELDS = (
    "value",
    "values",
    "distribution",
    "min",
    "max",
    "q",
    "mu",
    "sigma",
    "a",
    "b",
    "per_octave",
    "when",
    "probabilities",
)
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
            if not _is_finite(value):
                section.refuse("values", "holds what is no number", got=value, allowed="finite numbers, or null")
            if any(_is_same_choice(value, other) for other in values[:index]):
                section.refuse("values", "names a value twice", got=value)
        return Values(key, values, conditions)
    kind = section.take("distribution") or _guess(section)
    kinds = {**_KINDS, **(_FOREIGN if foreign else {})}
    if kind not in kinds:
        section.refuse(
            "distribution", "is not known", got=kind, allowed=join_names(kinds, 30), fix=did_you_mean(str(kind), kinds)
        )
    return kinds[kind](section, key, conditions)


def _is_finite(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return not (isinstance(value, float) and not math.isfinite(value)) and all(map(_is_finite, inner))


def _is_same_choice(one: Any, other: Any) -> bool:
    """Two mappings of one class are two choices unless all their arguments agree."""
    both = isinstance(one, Mapping) and isinstance(other, Mapping)
    return label(one) == label(other) if both else same(one, other)


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


def _range(*, log: bool = False, whole: bool = False, quantised: bool = False, exponents: int | None = None) -> _Build:
    """A reader of ranges; ``exponents``: min and max are those of e (1), or of the inverse (-1)."""

    def build(section: Section, key: str, when: Conditions) -> Parameter:
        low, high = _ends(section)
        if exponents is not None:
            low, high = sorted(_exponential(section, exponents * each) for each in (low, high))
        if log and low <= 0:
            section.refuse("min", "has no logarithm", got=low, allowed="above 0 (values, not exponents)")
        quantum = _quantum(section, 1.0 if quantised else None)
        if quantised and "q" not in section.content and high - low < 1:
            section.refuse("q", "is missing, and steps of 1 leave one value", got=dict(section.content))
        if whole and any(number != int(number) for number in (low, high, quantum or 1)):
            section.refuse("min", "is not whole", got=dict(section.content), allowed="whole min, max and q")

        def make() -> Parameter:
            return Range(key, minimum=low, maximum=high, log=log, whole=whole, quantum=quantum, when=when)

        return cast(Parameter, ask(make, section, "q"))

    return build


def _quantum(section: Section, default: float | None) -> float | None:
    quantum = section.number("q", default)
    if quantum is not None and quantum <= 0:
        section.refuse("q", "is not a distance", got=quantum, allowed="above 0")
    return cast("float | None", quantum)


def _exponential(section: Section, exponent: float) -> float:
    if abs(exponent) > _LARGEST_EXPONENT:
        section.refuse("min", "or max is no exponent of e", got=exponent, allowed=f"up to {_LARGEST_EXPONENT}")
    return math.exp(exponent)


def _log_grid(section: Section, key: str, when: Conditions) -> Parameter:
    low, high = _ends(section)
    if low <= 0:
        section.refuse("min", "has no logarithm", got=low, allowed="above 0")
    per_octave = section.number("per_octave", 1, least=1, whole=True)
    return LogGrid(key, minimum=low, maximum=high, per_octave=per_octave, when=when)


def _quantile(make: Callable[..., Parameter], names: Mapping[str, float], *, quantised: bool = False) -> _Build:
    """A reader of a distribution that is given by two numbers, the last of them above 0."""

    def build(section: Section, key: str, when: Conditions) -> Parameter:
        given = [section.number(name, default) for name, default in names.items()]
        name = list(names)[-1]
        if given[-1] <= 0:
            section.refuse(name, "is out of range", got=given[-1], allowed="above 0")
        quantum = _quantum(section, 1.0 if quantised else None)
        parameter = cast(Parameter, ask(lambda: make(key, *given, quantum, when), section, ""))
        try:
            parameter.edges()
        except (OverflowError, ValueError, ArithmeticError):
            section.refuse(name, "gives numbers that are too large", got=given[-1])
        return parameter

    return build


def _normal(key: str, mean: float, deviation: float, quantum: float | None, when: Conditions) -> Parameter:
    return Normal(key, mean=mean, deviation=deviation, quantum=quantum, when=when)


def _log_normal(key: str, mean: float, deviation: float, quantum: float | None, when: Conditions) -> Parameter:
    return Normal(key, mean=mean, deviation=deviation, log=True, quantum=quantum, when=when)


def _beta(key: str, a: float, b: float, quantum: float | None, when: Conditions) -> Parameter:
    if a <= 0:
        raise ConfigError("a is out of range", got=a, allowed="above 0")
    return Beta(key, a=a, b=b, quantum=quantum, when=when)


_SPREAD: dict[str, float] = {"mu": 0.0, "sigma": 1.0}
_SHAPE: dict[str, float] = {"a": 1.0, "b": 1.0}
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
    # Of 1/x, which is then log-uniform between the inverted ends: the same as of x between the ends.
    "inv_log_uniform_values": _range(log=True),
    "normal": _quantile(_normal, _SPREAD),
    "q_normal": _quantile(_normal, _SPREAD, quantised=True),
    "log_normal": _quantile(_log_normal, _SPREAD),
    "q_log_normal": _quantile(_log_normal, _SPREAD, quantised=True),
    "beta": _quantile(_beta, _SHAPE),
    "q_beta": _quantile(_beta, _SHAPE, quantised=True),
}
_FOREIGN: dict[str, _Build] = {
    "log_uniform": _range(log=True, exponents=1),
    "q_log_uniform": _range(log=True, quantised=True, exponents=1),
    "inv_log_uniform": _range(log=True, exponents=-1),
}
_LARGEST_EXPONENT = 700


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

"""``method: grid``: all combinations of values that exist together, and which of them nobody has.

Points are made when they are asked for: a grid may have more of them than will ever be trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.spec.parameters import label
from gpt_lightning.tuning.spec.reading_parameters import is_active
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.entries import Entry


class Grid:
    """The points of a sweep in order, the last key changing fastest.

    Args:
        spec: The sweep.

    Raises:
        ConfigError: A parameter is a continuous range.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._spec = spec
        self._values: dict[str, Sequence[Any]] = {}
        for key, parameter in spec.parameters.items():
            values = parameter.grid()
            if values is None:
                raise ConfigError(
                    f"method grid needs single values, and {key} is a range",
                    got=parameter.describe(),
                    allowed="values, log_grid, q_uniform, int",
                    fix="Or take method: qmc.",
                )
            self._values[key] = values
        self._parents = {name for parameter in spec.parameters.values() for name in parameter.when}

    def __len__(self) -> int:
        return self._count(list(self._values), {})

    def _count(self, keys: Sequence[str], chosen: Mapping[str, Any]) -> int:
        if not keys:
            return 1
        key, rest = keys[0], keys[1:]
        if not is_active(self._spec.parameters[key], chosen):
            return self._count(rest, chosen)
        if key not in self._parents:
            return len(self._values[key]) * self._count(rest, chosen)
        return sum(self._count(rest, {**chosen, key: value}) for value in self._values[key])

    def points(self, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Points that have these values."""
        return self._points(list(self._values), {}, given)

    def _points(
        self, keys: Sequence[str], chosen: dict[str, Any], given: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        if not keys:
            yield chosen
            return
        key, rest = keys[0], keys[1:]
        if not is_active(self._spec.parameters[key], chosen):
            yield from self._points(rest, chosen, given)
            return
        for value in [given[key]] if key in given else self._values[key]:
            yield from self._points(rest, {**chosen, key: value}, given)

    def first_free(self, held: set[str], given: Mapping[str, Any]) -> dict[str, Any]:
        """The first point that nobody has; the first one at all when all are taken.

        Args:
            held: Keys of points, see ``held_points``.
            given: Values that it must have, as a person has wished.
        """
        free = (point for point in self.points(given) if point_key(point) not in held)
        return next(free, None) or next(self.points(given))

    def count_free(self, held: set[str]) -> int:
        """How many points nobody has."""
        return max(0, len(self) - len(held))


def point_key(values: Mapping[str, Any]) -> str:
    """Equal for equal points."""
    return json.dumps({key: label(value) for key, value in values.items()}, sort_keys=True, default=str)


def held_points(spec: SweepSpec, entries: Sequence[Entry]) -> set[str]:
    """Points that are taken: every trial has its own, however it ended, and given ones that wait as well."""
    found = (point_of(spec, entry) for entry in entries if entry.repeats is None)
    return {point_key(values) for values in found if values}


def point_of(spec: SweepSpec, entry: Entry) -> dict[str, Any]:
    """The point of a trial; empty while it has none, or when it is not one of this sweep's."""
    stored = next((each.params for each in reversed(entry.attempts) if each.params), None)
    if stored is None:
        stored = next((each.system_attrs.get("fixed_params") for each in entry.attempts), None) or {}
    values: dict[str, Any] = {}
    for key, parameter in spec.parameters.items():
        if not is_active(parameter, values):
            continue
        try:
            values[key] = parameter.decode(stored[parameter.stored_name])
        except (KeyError, StopIteration, TypeError, ValueError):
            return {}
    return values

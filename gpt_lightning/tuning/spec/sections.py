"""A mapping of a sweep file that is read key by key, and complains with file, line, value and the nearest key."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.suggest import did_you_mean, join_names

_SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_QUANTITY = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([a-z]*)", re.IGNORECASE)


@dataclass
class Section:
    """Part of a sweep file.

    Attributes:
        content: The mapping.
        place: Dotted path of it, empty for the whole file.
        file: Name of the file.
        lines: Dotted path -> line.
    """

    content: Mapping[str, Any]
    place: str
    file: str
    lines: Mapping[str, int]
    taken: set[str] = field(default_factory=set)

    def refuse(self, key: str, problem: str, *, got: Any, allowed: str = "", fix: str = "") -> NoReturn:
        """Raise: ``key`` is wrong."""
        path = self._path(key)
        raise ConfigError(f"{self._where(path)}: {path} {problem}", got=got, allowed=allowed, fix=fix)

    def _where(self, path: str) -> str:
        """File and line of a path, or of what it lies in."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return f"{self.file}:{self.lines[path]}" if path else self.file

    def _path(self, key: str) -> str:
        return ".".join(part for part in (self.place, key) if part)

    def take(self, key: str, default: Any = None) -> Any:
        """The value as it is."""
        self.taken.add(key)
        return self.content.get(key, default)

    def section(self, key: str) -> Section:
        """A mapping below; empty when it is not there."""
        value = self.take(key)
        if value is not None and not isinstance(value, Mapping):
            self.refuse(key, "is not a mapping", got=value, allowed="keys and values")
        return replace(self, content=value or {}, place=self._path(key), taken=set())

    def item(self, key: str, value: Any) -> Section:
        """One item of a list, which must be a mapping."""
        if not isinstance(value, Mapping):
            self.refuse(key, "holds something that is not a mapping", got=value, allowed="a list of {key: value}")
        return replace(self, content=value, place=self._path(key), taken=set())

    def number(
        self, key: str, default: int | float | None = None, *, least: int | float | None = None, whole: bool = False
    ) -> Any:
        """A number; text that looks like one counts ("8e-3")."""
        value = self.take(key)
        if value is None:
            return default
        found = to_number(value)
        kind = "a whole number" if whole else "a number"
        allowed = kind if least is None else f"{kind}, at least {least:g}"
        if found is None or (whole and found != int(found)) or (least is not None and found < least):
            self.refuse(key, f"is not {kind}" if found is None else "is out of range", got=value, allowed=allowed)
        return int(found) if whole else float(found)

    def text(self, key: str, default: str, choices: tuple[str, ...] = ()) -> str:
        """Text, perhaps one of a few words."""
        value = self.take(key, default)
        value = str(value).lower() if isinstance(value, bool) else value
        if not isinstance(value, str) or (choices and value not in choices):
            hint = did_you_mean(str(value), choices) if choices else ""
            self.refuse(key, "is not known", got=value, allowed=join_names(choices) or "text", fix=hint)
        return str(value)

    def sequence(self, key: str) -> list[Any]:
        """A list; a single value is a list of one."""
        value = self.take(key)
        if value is None:
            return []
        return list(value) if isinstance(value, (list, tuple)) else [value]

    def seconds(self, key: str, default: int | float | None) -> Any:
        """A duration: 60, 60s, 5m, 2h."""
        return self._quantity(key, default, _SECONDS, "a duration: 60s, 5m, 2h")

    def bytes(self, key: str, default: int) -> int:
        """A size: 200GB."""
        return int(self._quantity(key, default, _BYTES, "a size: 500MB, 200GB"))

    def _quantity(self, key: str, default: int | float | None, units: Mapping[str, int | float], allowed: str) -> Any:
        value = self.take(key)
        if value is None:
            return default
        match = _QUANTITY.fullmatch(str(value).strip())
        if match is None or match[2].lower() not in units or not math.isfinite(float(match[1]) * 10**12):
            self.refuse(key, "is not understood", got=value, allowed=allowed)
        return float(match[1]) * units[match[2].lower()]

    def finish(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.content:
            if key not in self.taken:
                fix = did_you_mean(str(key), self.taken)
                self.refuse(
                    str(key), "is not a key", got=self.content[key], allowed=join_names(sorted(self.taken), 24), fix=fix
                )


def to_number(value: Any) -> int | float | None:
    """A finite number, also when YAML 1.1 has left it as text ("8e-3"); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        try:
            value = float(value.replace("_", ""))
        except ValueError:
            return None
    if not math.isfinite(value):
        return None
    return int(value) if isinstance(value, int) or (abs(value) < 2**53 and value == int(value)) else float(value)


def ask(check: Callable[[], Any], section: Section, key: str) -> Any:
    """What ``check`` returns; a ``ConfigError`` of it is told with file and line."""
    try:
        return check()
    except ConfigError as problem:
        error = ConfigError("")
        error.args = (f"{section._where(section._path(key))}: {problem}",)
        raise error from problem

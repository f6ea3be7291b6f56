"""What a setting accepts, in words and as an example, read off the type it is declared with."""

from __future__ import annotations

import contextlib
import inspect
import re
import types
import typing
from argparse import Action
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from jsonargparse import ArgumentParser

from gpt_lightning.parsing.origins import plain_key
from gpt_lightning.parsing.suggest import join_names, known_subclasses

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    dict: "a mapping {name: value}",
    Any: "any value",
}
_NUMBERS = re.compile(r"[-+.\deE, ]+")
_SAMPLES: dict[Any, str] = {int: "10", float: "0.1", bool: "true", str: "text", type(None): "null", dict: "{}"}


@dataclass(frozen=True)
class Expectation:
    """What is known about a setting.

    Attributes:
        hint: Declared type.
        default: Declared default.
    """

    hint: Any
    default: Any = None

    @property
    def words(self) -> str:
        """The type in words: "a whole number or null"."""
        return describe_type(self.hint)

    @property
    def sample(self) -> str:
        """A value that would have been accepted, as one types it; empty when none comes to mind."""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        # A negative default stands for "no limit" and shows nothing.
        if isinstance(self.default, str) or (isinstance(self.default, (int, float)) and self.default >= 0):
            return str(self.default)
        return sample_value(self.hint)

    def sample_near(self, typed: str) -> str:
        """What was typed, in a form that would be accepted where that is plain to see; else ``sample``.

        >>> Expectation(int).sample_near("1e3"), Expectation(int).sample_near("x")
        ('1000', '10')
        >>> Expectation(list[str]).sample_near("a,b")
        '[a,b]'
        """
        parts = typing.get_args(self.hint) if typing.get_origin(self.hint) in (typing.Union, types.UnionType) else ()
        kinds = parts or (self.hint,)
        if int in kinds:
            with contextlib.suppress(ValueError, OverflowError):
                number = float(typed.replace(",", "").replace("_", ""))
                if number.is_integer():
                    return str(int(number))
        lists = [each for each in kinds if typing.get_origin(each) in (list, tuple)]
        words = any(str in typing.get_args(each) for each in lists)
        if lists and typed and typed[0] not in "[{" and (words or _NUMBERS.fullmatch(typed)):
            return f"[{typed}]"
        return self.sample


def describe_type(hint: Any) -> str:
    """A type in words, with names that can be typed: values of a Literal, subclasses of a class."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if origin in (typing.Union, types.UnionType):
        return _join_alternatives(dict.fromkeys(describe_type(part) for part in parts))
    if origin is typing.Literal:
        return join_names(str(part) for part in parts)
    if origin is tuple and parts[-1:] != (...,):
        return f"a list of {len(parts)} values"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return _WORDS[dict]
    if inspect.isclass(origin) and issubclass(origin, Iterable):
        return f"a list, each {describe_type(parts[0])}" if parts else "a list"
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return join_names(hint.__members__)
    if hint is Callable or origin is Callable:
        return "the dotted name of a function or class"
    if inspect.isclass(hint) and hint.__module__ != "builtins":
        return join_names(known_subclasses(hint)) or f"a {hint.__name__}"
    return str(getattr(hint, "__name__", hint))


def _join_alternatives(words: Iterable[str]) -> str:
    """``A or B``; one thing or a list of the same things is told once."""
    told = list(words)
    lists = {word: f"a list, each {word}" for word in told}
    both = [word for word in told if lists[word] in told]
    kept = [word for word in told if word not in [lists[other] for other in both]]
    return " or ".join(f"{word} (one or a list)" if word in both else word for word in kept)


def sample_value(hint: Any) -> str:
    """A value of the type, as one types it; empty when none comes to mind."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in _SAMPLES:
        return _SAMPLES[hint]
    if origin in (typing.Union, types.UnionType):
        return next((sample for sample in map(sample_value, parts) if sample not in ("", "null")), "null")
    if origin is typing.Literal:
        return str(parts[0])
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"{{name: {sample_value(parts[1])}}}"
    if origin in (list, tuple) and parts:
        samples = [sample_value(part) for part in parts if part is not ...]
        return f"[{', '.join(samples)}]" if all(samples) else ""
    names = [name for cls in classes_in(hint) for name in known_subclasses(cls)]
    return names[0] if names else ""


def classes_in(hint: Any) -> list[type]:
    """Classes of whose constructor arguments a setting of this type may consist."""
    parts = typing.get_args(hint)
    if parts and typing.get_origin(hint) is not typing.Literal:
        return [cls for part in parts for cls in classes_in(part)]
    if not inspect.isclass(hint) or issubclass(hint, Enum):
        return []
    package = hint.__module__.partition(".")[0]  # Path is pathlib._local's in Python 3.13
    return [] if package in ("builtins", "pathlib", "datetime", "typing") else [hint]


def list_settings(parser: ArgumentParser) -> dict[str, Expectation]:
    """Every setting of a parser: key -> what it accepts."""
    found = {}
    for action in parser._actions:
        if action.dest.endswith(".help") or action.default == "==SUPPRESS==":
            continue
        found[action.dest] = Expectation(_declared_type(action), action.default)
    return found


def settings_near(parser: ArgumentParser, key: str, chosen: Mapping[str, str]) -> dict[str, Expectation]:
    """Settings on the level of ``key``: those of the parser, or those of the class that ``key`` lies in.

    Args:
        parser: Where the key was refused.
        key: Whole dotted key.
        chosen: Key -> class name that the user gave for it.
    """
    return _descend(parser, plain_key(key), chosen, "") or list_settings(parser)


def settings_with_defaults(parser: ArgumentParser) -> dict[str, Expectation]:
    """Every setting of a parser and of the classes it builds by default, one level deep."""
    found = list_settings(parser)
    for key, expectation in list(found.items()):
        for cls in _default_classes(expectation):
            found.update({f"{key}.{name}": inner for name, inner in list_settings(_probe(cls)).items()})
    return found


def _descend(parser: ArgumentParser, key: str, chosen: Mapping[str, str], prefix: str) -> dict[str, Expectation]:
    settings = list_settings(parser)
    parents = [name for name in settings if key.startswith(name + ".") and classes_in(settings[name].hint)]
    if not parents:
        return {prefix + name: expectation for name, expectation in settings.items()} if prefix else {}
    parent = max(parents, key=len)
    found: dict[str, Expectation] = {}
    for cls in _candidates(settings[parent], chosen.get(prefix + parent)):
        found.update(_descend(_probe(cls), key[len(parent) + 1 :], chosen, f"{prefix}{parent}."))
    return found


def _candidates(expectation: Expectation, name: str | None) -> list[type]:
    known = {n: c for base in classes_in(expectation.hint) for n, c in known_subclasses(base).items()}
    if name is not None:
        short = name.rpartition(".")[2]
        if short in known:
            return [known[short]]
    return _default_classes(expectation) or list(known.values())


def _default_classes(expectation: Expectation) -> list[type]:
    default = expectation.default
    path = default.get("class_path", "") if isinstance(default, Mapping) or hasattr(default, "get") else ""
    known = {n: c for base in classes_in(expectation.hint) for n, c in known_subclasses(base).items()}
    return [known[short]] if (short := str(path).rpartition(".")[2]) in known else []


def _probe(cls: type) -> ArgumentParser:
    """A parser of one class: jsonargparse itself knows best which arguments it accepts for it."""
    probe = ArgumentParser(exit_on_error=False, add_help=False)
    probe.add_class_arguments(cls, fail_untyped=False)
    return probe


def _declared_type(action: Action) -> Any:
    return getattr(action, "_typehint", None) or action.type or str

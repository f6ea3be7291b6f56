"""All keys of a sweep file, found by reading one: what the reader asks for is what may be written.

A section that writes down what it is asked for goes through the same code as every file, so that neither the reference
nor the schema can know a key that the reader does not, or the other way round. What a key means is what the records say
in their docstrings. Rules of ``early_terminate`` and kinds of parameters are read from their own tables.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.suggest import did_you_mean
from gpt_lightning.tuning.pruning.early_termination import _TYPES, EarlyTermination
from gpt_lightning.tuning.spec import spec as records
from gpt_lightning.tuning.spec.reading import _FOREIGN_KEYS, read_top
from gpt_lightning.tuning.spec.reading_parameters import _KINDS, FIELDS
from gpt_lightning.tuning.spec.sections import Section

_RECORDS: dict[str, type] = {
    "": records.SweepSpec, "metric": records.Metric, "metrics": records.Metric, "constraints": records.Constraint,
    "reuse": records.ReuseSettings, "budget": records.Budget, "budget.stop_when": records.Budget,
    "repeat_best": records.RepeatBest, "retry": records.Retry, "launcher": records.LauncherSettings,
    "method": records.Method,
}  # fmt: skip
_OTHER_NAMES = {
    "metric": "metrics", "run_cap": "budget.trials", "max": "maximum", "min": "minimum",
    "class_path": "name", "init_args": "options",
}  # fmt: skip
_OWN_WORDS = {
    "metric.target": "A value of the metric that is good enough to end the sweep; as budget.stop_when.target.",
    "reuse.exact": "Always true: steps are taken over bit for bit or not at all.",
    "budget.stop_when": "What ends a sweep before its budget is used.",
    "run_cap": "The name of budget.trials in a Weights & Biases file.",
    "metric.impute_while_running": "Of Weights & Biases; without effect, samplers know of running trials.",
}
_LISTS = ("metrics", "constraints")
_SAMPLE: dict[str, Any] = {
    "parameters": {"k": {"values": [1]}},
    "metric": {"impute_while_running": None},
    "constraints": [{"name": "sys/peak_mem_gb", "max": 1}],
    "method": {"class_path": "optuna.samplers.RandomSampler", "init_args": {}},
}


@dataclass(frozen=True)
class Setting:
    """A key that may be written.

    Attributes:
        path: Dotted, from the top of the file.
        schema: What may stand there, as JSON Schema.
        default: What holds without it; None = nothing.
        text: What it means.
    """

    path: str
    schema: Mapping[str, Any]
    default: Any = None
    text: str = ""


@dataclass
class _Recorder(Section):
    """A section that writes down what it is asked for."""

    found: dict[str, Setting] = field(default_factory=dict)

    def _note(self, key: str, schema: Mapping[str, Any], default: Any = None) -> None:
        path = self._path(key)
        if path not in self.found:  # a key that is asked for as it is may be several things
            known = None if self.place in _LISTS else default  # that of an item depends on the item
            self.found[path] = Setting(path, schema, known, _meaning(self.place, key))

    def take(self, key: str, default: Any = None) -> Any:
        self._note(key, {}, default)
        return super().take(key, default)

    def section(self, key: str) -> Section:
        self._note(key, {"type": "object"})
        return super().section(key)

    def number(
        self, key: str, default: int | float | None = None, *, least: int | float | None = None, whole: bool = False
    ) -> Any:
        limits = {} if least is None else {"minimum": least}
        # Text that looks like a number counts: YAML reads 8e-3 as text.
        kind = "integer" if whole else "number"
        self._note(key, {"anyOf": [{"type": kind, **limits}, {"type": ["string", "null"]}]}, default)
        return super().number(key, default, least=least, whole=whole)

    def text(self, key: str, default: str, choices: tuple[str, ...] = ()) -> str:
        words: list[Any] = [*choices, *(each == "true" for each in choices if each in ("true", "false"))]
        self._note(key, {"enum": words} if choices else {"type": "string"}, default)
        return super().text(key, default, choices)

    def sequence(self, key: str) -> list[Any]:
        self._note(key, {"type": ["array", "string", "number", "object", "null"]})
        return super().sequence(key)

    def _quantity(self, key: str, default: int | float | None, units: Mapping[str, int | float], allowed: str) -> Any:
        self._note(key, {"type": ["string", "number", "null"], "description": allowed}, default)
        return super()._quantity(key, default, units, allowed)


def settings() -> dict[str, Setting]:
    """All keys by path, those of lists' items as ``constraints.max``, of a parameter as ``parameters.KEY.min``."""
    found: dict[str, Setting] = {}
    for sample in (_SAMPLE, {**_SAMPLE, "metrics": [{"name": "val/loss"}], "metric": None, "method": "tpe"}):
        content = {key: value for key, value in sample.items() if value is not None}
        read_top(_Recorder(content, "", "reference", {}, found=found), content, "reference", ())
    found = {path: each for path, each in found.items() if not path.startswith("parameters.")}
    for name in FIELDS:
        path = f"parameters.KEY.{name}"
        found[path] = Setting(
            path, {"enum": sorted(_KINDS)} if name == "distribution" else {}, None, _FIELD_WORDS[name]
        )
    rules = {name: list(inspect.signature(rule).parameters) for name, rule in _TYPES.items()}
    early = [name for name in inspect.signature(EarlyTermination).parameters if name != "pruner"]
    found["early_terminate.type"] = Setting(
        "early_terminate.type", {"enum": list(_TYPES)}, "none", "Which rule stops trials before their end."
    )
    for name in dict.fromkeys([*early, *(each for names in rules.values() for each in names)]):
        owner = next((rule for rule in _TYPES.values() if name in inspect.signature(rule).parameters), EarlyTermination)
        path = f"early_terminate.{name}"
        found[path] = Setting(path, {}, None, _described(owner).get(name, "").replace("``", ""))
    return {path: each for path, each in sorted(found.items()) if path.partition(".")[0] not in _FOREIGN_KEYS}


_FIELD_WORDS = {
    "value": "The one value of all trials.",
    "values": "Values to choose from: numbers, words, classes with init_args.",
    "distribution": "Kind of range; without one, uniform, or int where both ends are whole.",
    "min": "Lower end, included.",
    "max": "Upper end, included.",
    "q": "Distance of the values.",
    "mu": "Mean, of the logarithm for log_normal.",
    "sigma": "Standard deviation.",
    "a": "First parameter of beta.",
    "b": "Second parameter of beta.",
    "per_octave": "Points in each doubling of a log_grid.",
    "when": "Other key: values at which this one exists.",
    "probabilities": "Of Weights & Biases; without effect.",
}


def _described(record: type) -> dict[str, str]:
    """Name -> text of the attributes or arguments in a docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(record) or "").splitlines():
        match = re.fullmatch(r" {4}(\w+): (.*)", line)
        if match:
            name, found[match[1]] = match[1], match[2]
        elif name and line.startswith("        "):
            found[name] += f" {line.strip()}"
        elif line.strip():
            name = ""
    return found


def _meaning(place: str, key: str) -> str:
    path = f"{place}.{key}".lstrip(".")
    if path.replace("metrics.", "metric.") in _OWN_WORDS:
        return _OWN_WORDS[path.replace("metrics.", "metric.")]
    words = _described(_RECORDS[place]) if place in _RECORDS else {}
    names = (key, _OTHER_NAMES.get(key, key), f"{key}_seconds", f"{key}_bytes")
    return next((words[name] for name in names if name in words), "").replace("``", "")


def help_command(key: str) -> None:
    """Say what a key of a sweep file means, with all keys below it.

    Example: gpt-lightning sweep help budget.stop_when

    Args:
        key: Dotted, as in the file; all = every key.
    """
    known = settings()
    wanted = {path: each for path, each in known.items() if path == key or path.startswith(f"{key}.") or key == "all"}
    if not wanted:
        last = [path for path in known if path.rpartition(".")[2] == key]
        fix = f"Perhaps {' or '.join(last)}." if last else did_you_mean(key, known)
        raise ConfigError("no key of a sweep file", got=key, allowed="see gpt-lightning sweep help all", fix=fix)
    for path, each in wanted.items():
        sys.stdout.write(f"{path}{_allowed(each)}\n" + (f"    {each.text}\n" if each.text else ""))


def _allowed(setting: Setting) -> str:
    choices = setting.schema.get("enum")
    words = [f"one of {', '.join(map(str, choices))}"] if choices else []
    words += [str(setting.schema["description"])] if "description" in setting.schema else []
    words += [] if setting.default in (None, "", (), {}) else [f"default {setting.default}"]
    return f"  ({'; '.join(words)})" if words else ""


def build_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a sweep file."""
    top: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sweep file of gpt-lightning",
        "type": "object",
        "properties": {},
        "additionalProperties": False,
        "required": ["parameters"],
    }
    for path, setting in settings().items():
        place = _place(top, path)
        name = path.rpartition(".")[2]
        if name != "KEY":
            place.setdefault(name, {})
            place[name] = {**setting.schema, "description": setting.text, **place[name]}
    for name in _FOREIGN_KEYS:
        top["properties"].setdefault(name, {"description": "Of a Weights & Biases file."})
    return top


def _place(top: dict[str, Any], path: str) -> dict[str, Any]:
    """The properties among which a key stands."""
    parts = path.split(".")
    node: dict[str, Any] = top["properties"]
    for part, after in pairwise(parts):
        if part == "KEY":
            continue
        inner = node.setdefault(part, {})
        if part in _LISTS:
            inner = inner.setdefault("items", {"type": "object"})
        elif after == "KEY":
            inner = inner.setdefault("additionalProperties", {"type": "object"})
        node = inner.setdefault("properties", {})
    return node


def schema_keys(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a schema, those of items and of any key like others."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        for part in (inner, inner.get("items", {})):
            yield from schema_keys(part, f"{prefix}{name}.")
        if isinstance(inner.get("additionalProperties"), dict):
            yield from schema_keys(inner["additionalProperties"], f"{prefix}{name}.KEY.")


def schema_command() -> None:
    """Write a JSON Schema of sweep files to the standard output.

    Put it beside the sweep files and begin them with `# yaml-language-server: $schema=sweep.schema.json`: an editor
    then completes keys and marks wrong ones.

    Example: gpt-lightning schema
    """
    sys.stdout.write(json.dumps(build_schema(), indent=1, default=str) + "\n")

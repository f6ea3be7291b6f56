"""Chosen values -> the arguments of ``fit``: base files first, then what the sweep sets, parents before children.

A value that names another class than the base starts from that class's own defaults: the base's ``init_args`` belong to
the base's class, and a learning rate of AdamW's that is merely also a parameter of Muon's would be a trap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.tuning.spec.derive import evaluate
from gpt_lightning.tuning.spec.spec import SweepSpec

_WHOLE_FROM = 1000
"""From here on a float without a fraction is written as a whole number: 1e7 tokens are a count."""


def complete_values(spec: SweepSpec, values: Mapping[str, Any], constants: Mapping[str, Any]) -> dict[str, Any]:
    """Chosen and derived values together, helpers included.

    Args:
        spec: The sweep.
        values: Key -> value of the parameters that exist.
        constants: Settings of the base that ``derive`` refers to.
    """
    known: dict[str, Any] = {**constants, **values}
    derived = {}
    for key, expression in spec.derive.items():
        known[key] = derived[key] = evaluate(key, expression, known)
    return {**values, **derived}


def trial_arguments(spec: SweepSpec, values: Mapping[str, Any], classes: Mapping[str, str]) -> list[str]:
    """Arguments of ``fit`` for one trial.

    Args:
        spec: The sweep; its bases exist.
        values: Of ``complete_values``.
        classes: Keys of the base that hold a class -> its short name.
    """
    switched = [key for key, value in values.items() if key in classes and class_name(value) not in ("", classes[key])]
    arguments = [_base_argument(path, switched) for path in spec.base]
    if "seed_everything" not in values and not any("seed_everything" in _read(path) for path in spec.base):
        arguments.append(f"--seed_everything={spec.seed}")
    if spec.early_terminate.report_every is not None:
        arguments.append(f"--run.validate_every={spec.early_terminate.report_every}")
    settings = {key: value for key, value in values.items() if not key.startswith("~")}
    return [*arguments, *(f"--{key}={_as_text(settings[key])}" for key in sorted(settings, key=lambda k: k.count(".")))]


def shares_steps(spec: SweepSpec) -> bool:
    """Whether trials look for steps that others have done.

    ``auto`` does where two trials can begin alike: every range outside of the schedule has single values.
    """
    if spec.reuse.enabled != "auto":
        return spec.reuse.enabled == "true"
    return all(each.grid() is not None or key.startswith("model.schedule.") for key, each in spec.parameters.items())


def class_name(value: Any) -> str:
    """Short name of the class that a value names; empty when it names none."""
    if isinstance(value, Mapping):
        value = value.get("class_path", "")
    return str(value).rpartition(".")[2] if isinstance(value, str) else ""


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    return content if isinstance(content, dict) else {}


def _base_argument(path: Path, switched: list[str]) -> str:
    content = _read(path)
    if not [key for key in switched if _remove(content, key)]:
        return f"--config={path}"
    return f"--config={json.dumps(content)}"


def _remove(content: dict[str, Any], key: str) -> bool:
    """Take a dotted key out of nested settings; whether it was there."""
    head, _, rest = key.partition(".")
    if not rest:
        return content.pop(head, None) is not None
    inner = content.get(head)
    return isinstance(inner, dict) and _remove(inner, rest)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) >= _WHOLE_FROM:
        value = int(value)
    return json.dumps(value)

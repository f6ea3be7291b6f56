"""Chosen values -> the arguments of ``fit``: base files first, then what the sweep sets, parents before children.

A value that names another class than the base starts from that class's own defaults: the base's ``init_args`` belong to
the base's class, and a learning rate of AdamW's that is merely also a parameter of Muon's would be a trap.

``derive``, settings computed from others: ``"1 - 0.05 * sqrt(${data.batch_size} / 32)"``, arithmetic and nothing else.

The text is parsed into Python's syntax tree, of which only numbers, operators, comparisons, ``a if b else c`` and the
functions below are evaluated; there is no way to a name, an attribute or a call of anything else. Text without
``${...}`` is a plain value.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.parsing.suggest import did_you_mean, join_names
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


_REFERENCE = re.compile(r"\$\{([^}]+)\}")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt,
    "log": math.log,
    "log2": math.log2,
    "exp": math.exp,
    "min": min,
    "max": max,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "int": int,
    "abs": abs,
}
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, power: math.pow(base, power) if isinstance(power, float) or abs(power) > 64 else base**power,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_LONGEST = 500


def references(expression: Any) -> list[str]:
    """Keys that an expression, or a list or mapping of them, refers to."""
    if isinstance(expression, str):
        return [name.strip() for name in _REFERENCE.findall(expression)]
    if isinstance(expression, Mapping):
        expression = list(expression.values())
    return [name for item in expression for name in references(item)] if isinstance(expression, list) else []


def evaluate(key: str, expression: Any, known: Mapping[str, Any]) -> Any:
    """The value of an expression; lists and mappings item by item.

    Args:
        key: The derived setting, for messages.
        expression: As written in the file.
        known: Key -> value of everything that may be referred to.

    Raises:
        ConfigError: Not arithmetic, a reference to nothing, or a result that is no number.
    """
    if isinstance(expression, list):
        return [evaluate(key, item, known) for item in expression]
    if isinstance(expression, Mapping):
        return {name: evaluate(key, item, known) for name, item in expression.items()}
    if not isinstance(expression, str) or not references(expression):
        return _finite(key, expression, expression)
    names: dict[str, Any] = {}

    def name_of(match: re.Match[str]) -> str:
        wanted = match[1].strip()
        if wanted not in known:
            raise ConfigError(
                f"derive.{key} refers to {wanted}, which is neither a parameter nor a setting of the base",
                got=expression,
                fix=did_you_mean(wanted, known),
            )
        names[f"_{len(names)}"] = known[wanted]
        return f"_{len(names) - 1}"

    text = _REFERENCE.sub(name_of, expression)
    whole = names.get(text.strip())
    if whole is not None and not isinstance(whole, (int, float)):
        return whole  # a plain copy of another setting may be text or a list
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"more than {_LONGEST} characters")
        return _finite(key, _value(ast.parse(text.strip(), mode="eval").body, names), expression)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, KeyError) as problem:
        raise ConfigError(
            f"derive.{key} cannot be computed: {problem}",
            got=expression,
            allowed=f"numbers, ${{keys}}, + - * / // % **, comparisons, if/else, {join_names(_FUNCTIONS)}",
        ) from problem


def _finite(key: str, value: Any, expression: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"derive.{key} is {value}", got=expression, allowed="a finite number")
    return value


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return _number(names[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = _value(node.operand, names)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _BINARY:
        return _BINARY[type(node.ops[0])](_value(node.left, names), _value(node.comparators[0], names))
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, names) else node.orelse, names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in _FUNCTIONS:
            raise ValueError(f"there is no function {node.func.id}")
        return _FUNCTIONS[node.func.id](*[_value(argument, names) for argument in node.args])
    raise ValueError(f"{ast.unparse(node)!r} is not arithmetic")


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a number")
    return value

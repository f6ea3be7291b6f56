"""What a typed command answers before its module is imported: its help, and that an option does not exist.

Importing torch takes seconds, and somebody who mistyped an option should not wait for them. Signature, docstring and
defaults are read in the source (``signatures``); what is not certainly a mistake goes on to ``command.run_command``,
whose parser decides.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from operator import lshift, mul
from pathlib import Path
from typing import Any

from gpt_lightning.parsing.origins import collect_origins, unknown_setting
from gpt_lightning.parsing.pages import entry, list_classes, tell
from gpt_lightning.parsing.signatures import Parameter, find_subclasses, read_description, read_parameters

PACKAGE = Path(__file__).parents[1]
_ARITHMETIC: Mapping[type, Any] = {ast.Mult: mul, ast.Pow: pow, ast.LShift: lshift}
_EVERYWHERE = ("config", "print_config", "help")
_MORE = """\
Every option is also an entry of a YAML file (--config FILE) and an environment variable
(GPT_LIGHTNING_{name}=...); --print_config shows them resolved."""


def answer_early(name: str, module: str, function: str, args: Sequence[str]) -> str | None:
    """The page of help that was asked for; None = the command shall run.

    Args:
        name: How the command is called, without the program's name.
        module: Where it lives.
        function: The typed function.
        args: What follows the name.

    Raises:
        ConfigError: An option, or an entry of a config file, that does not exist.
    """
    options = read_options(module, function)
    if options is None:
        return None
    if any(arg in ("-h", "--help") for arg in args):
        return command_page(name, module, function)
    for origin in collect_origins(args, ("-c", "--config"), {}, {}):
        first = origin.key.partition(".")[0]
        if re.fullmatch(r"[a-zA-Z]\w+", first) and first not in (*options, *_EVERYWHERE):
            raise unknown_setting(origin, [*options, *_EVERYWHERE], program=f"gpt-lightning {name}")
    return None


def command_page(name: str, module: str, function: str) -> str:
    """The help of a typed command."""
    options = read_options(module, function) or {}
    needed = [key for key, each in options.items() if each.default is None]
    leading = " ".join(key.upper() for key in needed) or (f"[{next(iter(options)).upper()}]" if options else "")
    more = "[--OPTION VALUE ...]" if options else ""
    lines = [" ".join(filter(None, ["usage: gpt-lightning", name, leading, more])), ""]
    lines += [read_description(_path_of(module), function), ""]
    known = find_subclasses(PACKAGE)
    for key, each in options.items():
        lines += entry(key, tell(each))
        for base in re.findall(r"\w+", each.hint):
            lines += list_classes({kind: read_parameters(path, kind) for kind, path in known.get(base, {}).items()})
    if not options:
        return "\n".join(lines)
    return "\n".join([*lines, "", _MORE.format(name=next(iter(options)).upper()), ""])


@cache
def read_options(module: str, function: str) -> Mapping[str, Parameter] | None:
    """Options of a typed command, with defaults as they are typed.

    Returns:
        None where the signature does not say them: it passes settings on by ``**``.
    """
    path = _path_of(module)
    found = read_parameters(path, function)
    if _passes_on(path, function):
        return None
    return {key: replace(each, default=_show(each.default, module)) for key, each in found.items()}


def _path_of(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def _show(default: str | None, module: str) -> str | None:
    """A default that may name a constant or the field of a dataclass, as its value is written."""
    if default is None:
        return None
    try:
        return repr(_evaluate(ast.parse(default, mode="eval").body, module))
    except LookupError:
        return default


def _evaluate(node: ast.expr, module: str) -> Any:
    """The value of an expression of constants.

    Raises:
        LookupError: It is none.
    """
    match node:
        case ast.Constant(value):
            return value
        case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC:
            return _ARITHMETIC[type(operator)](_evaluate(left, module), _evaluate(right, module))
        case ast.UnaryOp(ast.USub(), operand):
            return -_evaluate(operand, module)
        case ast.Tuple(members) | ast.List(members):
            return [_evaluate(each, module) for each in members]
        case ast.Subscript(whole, place):
            return _evaluate(whole, module)[_evaluate(place, module)]
        case ast.Call(ast.Name("str" | "Path"), [only]):
            return str(_evaluate(only, module))
        case ast.Attribute(ast.Name(owner), field):
            home = _home_of(owner, module)
            default = read_parameters(_path_of(home), owner)[field].default
            if default is not None:
                return _evaluate(ast.parse(default, mode="eval").body, home)
        case ast.Name(name):
            home = _home_of(name, module)
            constants, _ = _read_names(_path_of(home))
            return _evaluate(constants[name], home)
    raise LookupError(ast.unparse(node))


def _home_of(name: str, module: str) -> str:
    """The module that defines what another one calls ``name``."""
    constants, imports = _read_names(_path_of(module))
    return module if name in constants else imports.get(name, module)


@cache
def _read_names(path: Path) -> tuple[dict[str, ast.expr], dict[str, str]]:
    """Constants of a module, and the modules from which it imports others."""
    constants: dict[str, ast.expr] = {}
    imports: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets, value):
                for target in targets:
                    constants |= _pair(target, value)
            case ast.ImportFrom(module=str(source), names=names):
                imports |= {each.asname or each.name: source for each in names}
    return constants, imports


def _pair(target: ast.expr, value: ast.expr) -> dict[str, ast.expr]:
    match target, value:
        case ast.Name(name), _:
            return {name: value}
        case ast.Tuple(names), ast.Tuple(values):
            return {key: each for one, two in zip(names, values, strict=False) for key, each in _pair(one, two).items()}
    return {}


def _passes_on(path: Path, function: str) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == function and node.args.kwarg for node in tree.body)

"""The parameters of a class, read in its source without importing it: what help and mistakes need at once.

Importing torch and Lightning takes seconds, in which a misspelt option waits for its answer. Their sources are text.
What is read here is only shown and searched; the parser of the command (``parsing.parser``) decides.

>>> from pathlib import Path
>>> found = read_parameters(Path(__file__).parents[1] / "training" / "runs" / "settings.py", "RunSettings")
>>> found["sample_tokens"].default, found["sample_tokens"].hint
('120', 'int')
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CLASS = re.compile(r"^class (\w+)\(([\w., \[\]=]+)\):", re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a constructor or function.

    Attributes:
        hint: Its annotation as written; empty = none.
        default: Its default as written; None = it has none.
        text: What the docstring says of it.
    """

    hint: str
    default: str | None
    text: str


@cache
def read_parameters(path: Path, name: str) -> Mapping[str, Parameter]:
    """Parameters of a class (of its constructor, or the fields of a dataclass) or function, in their order.

    A file is read once: the sources of a running program stay as they are.

    Raises:
        LookupError: The file defines no such thing.
    """
    node = _read_definitions(path).get(name)
    if node is None:
        raise LookupError(f"{path} defines no {name}")
    return _of_class(node) if isinstance(node, ast.ClassDef) else _of_function(node, _texts(node))


def read_description(path: Path, name: str) -> str:
    """What the docstring of a function says above its ``Args:``."""
    text = ast.get_docstring(_read_definitions(path)[name]) or ""
    return re.split(r"\n(?:Args|Returns|Raises):", text)[0].strip()


@cache
def _read_definitions(path: Path) -> dict[str, ast.ClassDef | ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


@cache
def find_subclasses(folder: Path) -> Mapping[str, Mapping[str, Path]]:
    """Name of an abstract base -> its subclasses at any depth that do not begin with ``_``, each with its file.

    Two classes may have one name (the regression of data, that of objectives): each is found below its own base. A
    class that can be made is no base here.
    """
    defined = [
        (match[1], path, [re.sub(r"\[.*", "", base).strip() for base in match[2].split(",")])
        for path in sorted(folder.rglob("*.py"))
        for match in _CLASS.finditer(path.read_text(encoding="utf-8"))
    ]
    above: dict[str, list[str]] = {}
    for name, _, bases in defined:
        above.setdefault(name, []).extend(bases)
    found: dict[str, dict[str, Path]] = {}
    for name, path, bases in defined:
        for base in _ancestors(name, bases, above):
            made = hasattr(builtins, base) or "ABC" not in above.get(base, ["ABC"])
            if not name.startswith("_") and "ABC" not in bases and not made:
                found.setdefault(base, {})[name] = path
    return found


def _ancestors(name: str, bases: Iterable[str], above: Mapping[str, list[str]]) -> Iterable[str]:
    for base in bases:
        if base != name:  # a class named as the one of another library that it extends
            yield base
            yield from _ancestors(base, above.get(base, ()), above)


def _of_class(node: ast.ClassDef) -> dict[str, Parameter]:
    texts = _texts(node)
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            return _of_function(inner, texts | _texts(inner))
    found = {}
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            default = None if inner.value is None else ast.unparse(inner.value)
            key = inner.target.id
            found[key] = Parameter(ast.unparse(inner.annotation), default, texts.get(key, ""))
    return found


def _of_function(node: ast.FunctionDef, texts: dict[str, str]) -> dict[str, Parameter]:
    plain = [*node.args.posonlyargs, *node.args.args]
    pairs: list[tuple[ast.arg, ast.expr | None]] = []
    pairs += zip(plain, [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults), strict=True)
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return {
        each.arg: Parameter(
            "" if each.annotation is None else ast.unparse(each.annotation),
            None if default is None else ast.unparse(default),
            texts.get(each.arg, ""),
        )
        for each, default in pairs
        if each.arg != "self"
    }


def _texts(node: ast.ClassDef | ast.FunctionDef) -> dict[str, str]:
    """What the ``Args:`` of a Google docstring say, each in one line; of several paragraphs the first."""
    lines = (ast.get_docstring(node) or "").splitlines()
    start = next((number for number, line in enumerate(lines) if line.strip() == "Args:"), len(lines))
    found: dict[str, str] = {}
    name = ""
    for line in lines[start + 1 :]:
        indent = len(line) - len(line.lstrip())
        head = re.match(r"\s*\**(\w+)(?: \([^)]*\))?:(.*)", line)
        if line.strip() and not indent:
            break
        if head is not None and indent == 4:
            name, found[head[1]] = head[1], head[2].strip()
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
        elif name and found[name]:
            name = ""
    return found

"""The one place where YAML is read and written; it refuses what PyYAML lets through in silence.

Refused, each with file and line: a key given twice (PyYAML keeps the last), aliases that expand without bound (ten
lines can stand for ten billion values), nesting deeper than 100, files above 1 MB, tags that construct objects.
Read as YAML 1.2 reads them: ``1e-3`` and ``3e-4`` are numbers (text to PyYAML); ``no``, ``on`` and ``12:30`` are text
(``False``, ``True`` and ``750`` to PyYAML).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.renamed import rename

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 100
_MAX_VALUES = 100_000
_TAG = "tag:yaml.org,2002:"
_FLOAT = re.compile(
    r"^[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
    r"|^\.(?:nan|NaN|NAN)$"
)
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0b[01][01_]*)$")
_RESOLVERS = (
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("merge", re.compile(r"^<<$"), ["<"]),
)


class YAMLProblem(yaml.YAMLError):
    """Text that is not acceptable YAML; ``line`` counts from 1, 0 = unknown."""

    def __init__(self, problem: str, line: int = 0) -> None:
        self.problem, self.line = problem, line
        super().__init__(f"line {line}: {problem}" if line else problem)


@dataclass(frozen=True)
class Setting:
    """One ``key: value`` of a file.

    Attributes:
        key: Dotted path; items of a list have the key of the list.
        value: The text of a scalar; empty for a mapping or list.
        line: Line of the key, from 1.
    """

    key: str
    value: str
    line: int


@dataclass(frozen=True)
class Document:
    """What a YAML text holds.

    Attributes:
        data: Plain Python data.
        settings: The same, flat and with line numbers.
    """

    data: Any
    settings: list[Setting]


def read_yaml(path: str | Path) -> Any:
    """Plain data from a YAML file.

    Raises:
        ConfigError: The file cannot be read or is refused; names file and line.
    """
    return read_document(path).data


def read_document(path: str | Path) -> Document:
    """Like ``read_yaml``, with the line of every setting."""
    try:
        size = Path(path).stat().st_size
        if size > _MAX_BYTES:
            fix = "Settings are small; is this the right file?"
            raise ConfigError(f"{path} is too large", got=f"{size:,} bytes", allowed=f"{_MAX_BYTES:,}", fix=fix)
        text = Path(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise ConfigError(f"{path} cannot be read: {problem.strerror}", fix="Check the path.") from problem
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{path} is not UTF-8 text (byte {problem.start})", fix="Save it as UTF-8.") from problem
    try:
        return parse_document(text)
    except YAMLProblem as problem:
        where = f"{path}:{problem.line}" if problem.line else str(path)
        raise ConfigError(f"{where}: {problem.problem}", fix="Mend the file and try again.") from problem


def load_yaml(text: str) -> Any:
    """Plain data from YAML text; text of comments only is an empty mapping.

    Raises:
        YAMLProblem: The text is refused.
    """
    data = parse_document(text).data
    return {} if data is None and text.strip() not in ("null", "Null", "NULL", "~") else data


def dump_yaml(data: Any) -> str:
    """YAML text that ``load_yaml`` and every YAML 1.1 reader turn into ``data`` again; keys keep their order."""
    return str(yaml.dump(data, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))


def parse_document(text: str) -> Document:
    """Check and read a YAML text.

    Raises:
        YAMLProblem: The text is refused.
    """
    if len(text) > _MAX_BYTES:
        raise YAMLProblem(f"{len(text):,} characters, more than {_MAX_BYTES:,}")
    try:
        # Depth first, from the flat list of events: composing and constructing recurse, and would overflow the stack.
        _check_depth(text)
        loader = _Loader(rename(text))
        try:
            node = loader.get_single_node()
            if node is None:
                return Document(None, [])
            _Survey().visit(node, depth=1)
            data = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as problem:
        raise _translate(problem, text) from problem
    return Document(data, _flatten(node, ""))


# The C reader and writer where PyYAML was built with them.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_Base):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _Dumper(_BaseDumper):  # type: ignore[misc]
    """Quotes text that any reader, of YAML 1.1 or ours, would take for a number or a truth value."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, _first)


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.events.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise YAMLProblem(f"nested more than {_MAX_DEPTH} levels deep", line)
        elif isinstance(event, yaml.events.CollectionEndEvent):
            depth -= 1


class _Survey:
    """Counts what a node stands for once all aliases are written out, without writing them out."""

    def __init__(self) -> None:
        self.measured: dict[int, tuple[int, int]] = {}
        self.open: set[int] = set()

    def visit(self, node: Node, depth: int) -> tuple[int, int]:
        """Number of values and height of ``node``.

        Raises:
            YAMLProblem: Too many, too deep, an alias inside itself, or a key twice.
        """
        line = node.start_mark.line + 1
        if id(node) in self.open:
            raise YAMLProblem("an alias refers to the value it is part of", line)
        if id(node) not in self.measured:
            self.open.add(id(node))
            if isinstance(node, MappingNode):
                _check_keys(node)
            if depth > _MAX_DEPTH:
                raise YAMLProblem(f"aliases nest more than {_MAX_DEPTH} levels deep", line)
            sizes = [self.visit(child, depth + 1) for child in _children(node)]
            self.measured[id(node)] = 1 + sum(n for n, _ in sizes), 1 + max((h for _, h in sizes), default=0)
            self.open.discard(id(node))
        values, height = self.measured[id(node)]
        if values > _MAX_VALUES:
            raise YAMLProblem(f"stands for more than {_MAX_VALUES:,} values once aliases are written out", line)
        if depth + height > _MAX_DEPTH + 1:
            raise YAMLProblem(f"aliases nest more than {_MAX_DEPTH} levels deep", line)
        return values, height


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _check_keys(node: MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, ScalarNode):
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise YAMLProblem(f"key {key.value!r} is given twice, in lines {lines[name]} and {line}", line)
            lines[name] = line


def _flatten(node: Node, key: str) -> list[Setting]:
    if isinstance(node, SequenceNode):
        return [setting for item in node.value for setting in _flatten(item, key)]
    if not isinstance(node, MappingNode):
        return [Setting(key, node.value, node.start_mark.line + 1)] if key else []
    found: list[Setting] = []
    for name, value in node.value:
        path = f"{key}.{name.value}" if key else str(name.value)
        text = value.value if isinstance(value, ScalarNode) else ""
        found.append(Setting(path, text, name.start_mark.line + 1))
        if not isinstance(value, ScalarNode):
            found.extend(_flatten(value, path))
    return found


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _translate(problem: yaml.YAMLError, text: str) -> YAMLProblem:
    if isinstance(problem, YAMLProblem):
        return problem
    if not isinstance(problem, yaml.MarkedYAMLError):
        return YAMLProblem(str(problem).splitlines()[0])
    mark = problem.problem_mark or problem.context_mark
    told = problem.problem or problem.context or "not YAML"
    if "could not determine a constructor" in told:
        told = "tags that construct objects are refused: " + told.rpartition(" ")[2]
    line = "".join(text.splitlines()[mark.line : mark.line + 1]) if mark else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        told = "the line is indented by a tab; YAML is indented by spaces"
    return YAMLProblem(told, mark.line + 1 if mark else 0)

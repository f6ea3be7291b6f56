"""Corpora that every CPython carries, so that a first run needs no download.

    builtin:pydoc    English prose: the language reference (``pydoc_data.topics``, one document per topic) and the
                     docstrings of the standard library (one document per module); about 2 MB on CPython 3.11
    builtin:stdlib   the source code of the standard library, one document per file; about 11 MB
    builtin:codons   made up: 60,000 different documents such as "acgttagca=bye", nine letters of which nothing can be
                     foreseen and behind them one for each three, which tells them. A gap is filled by who sees what
                     stands behind it, and by nobody else; about 1 MB

Modules are parsed, never imported. Tests, vendored packages and installed packages are left out. The same CPython
version gives the same documents in the same order.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import itertools
import random
import string
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

_NOT_PROSE = {
    "__pycache__",
    "_bundled",
    "dist-packages",
    "ensurepip",
    "idle_test",
    "idlelib",
    "lib-dynload",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "turtledemo",
}
_LETTERS = string.ascii_letters + string.digits + "+/"
_BODIES = ("body", "handlers", "orelse", "finalbody", "cases")


def python_fingerprint() -> str:
    """SHA-256 (hex) of what determines the built-in corpora: the exact Python build."""
    return hashlib.sha256(sys.version.encode()).hexdigest()


def iterate_source_code() -> Iterator[tuple[str, str]]:
    """``(module path, source)`` of the standard library's files, sorted by path."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        if _NOT_PROSE.intersection(relative.parts) or relative.parts[0].startswith("config-"):
            continue
        try:
            with tokenize.open(path) as file:
                source = file.read()
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue  # a few distributions ship templates and broken links among the modules
        yield relative.as_posix(), source


def iterate_prose() -> Iterator[tuple[str, str]]:
    """``(name, text)`` of the language reference's topics and of each module's docstrings, sorted by name."""
    yield from _collect_prose()


@functools.cache
def _collect_prose() -> tuple[tuple[str, str], ...]:
    # Kept for the process: preparing reads a corpus twice, and parsing the library takes seconds.
    from pydoc_data.topics import topics  # half a megabyte of text, needed only here

    documents = [(f"topics/{name}", text.strip() + "\n") for name, text in sorted(topics.items())]
    for name, source in iterate_source_code():
        text = "\n\n".join(extract_docstrings(source))
        if text:
            documents.append((name, text + "\n"))
    return tuple(documents)


def extract_docstrings(source: str) -> list[str]:
    """Docstrings of a module, its classes and functions, in the order of the source; [] when it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    found: list[str] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring and (text := inspect.cleandoc(docstring).strip()):
                found.append(text)
        # Definitions hide only in bodies: walking every expression as well would double the time.
        bodies = (getattr(node, name, None) for name in _BODIES)
        children = [child for body in bodies if isinstance(body, list) for child in body]
        pending.extend(reversed(children))
    return found


def iterate_codons() -> Iterator[tuple[str, str]]:
    """``(number, text)`` of 60,000 different documents, each three codons and the letter of each."""
    codons = ["".join(bases) for bases in itertools.product("acgt", repeat=3)]
    texts = [
        codons[a] + codons[b] + codons[c] + "=" + "".join(_LETTERS[each] for each in (a, b, c))
        for a, b, c in itertools.product(range(64), repeat=3)
    ]
    for text in random.Random(0).sample(texts, 60_000):
        yield text, text


BUILTIN: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "pydoc": iterate_prose,
    "stdlib": iterate_source_code,
    "codons": iterate_codons,
}
"""The corpora by the name after ``builtin:``."""

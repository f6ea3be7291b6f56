from __future__ import annotations

import ast
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from gpt_lightning.data.readers.builtin import (
    extract_docstrings,
    iterate_codons,
    iterate_prose,
    iterate_source_code,
)
from gpt_lightning.errors import DataError
from tests.data.inputs import open_all

SOURCE = '''"""Module.

    Indented.
"""
class A:
    "Class."
    async def f(self):
        """Coroutine."""
        def inner():
            """Inner."""
if True:
    def g():
        """In a branch."""
else:
    try:
        x = "no docstring"
    except ValueError:
        def h():
            r"""In a \\d handler."""
    match x:
        case 1:
            def k():
                """In a case."""
'''


def test_docstrings_are_found_in_order_and_cleaned() -> None:
    assert extract_docstrings(SOURCE) == [
        "Module.\n\nIndented.",
        "Class.",
        "Coroutine.",
        "Inner.",
        "In a branch.",
        "In a \\d handler.",
        "In a case.",
    ]


@pytest.mark.parametrize("source", ["def f(:", "x = 1", "", "'\\d'\nx = '\\d'"])
def test_broken_and_silent_sources_give_what_they_have(source: str) -> None:
    assert extract_docstrings(source) in ([], ["\\d"])


def test_the_same_docstrings_as_a_walk_over_everything() -> None:
    source = Path(ast.__file__).read_text(encoding="utf-8")
    nodes = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    expected = sorted(text.strip() for node in nodes if (text := ast.get_docstring(node)))
    assert sorted(extract_docstrings(source)) == expected


@pytest.mark.slow
def test_pydoc_is_english_prose_of_megabytes_in_a_fixed_order() -> None:
    documents = list(iterate_prose())
    names = [name for name, _ in documents]
    assert len(set(names)) == len(names) > 300
    assert [name for name in names if name.startswith("topics/")] == sorted(names[: names.index("__future__.py")])
    assert 1.5e6 < sum(len(text) for _, text in documents) < 6e6
    assert 'The "assert" statement' in dict(documents)["topics/assert"]
    assert not any("test" in Path(name).parts for name in names)
    assert documents[:100] == list(islice(iterate_prose(), 100))


def test_source_code_is_in_path_order_without_tests() -> None:
    with pytest.MonkeyPatch.context() as patch:
        root = Path(ast.__file__).parent / "json"
        patch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(root)})
        documents = dict(iterate_source_code())
    assert list(documents) == sorted(documents)
    assert documents["decoder.py"] == (root / "decoder.py").read_text(encoding="utf-8")


def test_codons_are_told_by_what_stands_behind_them_and_by_nothing_before() -> None:
    documents = [text for _, text in iterate_codons()]
    assert len(set(documents)) == len(documents) == 60_000
    letters: dict[str, set[str]] = {}
    for text in documents:
        bases, codes = text.split("=")
        for place, code in enumerate(codes):
            letters.setdefault(code, set()).add(bases[3 * place : 3 * place + 3])
    assert len(letters) == 64
    assert all(len(codons) == 1 for codons in letters.values())
    following = Counter(text[place] for text in documents for place in range(9) if text[:place] == "acgt"[:place])
    assert max(following.values()) < 1.2 * min(following.values())


def test_unknown_corpora_are_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"got 'builtin:pydok' \(allowed: builtin:pydoc, builtin:stdlib, builtin:codons\)\. Did you mean",
    ):
        open_all(["builtin:pydok"])

"""The rules of the house that a machine can check: floors, sizes, names, imports at start."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gpt_lightning"
MODULES = sorted(PACKAGE.rglob("*.py"))
_BANNED_NAMES = {"utils", "util", "common", "misc", "helpers", "helper"}


def test_rooms_import_only_lower_floors() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter comes with the extra 'dev'")
    result = subprocess.run([command, "--no-logo"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_files_are_short_and_named_for_their_noun() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path: n for path, n in lengths.items() if n > 400} == {}
    assert not [path for path in MODULES if path.stem in _BANNED_NAMES]
    filled = sorted(n for n in lengths.values() if n > 1)
    assert filled[len(filled) // 2] <= 150
    assert filled[int(len(filled) * 0.9)] <= 300


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0


def test_functions_are_short() -> None:
    lengths = {}
    for path in MODULES:
        for node in ast.walk(_parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{path.relative_to(ROOT)}:{node.name}"] = _body_lines(node)
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    long = [name for name, n in lengths.items() if n > 50]
    assert len(long) < 0.02 * len(lengths), long


def test_no_circles() -> None:
    """Imports for types and inside functions count too: who needs whom is what a reader has to know."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        nodes = [node for node in ast.walk(_parse(path)) if isinstance(node, ast.ImportFrom)]
        found = {f"{node.module}.{each.name}" for node in nodes for each in node.names} | {str(n.module) for n in nodes}
        graph[name] = (found & names.keys()) - {name}
    TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_rooms_explain_themselves_and_re_export_nothing() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        tree = _parse(path)
        assert ast.get_docstring(tree), f"{path} has no docstring"
        if path.parent != PACKAGE:
            assert len(tree.body) == 1, f"{path} holds more than its docstring"


_STAYS_OUT = {
    "gpt_lightning": ("torch", "lightning", "jsonargparse", "numpy"),
    "gpt_lightning.monitoring.reporting": ("torch", "lightning", "numpy", "tensorboard"),
    "gpt_lightning.data.commands.prepare": ("torch", "lightning"),
    "gpt_lightning.generation.command": ("lightning", "tensorboard", "optuna", "transformers"),
    "gpt_lightning.evaluation.commands.ppl": ("torchmetrics", "scipy", "transformers", "torch._dynamo"),
    "gpt_lightning.serving.app": ("lightning", "torchmetrics", "scipy", "transformers", "torch._dynamo"),
    "gpt_lightning.training.fitting.build": ("optuna", "matplotlib"),
}
"""Imported one after the other in one interpreter: module -> packages that must not be there after it."""


def test_slow_packages_stay_out() -> None:
    steps = "".join(
        f"import {name}; print({name!r}, [each for each in {absent} if each in sys.modules])\n"
        for name, absent in _STAYS_OUT.items()
    )
    # About names, not time: on a busy machine importing torch has taken more than a minute.
    command = [sys.executable, "-c", f"import sys\n{steps}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert result.stdout.splitlines() == [f"{name} []" for name in _STAYS_OUT]

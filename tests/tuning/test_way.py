"""The way of a trial: the modules that run between its sweep file and its value are those that the package names."""

from __future__ import annotations

import ast
import cProfile
import re
from pathlib import Path

import pytest

import gpt_lightning.tuning as package
from gpt_lightning.tuning.trial import child
from tests.tuning.sweeping import make_sweep, train_all

ROOT = Path(str(package.__file__)).parent
MOST = 26
"""Modules on the way; fewer are better."""


def _named() -> set[str]:
    text = (package.__doc__ or "").partition("The way of a trial")[2].partition("Inside the trial")[0]
    return set(re.findall(r"\b[a-z]+\.[a-z_]+\b", text.partition("::")[2]))


def _imported_by_the_trial() -> set[str]:
    """What the trial's own process needs of the package, which cannot be traced from here."""
    tree = ast.parse(Path(str(child.__file__)).read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    prefix = f"{package.__name__}."
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)} | {"trial.child"}


def test_the_way_of_a_trial_is_short_and_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    met = _imported_by_the_trial()

    profile = cProfile.Profile()  # far cheaper than a trace function in Python
    profile.enable()
    ended = train_all(make_sweep(tmp_path, {"budget": {"trials": 1}, "method": "random"}))
    profile.disable()
    assert ended == {"complete": 1}
    for entry in profile.getstats():
        # A comprehension or the import of a module is no function that is entered.
        if not isinstance(entry.code, str) and not entry.code.co_name.startswith("<"):
            path = Path(entry.code.co_filename)
            if path.is_relative_to(ROOT):
                met.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert met == _named()
    assert len(met) <= MOST

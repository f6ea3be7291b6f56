"""Only ``files`` knows what systems differ in; without it prepare, fit and generate run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.files.elsewhere import CALLS, MODULES, SIGNALS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gpt_lightning"
_OURS = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "files"]
_BANNED = {"os": {*CALLS["win32"], "statvfs"}, "signal": set(SIGNALS["win32"])}


def _find(path: Path) -> list[str]:
    """Uses in one file of what some systems do not have."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name in MODULES["win32"]]
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES["win32"]:
            found.append(str(node.module))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in _BANNED.get(node.value.id, ()):
                found.append(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Constant) and str(node.value).startswith(("/proc/", "/dev/shm")):
            found.append(str(node.value))
    return found


def test_only_one_package_knows_what_systems_differ_in() -> None:
    assert {str(path.relative_to(ROOT)): found for path in _OURS if (found := _find(path))} == {}


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import fcntl, os, signal\nfrom resource import getrusage\n"
        "os.killpg(1, signal.SIGKILL)\nopen('/proc/self/statm')\nos.kill(1, signal.SIGTERM)\n"
    )
    assert sorted(_find(tmp_path / "a.py")) == ["/proc/self/statm", "fcntl", "os.killpg", "resource", "signal.SIGKILL"]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_three_commands_run(system: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.files.elsewhere", system]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "checkpoints" / "step-000000002" / "state.pt").exists()

"""Where measurements go: a table on the terminal, and a file in ``results/`` when BENCH_WRITE=1 asks for it.

A number without its machine is worth nothing, so every table carries command, processor, load, versions, seed, date.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
_SHAKESPEARE = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"
SEED = 1337
_PACKAGES = ("torch", "lightning", "numpy")


def measure(script: str, *arguments: str, threads: int | None = None, timeout: float | None = None) -> Any:
    """What ``python -m tests.bench.SCRIPT`` printed last, as JSON; TimeoutExpired after ``timeout`` seconds.

    A process of its own, because the tests' import hook checks the shapes of every tensor function, which costs time.
    """
    environment = os.environ if threads is None else os.environ | {"OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{script}", *arguments],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def corpus() -> str:
    """Tiny Shakespeare where it lies beside the repository, else prose that every Python carries."""
    return str(_SHAKESPEARE) if _SHAKESPEARE.exists() else "builtin:pydoc"


def publish(name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], notes: str) -> None:
    """Print a table; with BENCH_WRITE=1 also write it to ``results/NAME.md``.

    Args:
        name: File name without ending.
        title: Heading.
        columns: Names of the columns, with units.
        rows: One sequence per row; floats are shown with three significant digits or more.
        notes: How the numbers came about.
    """
    table = _format_table(columns, rows)
    text = f"# {title}\n\n{table}\n\n{notes}\n\n{_describe_machine(name)}\n"
    print(f"\n{text}")
    if os.environ.get("BENCH_WRITE") == "1":
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")


def _format_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [list(columns), *([_show(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _show(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _describe_machine(name: str) -> str:
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in _PACKAGES)
    lines = (
        f"command: `.venv/bin/python -m pytest -m bench -s --timeout 3600 tests/bench/test_{name}.py`",
        f"hardware: {_processor()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end",
        f"software: Python {platform.python_version()}, {versions}; commit {_commit()}",
        f"seed {SEED}, {time.strftime('%Y-%m-%d')}",
    )
    return "\n".join(f"- {line}" for line in lines)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    result = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return result.stdout.strip() or "unknown"

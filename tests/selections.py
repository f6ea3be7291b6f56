"""Parts of the suite that have a command of their own.

    python -m tests.selections fast               make test-fast: no processes, no Trainer; at most a minute
    python -m tests.selections processors [SET]   make test-processors: the numbers, under every set of instructions

A processor is imitated by forbidding the libraries of numbers what it does not have. That goes downwards only: what
this machine lacks cannot be tried here, and is named.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

FAST = (
    "adapters",
    "feedback",
    "files",
    "tracking",
    "checkpoints",
    "contracts",
    "data",
    "metrics",
    "model",
    "objectives",
    "optim",
    "reports",
    "parsing",
)
NUMERICAL = (
    *("adapters", "contracts", "golden", "metrics", "model", "objectives", "optim", "weights"),
    *("evaluation/test_windows.py", "serving/test_adapters.py", "serving/test_same_bytes.py"),
    *(f"generation/test_{name}.py" for name in ("decode", "engine", "packing", "sampling", "transformers")),
    *(f"training/test_{name}.py" for name in ("finetuning", "optimizers", "precision", "resume_exact")),
)
"""Tests whose result depends on how sums are rounded."""
NO_PROCESSES = "GPT_LIGHTNING_TESTS_FAST"
"""Set: what starts a process or a Trainer is skipped, see ``conftest``."""

Environment = dict[str, str | None]
ORDER = ("default", "avx2", "avx512")
SETS: dict[str, Environment] = {
    "sse41": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    },
    "amx": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"},
    "two-threads": {"OMP_NUM_THREADS": "2"},
    "all-threads": {"OMP_NUM_THREADS": None},
}
"""Variables by name; None = taken away. The first four run with one thread a process."""


def seldom(*values: Any) -> list[Any]:
    """Values of a parameter that ``make test-slow`` alone tries: where they fail, one that is tried always fails."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def own_capability() -> str:
    """The most that torch finds here: default, avx2 or avx512; empty on another kind of processor."""
    code = "import torch; print(torch.backends.cpu.get_cpu_capability().lower())"
    environment = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip()


def is_possible(environment: Environment, own: str) -> bool:
    """Whether this machine has what a set allows: torch believes its variable, and dies of what is not there."""
    wanted = environment.get("ATEN_CPU_CAPABILITY")
    return wanted is None or (own in ORDER and ORDER.index(wanted) <= ORDER.index(own))


def run(paths: Sequence[str], environment: Environment, more: Sequence[str] = ()) -> int:
    """pytest over parts of the suite, side by side unless the number of threads is what is tried."""
    variables = {**os.environ, **{name: value for name, value in environment.items() if value is not None}}
    for name in [name for name, value in environment.items() if value is None]:
        variables.pop(name, None)
    beside = [] if "OMP_NUM_THREADS" in environment else ["-n", "auto", "--dist", "worksteal"]
    command = [sys.executable, "-m", "pytest", *beside, *more, *(f"tests/{path}" for path in paths)]
    return subprocess.run(command, env=variables, check=False).returncode


def run_processors(names: Sequence[str]) -> int:
    """The numerical tests under some sets; 1 when one failed."""
    own, failed = own_capability(), []
    for name in names or SETS:
        if not is_possible(SETS[name], own):
            print(f"== {name}: not on this machine, which has {own}", flush=True)
            continue
        print(f"== {name}: {SETS[name]}", flush=True)
        if run(NUMERICAL, SETS[name]):
            failed.append(name)
    print(f"== failed: {', '.join(failed)}" if failed else "== all green", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    kind, *chosen = sys.argv[1:]
    sys.exit(run(FAST, {NO_PROCESSES: "1"}) if kind == "fast" else run_processors(chosen))

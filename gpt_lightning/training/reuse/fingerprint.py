"""The key of a trajectory: two runs with the same key after s steps have the same weights after s steps, bit for bit.

    key(s) = sha256(facts, [rates, tokens, values] of step 0, ..., [rates, tokens, values] of step s - 1)

The values are what the objective says of itself that changes with the step (``Objective.step_values``). The facts are
everything else that may change the sequence of weights: settings, data, initial
weights, code, versions, device. What cannot change it is listed in ``INDIFFERENT`` and left out; a setting that is not
listed there, a new one above all, is part of the key, so that what this file forgets costs reuse and not correctness.

The schedules and the length of the run are left out, since the chain holds what they amount to: the exact learning rate
of every role at every step. So runs of different schedules and lengths have the same keys for as long as these agree,
and any step of one can be compared with any step of another.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gpt_lightning._version import __version__
from gpt_lightning.adapters.base import StepFunction
from gpt_lightning.files.processes import find_processor
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import Schedule
from gpt_lightning.parsing.strict_yaml import flatten
from gpt_lightning.training.parts import RunParts
from gpt_lightning.training.runs.run_folder import installed_version
from gpt_lightning.weights.checking import hash_weights

INDIFFERENT = (
    # In the chain of steps, as what they amount to.
    "model.schedule",
    "data.batch_ramp",
    "trainer.max_steps",
    "trainer.max_epochs",
    "run.max_tokens",
    # Where and how a run is kept, shown and validated. Which validations a run has is compared line by line.
    "run.name",
    "run.dir",
    "run.validate_every",
    "run.save_every",
    "run.keep_checkpoints",
    "run.prompt",
    "run.sample_tokens",
    "run.expected_val_loss",
    "run.allow_changes",
    "trainer.logger",
    "trainer.profiler",
    "trainer.enable_progress_bar",
    "trainer.limit_test_batches",
    "trainer.limit_predict_batches",
    "trainer.detect_anomaly",
    "data.predict_split",
    # Part of the facts as what they were found to be: device, processes, content of the data.
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "data.source",
    "data.store",
    "data.keep_store",
)
"""Settings (with everything below them) that are no part of the facts."""

_SWITCHES = (
    *("NVIDIA_TF32_OVERRIDE", "CUBLAS", "CUDNN", "NCCL_ALGO", "NCCL_PROTO", "TORCH_ALLOW_TF32", "TORCH_BLAS_"),
    *("TORCHINDUCTOR_", "MKL_", "DNNL_", "ONEDNN_", "ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE", "KMP_DETERMINISTIC"),
)
"""Beginnings of their names."""

_OUTER_PACKAGES = frozenset(
    {
        "cli.py",
        "__main__.py",
        "tuning",
        "monitoring",
        "evaluation",
        "generation",
        "reports",
        "serving",
        "registry",
        "apps",
    }
)
"""What is not used in a step of training; every other file of ours is part of the code's fingerprint."""


@dataclass(frozen=True)
class RunFingerprint:
    """What leads to the weights of a run.

    Attributes:
        facts: Everything but the learning rates and the sizes of steps, as plain data.
        rates: Learning rate of every role at factor 1.
        schedule: The factor of every step.
        horizon: Length of the run.
        values: What else changes with the step, by name.
    """

    facts: Mapping[str, Any]
    rates: Mapping[str, float]
    schedule: Schedule
    horizon: Horizon
    values: Mapping[str, StepFunction] = field(default_factory=dict)

    @functools.cached_property
    def base(self) -> str:
        """SHA-256 (hex) of the facts."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True, default=repr).encode()).hexdigest()

    def keys(self, steps: Iterable[int]) -> dict[int, str]:
        """Key after each of these numbers of steps; those beyond the run are left out.

        Args:
            steps: Optimizer steps done, 1 or more.
        """
        wanted = {step for step in steps if 0 < step <= self.horizon.total_steps}
        keys, digest = {}, hashlib.sha256(self.base.encode())
        for step, packed in enumerate(self._steps(max(wanted, default=0)), start=1):
            digest.update(packed)
            if step in wanted:
                keys[step] = digest.hexdigest()[:40]
        return keys

    def _steps(self, number: int) -> Iterator[bytes]:
        horizon, peaks = self.horizon, [rate for _, rate in sorted(self.rates.items())]
        values = [value for _, value in sorted(self.values.items())]
        form = struct.Struct(f"<{len(peaks)}dq{len(values)}d")
        for step in range(number):
            factor = self.schedule.factor(step, horizon)
            tokens = horizon.tokens_before(step + 1) - horizon.tokens_before(step)
            rates = [peak * factor for peak in peaks]
            yield form.pack(*rates, tokens, *(value.at(step, horizon) for value in values))

    def is_shared(self, step: int) -> bool:
        """Whether other runs are likely to come by at ``step``.

        Where the learning rate stands still, runs of different endings part; and at the end, a twin finds it all done.
        """
        if step >= self.horizon.total_steps:
            return True
        return self.schedule.factor(step, self.horizon) == self.schedule.factor(step - 1, self.horizon)


def trace(run: RunParts) -> RunFingerprint:
    """The trajectory of a run that has not started; call it before ``fit`` builds the model."""
    rates = {str(role): rate for role, rate in run.module.optimizer_recipe.rates.items()}
    values: dict[str, StepFunction] = {**run.module.objective.step_values()}
    if run.module.adaptation is not None:
        values |= {f"adaptation.{name}": value for name, value in run.module.adaptation.step_values().items()}
    return RunFingerprint(_gather_facts(run), rates, run.module.schedule, run.plan.horizon, values)


def _gather_facts(run: RunParts) -> dict[str, Any]:
    trainer, card, initial = run.trainer, run.module.card, run.module.initial_weights
    settings = {key: value for key, value in flatten(run.config).items() if not is_indifferent(key)}
    if run.module.objective.step_values():
        settings = {key: value for key, value in settings.items() if not _is_in_the_chain(key)}
    facts: dict[str, Any] = {
        "settings": settings,
        "rates": run.module.optimizer_recipe.rates,
        "data": card["data_fingerprint"],
        "initial_weights": None if initial is None else hash_weights(initial),
        "global_batch_size": card["global_batch_size"],
        "world_size": trainer.world_size,
        "strategy": type(trainer.strategy).__name__,
        "accumulate": trainer.accumulate_grad_batches,
        "code": CODE,
        "classes": _hash_classes(run.config),
        "versions": {name: installed_version(name) for name in ("torch", "lightning", "numpy")},
        "device": describe_device(trainer.strategy.root_device),
        "switches": _switches(),
    }
    if any(key.rpartition(".")[2] == "compile" and value for key, value in settings.items()):
        facts["compilers"] = _compilers()
    if settings.get("trainer.callbacks"):
        # What a callback of someone else's does may depend on the length of the run and on when it validates.
        facts["callbacks"] = [run.plan.horizon.total_steps, run.plan.validate_every]
    return facts


def is_indifferent(key: str) -> bool:
    """Whether a setting is no part of the facts."""
    return any(key == entry or key.startswith(f"{entry}.") for entry in INDIFFERENT)


def _is_in_the_chain(key: str) -> bool:
    """Whether a setting is a schedule of the objective; what it amounts to are its step values."""
    return key.startswith("model.objective.") and any(part.endswith("schedule") for part in key.split("."))


def describe_device(device: torch.device) -> dict[str, Any]:
    """What of the hardware and torch's switches decides the last bits of a sum."""
    facts: dict[str, Any] = {
        "type": device.type,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
    }
    if device.type == "cuda":
        return {**facts, "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        **facts,
        "machine": platform.machine(),
        "processor": find_processor(),
        "vectors": capability,
        "threads": torch.get_num_threads(),
    }


def _switches() -> dict[str, str]:
    """Variables with which numeric libraries are told to compute otherwise."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SWITCHES)}


def _compilers() -> dict[str, str | None]:
    """What turns a compiled model into kernels."""
    found: dict[str, str | None] = {}
    for name in ("triton", "pytorch-triton"):
        if version := installed_version(name):
            found[name] = version
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
    found["compiler"] = None if compiler is None else _version_of(compiler)
    return found


@functools.cache
def _version_of(compiler: str) -> str | None:
    try:
        done = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0]


def describe_environment(device: torch.device, processes: int) -> dict[str, Any]:
    """What besides settings and data decides the last bits of a step, as plain data for a checkpoint."""
    versions = {name: installed_version(name) for name in ("torch", "lightning", "numpy")}
    return {"gpt_lightning": __version__, **versions, **describe_device(device), "processes": processes}


def _hash_sources() -> str:
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts[0] not in _OUTER_PACKAGES:
            digest.update(f"{place.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


CODE = _hash_sources()
"""Of our own files, read when they are imported: later edits are not what this process runs."""


def _hash_classes(config: Any) -> dict[str, str | None]:
    """Files of the classes of other packages that a configuration names, and of what these import in turn.

    Installed packages stand for their files with their versions, by name.
    """
    waiting = {name.rpartition(".")[0] for name in _class_paths(config)}
    found: dict[str, str | None] = {}
    while waiting:
        module = waiting.pop()
        if module in found or module.partition(".")[0] in _NOT_HASHED:
            continue
        file = _file_of(module)
        if file is None or _is_installed(file):
            found[module] = installed_version(module.partition(".")[0])
            continue
        content = file.read_bytes()
        found[module] = hashlib.sha256(content).hexdigest()
        waiting |= _imports(content, module)
    return found


_NOT_HASHED = frozenset({"", "gpt_lightning", *sys.stdlib_module_names})


def _file_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    file = None if spec is None or spec.origin is None else Path(spec.origin)
    return file if file is not None and file.is_file() else None


def _is_installed(file: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(file.parts)) or file.suffix != ".py"


def _imports(content: bytes, module: str) -> set[str]:
    """Modules that a source file may import, those inside functions among them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*parents, *filter(None, [node.module])])
            names |= {source, *(f"{source}.{alias.name}" for alias in node.names if _file_of(f"{source}.{alias.name}"))}
    return names


def _class_paths(config: Any) -> Iterator[str]:
    if isinstance(config, Mapping):
        if isinstance(config.get("class_path"), str):
            yield config["class_path"]
        for value in config.values():
            yield from _class_paths(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _class_paths(value)

"""``doctor``, and ``fit --dry_run``: a run is built, sized, and trained for a few steps; nothing of it remains.

As with ``bench``, whose measurement this is, only a prepared store stays in the cache.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpt_lightning.model.flops import count_training_flops
from gpt_lightning.model.gpt import GPT
from gpt_lightning.training.engine.process_memory import GrownMemory, free_memory
from gpt_lightning.training.engine.processes import StopFlag, process_rank
from gpt_lightning.training.engine.sharded_strategy import Sharded
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.profiling.bench import build_quietly, measure_run, shortest_measured
from gpt_lightning.training.profiling.checkup import Checkup, count_parameters, find_problems
from gpt_lightning.training.profiling.checkup_report import checkup_to_json, describe_checkup
from gpt_lightning.training.profiling.memory_estimate import MemoryEstimate, StepSpec, estimate_memory
from gpt_lightning.training.runs.run_folder import RUNS

_STEPS, _SECONDS = 6, 30.0


def examine(settings: Sequence[str], *, steps: int = _STEPS, watts: float | None = None, as_json: bool = False) -> int:
    """Check the run that ``fit`` would start with ``settings``, and write what was found to standard output.

    Args:
        settings: Arguments of ``fit``.
        steps: Steps to measure; 0 = none.
        watts: Power of the machine; None = the power limit that a CUDA device reports.
        as_json: Write JSON.

    Returns:
        The exit code: 0, or 2 when there is an error among the findings.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    run = build_quietly(settings, "doctor")
    stop = StopFlag()
    checkup = check_run(run, steps=steps, watts=watts, stop=stop)
    if stop.received is not None:
        return 128 + int(stop.received)
    findings = find_problems(checkup)
    if process_rank() == 0:
        sys.stdout.write((checkup_to_json if as_json else describe_checkup)(checkup, findings))
    return 2 if any(finding.level == "error" for finding in findings) else 0


def check_run(run: Run, *, steps: int = _STEPS, watts: float | None = None, stop: StopFlag | None = None) -> Checkup:
    """Find out everything about a run that has not started; afterwards it is used up if steps were measured.

    Raises:
        UserError: Its steps fail: a loss that is not finite, for instance.
    """
    device = run.trainer.strategy.root_device
    memory, reason = estimate_step_memory(run)
    facts = _facts(run) | {"memory": memory, "memory_reason": reason, "available_bytes": free_memory(device)}
    power, source = _find_power(watts, device, run.trainer.world_size)
    facts |= {"watts": power, "watts_source": source}
    unmeasured = _why_not(run, memory, facts["available_bytes"], steps)
    if unmeasured:
        run.datamodule.close()
        return Checkup(**facts, unmeasured_reason=unmeasured)
    with GrownMemory(device) as grown:
        measured = measure_run(run, steps=steps, seconds=_SECONDS, stop=stop)
    return Checkup(**facts, measured=measured, grown_bytes=grown.num_bytes)


def _facts(run: Run) -> dict[str, Any]:
    data, horizon, settings, trainer = run.datamodule, run.plan.horizon, run.settings, run.trainer
    train = val = windows = None
    if not data.on_the_fly:
        store = data.open_store()
        train = store.split("train").num_tokens
        val = store.split("val").num_tokens if data.has_validation() else None
        windows = None if val is None else max(0, val - 1) // data.block_size
    with torch.device("meta"):
        model = GPT(run.module.config)
    limit = trainer.limit_val_batches
    if val is not None and isinstance(limit, int):
        val = min(val, limit * data.eval_batch_size * data.block_size)
    return {
        "parameters": count_parameters(model),
        "flops_per_token": count_training_flops(run.module.config, data.block_size),
        "total_steps": horizon.total_steps,
        "tokens_per_step": horizon.tokens_per_step,
        "train_tokens": train,
        "val_tokens": val,
        "val_windows": windows,
        "validations": 0 if limit == 0 else -(-horizon.total_steps // run.plan.validate_every),
        "save_every": run.plan.save_every,
        "kept_checkpoints": min(settings.keep_checkpoints + 1, -(-horizon.total_steps // run.plan.save_every)),
        "peak_rate": max(run.module.optimizer_recipe.rates.values()),
        "device": trainer.strategy.root_device.type,
        "devices": trainer.world_size,
        "disk_free_bytes": _free_disk(Path(settings.dir) if settings.dir else RUNS),
    }


def _free_disk(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def estimate_step_memory(run: Run) -> tuple[MemoryEstimate | None, str]:
    """The estimate of one step of a run that is built, or None with the reason."""
    if isinstance(run.trainer.strategy, Sharded):
        return None, "the model is spread over several processes"
    plugin, module, data = run.trainer.precision_plugin, run.module, run.datamodule
    with plugin.module_init_context():
        dtype = torch.get_default_dtype()
    spec = StepSpec(
        config=module.config,
        objective=module.objective,
        told=replace(module.context, texts=()),
        optimizer=module.optimizer_recipe,
        parametrization=module.parametrization,
        batch_size=data.batch_size,
        block_size=data.block_size,
        accumulate=run.trainer.accumulate_grad_batches,
        checkpoint_every=module.checkpoint_activations,
        averaged=module.has_mean and not module.optimizer_recipe.keeps_average,
        adaptation=module.adaptation,
        device=run.trainer.strategy.root_device.type,
        dtype=dtype,
        context=plugin.forward_context,
    )
    try:
        return estimate_memory(spec), ""
    except KeyError as problem:
        return None, f"the loss reads what only a batch of the data has ({problem})"
    except (RuntimeError, NotImplementedError) as problem:
        return None, f"a step cannot be run without values ({type(problem).__name__})"


def _why_not(run: Run, memory: MemoryEstimate | None, available: int, steps: int) -> str:
    """Why no step can be measured; empty = it can."""
    if steps == 0:
        return "no step was to be measured"
    if memory is not None and available and memory.peak > available:
        return "a step does not fit into memory"
    if run.plan.horizon.total_steps < shortest_measured():
        return f"the run is too short to be measured (fewer than {shortest_measured()} steps)"
    return ""


def _find_power(watts: float | None, device: torch.device, devices: int) -> tuple[float | None, str]:
    if watts is not None:
        return watts, "as given"
    limit = _power_limit(device) if device.type == "cuda" else None
    return (None, "") if limit is None else (limit * devices, f"power limit of {devices} x {device.type}")


def _power_limit(device: torch.device) -> float | None:
    """Watts that the driver lets a CUDA device draw; None where it does not say."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=power.limit", "--format=csv,noheader,nounits", f"--id={_physical_index(device)}"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        return float(answer.splitlines()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _physical_index(device: torch.device) -> str:
    """The driver counts all devices, this process perhaps a choice of them."""
    visible = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
    index = device.index or 0
    return visible[index] if index < len(visible) else str(index)

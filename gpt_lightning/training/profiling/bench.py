"""A ``Measurement`` as one screen of text, or as JSON.

``bench``: the run that ``fit`` would start, for some steps, measured: where the time goes and what to change.

Nothing remains of it but a prepared store in the cache: loggers write into a temporary folder, nothing is validated or
saved, and loggers and a profiler of the user's own are left out.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gpt_lightning.errors import ConfigError
from gpt_lightning.files.processes import count_cores, peak_resident_bytes, total_bytes
from gpt_lightning.model.flops import choose_factor_type, count_training_flops, measure_matrix_peak
from gpt_lightning.training.engine.processes import StopFlag, process_rank
from gpt_lightning.training.fitting.build import build_parsed
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.profiling.advice import HALF, Measurement, Setup, advise
from gpt_lightning.training.profiling.step_parts import PARTS, StepBorders, StepParts, StepTime, choose_clock

_MEANING = {
    "data": "loading, copying to the device",
    "forward": "model and loss",
    "backward": "gradients",
    "optimizer": "clipping and update",
    "rest": "logging, callbacks, Trainer",
}


def describe(measured: Measurement) -> str:
    """The table, the figures and the advice."""
    lines = [*_headline(measured), "", *_table(measured), "", *_figures(measured), ""]
    advice = advise(measured)
    lines += ["What to change", *(f"  {line}" for line in advice)] if advice else ["Nothing stands out."]
    return "\n".join(lines) + "\n"


def _headline(measured: Measurement) -> list[str]:
    setup = measured.setup
    place = f"{setup.world} x {setup.device}" if setup.world > 1 else setup.device
    threads = f", {setup.threads} threads" if setup.device == "cpu" else ""
    how = "compiled" if setup.compiled else "not compiled"
    batches = f" x {setup.accumulate}" if setup.accumulate > 1 else ""
    return [
        f"{setup.num_parameters:,} parameters, {setup.precision}, {how}, on {place}{threads}",
        f"{measured.steps} steps of {measured.tokens_per_step:,} tokens: block {setup.block_size}, "
        f"batch {setup.batch_size}{batches}",
    ]


def _table(measured: Measurement) -> list[str]:
    lines = [f"{'part':<10}{'ms':>11}{'share':>9}"]
    for part, seconds in measured.parts.items():
        lines.append(f"{part:<10}{1000 * seconds:>11.2f}{measured.share(part):>9.1%}  {_MEANING[part]}")
    spread = f"{1000 * measured.fastest_seconds:.2f} to {1000 * measured.slowest_seconds:.2f}"
    return [*lines, f"{'step':<10}{1000 * measured.step_seconds:>11.2f}{1:>9.1%}  {spread}"]


def _figures(measured: Measurement) -> list[str]:
    setup = measured.setup
    peak = measured.peaks[setup.precision]
    memory = f"{measured.memory_bytes / 2**30:.2f} of {measured.memory_total_bytes / 2**30:.1f} GiB"
    kind = "resident at most" if setup.device == "cpu" else "allocated at most"
    return [
        f"{'tokens/s':<10}{measured.tokens_per_second:>11,.0f}",
        f"{'MFU':<10}{measured.mfu:>11.1%}  of {peak / 1e12:.3g} TFLOP/s, the fastest product of matrices here",
        f"{'memory':<10}{memory:>11}, {kind}",
    ]


def to_json(measured: Measurement) -> str:
    """All figures and the advice; seconds, bytes and operations per second."""
    derived = {
        "step_seconds": measured.step_seconds,
        "tokens_per_second": measured.tokens_per_second,
        "mfu": measured.mfu,
        "advice": advise(measured),
    }
    return json.dumps(asdict(measured) | derived) + "\n"


_WARMUP_STEPS = 4
"""The first compiles and allocates, the second may compile again, and a GPU needs a moment for its full clock."""


def tell_step(settings: Sequence[str], *, steps: int, seconds: float, as_json: bool = False) -> int:
    """Measure the step of the run that ``fit`` would start, and write what was found to standard output.

    Args:
        settings: Arguments of ``fit``.
        steps: Steps to measure.
        seconds: Time after which fewer will do.
        as_json: Write JSON.

    Returns:
        The exit code: 0, or what a signal that ended it asks for.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    run = build_quietly(settings, "bench")
    stop = StopFlag()
    measured = measure_run(run, steps=steps, seconds=seconds, stop=stop)
    if stop.received is not None:
        return 128 + int(stop.received)
    if process_rank() == 0:
        sys.stdout.write(to_json(measured) if as_json else describe(measured))
    return 0


def build_quietly(settings: Sequence[str], command: str) -> Run:
    """The run that ``fit`` would start, without what writes to places that remain.

    Raises:
        UserError: A setting is wrong, or asks to go on with a run.
    """
    line = TrainerCommandLine("fit", settings)
    if line.config.resume != "never":
        raise ConfigError(
            f"{command} goes on with no run", got=line.config.resume, allowed="never", fix="Leave out --resume."
        )
    # They may write to a place that remains, or to somebody's server.
    line.config["trainer.logger"] = line.config["trainer.profiler"] = None
    # The full batch, which most of the run has; steps of several sizes would have no typical one.
    line.config["data.batch_ramp"] = None
    return build_parsed(line)


def shortest_measured() -> int:
    """Steps that a run must have to be measured."""
    return _WARMUP_STEPS + 1


def measure_run(run: Run, *, steps: int, seconds: float = 60.0, stop: StopFlag | None = None) -> Measurement:
    """Train some steps of a run that has not started, and measure them; afterwards the run is used up.

    Args:
        run: As ``build`` made it.
        steps: Steps to measure, after a few to warm up; the run's length bounds them.
        seconds: Stop earlier after this time, with 3 steps at least.
        stop: Is told of signals; they end the measurement, of which nothing is then kept.

    Raises:
        ConfigError: The run is shorter than the warm-up.
    """
    possible = run.plan.horizon.total_steps - _WARMUP_STEPS
    if possible < 1:
        raise ConfigError(
            "the run is too short to be measured",
            got=run.plan.horizon.total_steps,
            allowed=f"more than {_WARMUP_STEPS} steps",
            fix="Add --trainer.max_steps 100.",
        )
    setup, device = read_setup(run), run.trainer.strategy.root_device
    peaks = _measure_peaks(setup.precision, device)
    parts = StepParts(choose_clock(device))
    vars(run.trainer)["profiler"] = parts  # an attribute that Lightning sets without declaring it
    borders = StepBorders(parts, warmup_steps=_WARMUP_STEPS, seconds=seconds, stop=stop or StopFlag())
    with tempfile.TemporaryDirectory(prefix="gpt-lightning-bench-") as folder:
        run.rehearse(Path(folder), _WARMUP_STEPS + min(steps, possible), borders)
    times = parts.steps()
    if not times:  # a signal came first
        return Measurement(setup)
    totals = [each.total for each in times]
    used, available = _memory(device)
    flops, tokens = count_training_flops(run.module.config, run.datamodule.block_size), run.plan.horizon.tokens_per_step
    # Another program may have slowed the products down that came first; and what a step reached can be reached.
    again = {**_measure_peaks(setup.precision, device)}
    again[setup.precision] = max(again[setup.precision], flops * tokens / min(totals) / setup.world)
    peaks = {name: max(peak, again[name]) for name, peak in peaks.items()}
    return Measurement(
        setup=read_setup(run),
        parts=typical_parts(times),
        fastest_seconds=min(totals),
        slowest_seconds=max(totals),
        steps=len(times),
        tokens_per_step=tokens,
        flops_per_token=flops,
        peaks=peaks,
        memory_bytes=used,
        memory_total_bytes=available,
    )


def typical_parts(steps: Sequence[StepTime]) -> dict[str, float]:
    """Mean of every part over the middle half of the steps, which disturbances do not reach."""
    ordered = sorted(steps, key=lambda step: step.total)
    middle = ordered[len(ordered) // 4 : len(ordered) - len(ordered) // 4]
    return {part: statistics.fmean(step.parts[part] for step in middle) for part in PARTS}


def read_setup(run: Run) -> Setup:
    """What ``run`` is, as far as it bears on speed; ``fused`` is known once the run has started."""
    trainer, data, config = run.trainer, run.datamodule, run.module.config
    vocab_size, _ = config.data_sizes()
    objective: dict[str, Any] = run.config["model"]["objective"].get("init_args") or {}
    device = trainer.strategy.root_device.type
    return Setup(
        device=device,
        precision=str(trainer.precision),
        compiled=run.module.compile_model,
        can_compile=_can_compile(device),
        fused=trainer.optimizers[0].defaults.get("fused") if trainer.optimizers else None,
        threads=torch.get_num_threads(),
        cores=count_cores(),
        world=trainer.world_size,
        batch_size=data.batch_size,
        accumulate=trainer.accumulate_grad_batches,
        block_size=data.block_size,
        vocab_size=vocab_size,
        padded_vocab_size=config.padded_vocab_size,
        num_parameters=config.num_parameters,
        chunk_size=objective.get("chunk_size"),
        log_every=int(vars(trainer)["log_every_n_steps"]),
        detect_anomaly=bool(run.config["trainer"]["detect_anomaly"]),
    )


def _can_compile(device: str) -> bool:
    if device == "cuda":
        return importlib.util.find_spec("triton") is not None
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))


def _measure_peaks(precision: str, device: torch.device) -> dict[str, float]:
    """Of the run's precision, and of the one it might be changed to."""
    names = [precision]
    if precision in HALF or precision == "32-true":
        names.append("32-true" if precision in HALF else "bf16-mixed")
    return {name: measure_matrix_peak(device, choose_factor_type(name)) for name in names}


def _memory(device: torch.device) -> tuple[int, int]:
    """Bytes in use at most, and bytes that there are."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    return peak_resident_bytes(), total_bytes()

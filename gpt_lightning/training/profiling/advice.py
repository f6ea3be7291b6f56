"""What would make training faster or smaller here: rules over what was measured, each with the option to write.

A rule is a function of a ``Measurement`` and nothing else; it answers with one line, or None where it has nothing to
say. The rules stand in the order of what they usually gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

HALF = ("bf16-mixed", "bf16-true", "16-mixed", "16-true")
"""Precisions whose products are of 16 bits."""


@dataclass(frozen=True)
class Setup:
    """What was run.

    Attributes:
        device: ``cpu``, ``cuda``, ...
        precision: ``trainer.precision``.
        compiled: ``model.compile``.
        can_compile: Whether the compiler that ``torch.compile`` needs is there.
        fused: Whether one kernel updates all parameters; None = the optimizer has no such kernel.
        threads: Of this process.
        cores: Of this machine, for this process.
        world: Number of processes.
        batch_size: Windows per micro-batch.
        accumulate: Micro-batches per step.
        block_size: Positions per window.
        vocab_size: Ids in use.
        padded_vocab_size: Rows of the head.
        num_parameters: Of the model.
        chunk_size: Positions whose logits exist at a time; None = all.
        log_every: Steps between two logged points.
        detect_anomaly: ``trainer.detect_anomaly``.
    """

    device: str = "cpu"
    precision: str = "32-true"
    compiled: bool = True
    can_compile: bool = True
    fused: bool | None = True
    threads: int = 1
    cores: int = 1
    world: int = 1
    batch_size: int = 8
    accumulate: int = 1
    block_size: int = 1024
    vocab_size: int = 50304
    padded_vocab_size: int = 50304
    num_parameters: int = 0
    chunk_size: int | None = None
    log_every: int = 50
    detect_anomaly: bool = False


@dataclass(frozen=True)
class Measurement:
    """What came out.

    Attributes:
        setup: What was run.
        parts: Seconds of a typical step by part; they add up to it.
        fastest_seconds: The fastest step.
        slowest_seconds: The slowest step.
        steps: How many steps were measured.
        tokens_per_step: Over all processes.
        flops_per_token: Of forward and backward.
        peaks: Measured matrix peak in operations per second, by precision: that of the run and its alternative.
        memory_bytes: At most in use by one process, on the device.
        memory_total_bytes: What there is; 0 = unknown.
    """

    setup: Setup = field(default_factory=Setup)
    parts: dict[str, float] = field(default_factory=dict)
    fastest_seconds: float = 0.0
    slowest_seconds: float = 0.0
    steps: int = 0
    tokens_per_step: int = 0
    flops_per_token: int = 0
    peaks: dict[str, float] = field(default_factory=dict)
    memory_bytes: int = 0
    memory_total_bytes: int = 0

    @property
    def step_seconds(self) -> float:
        """A typical step."""
        return sum(self.parts.values())

    @property
    def tokens_per_second(self) -> float:
        """Over all processes."""
        return self.tokens_per_step / self.step_seconds

    @property
    def mfu(self) -> float:
        """Share of the matrix peak that the model's own operations use, on each process."""
        peak = self.peaks[self.setup.precision] * self.setup.world
        return self.flops_per_token * self.tokens_per_second / peak

    def share(self, part: str) -> float:
        """Of the step."""
        return self.parts[part] / self.step_seconds


def advise(measured: Measurement) -> list[str]:
    """One line for everything that stands out."""
    return [line for line in (rule(measured) for rule in RULES) if line is not None]


def _anomaly(measured: Measurement) -> str | None:
    return "--trainer.detect_anomaly false: it checks every operation." if measured.setup.detect_anomaly else None


def _threads(measured: Measurement) -> str | None:
    setup = measured.setup
    free = setup.cores // setup.world
    if setup.device != "cpu" or setup.threads >= free:
        return None
    return f"OMP_NUM_THREADS={free}: {setup.threads} of {free} cores compute."


def _precision(measured: Measurement) -> str | None:
    setup, peaks = measured.setup, measured.peaks
    other = "32-true" if setup.precision in HALF else "bf16-mixed"
    if other not in peaks or setup.precision not in peaks:
        return None
    gain = peaks[other] / peaks[setup.precision]
    # Half precision brings conversions: its products must be much faster, full precision's need not be.
    if gain < (0.95 if other == "32-true" else 1.5):
        return None
    return f"--trainer.precision {other}: its products ran at {gain:.1f} times the speed here."


def _compile(measured: Measurement) -> str | None:
    setup = measured.setup
    if setup.compiled:
        return None
    if not setup.can_compile:
        return "--model.compile true, after installing a C++ compiler (g++ or clang++), which it needs."
    return "--model.compile true: fewer and larger kernels, for half a minute at the start."


def _fused(measured: Measurement) -> str | None:
    return "--model.optimizer.fused null: one kernel updates all weights." if measured.setup.fused is False else None


def _memory(measured: Measurement) -> str | None:
    setup = measured.setup
    if not measured.memory_total_bytes or measured.memory_bytes < 0.9 * measured.memory_total_bytes:
        return None
    positions = setup.batch_size * setup.block_size
    if setup.chunk_size is None and positions * setup.vocab_size * 8 > 0.1 * measured.memory_total_bytes:
        return "--model.objective.chunk_size 1024: memory is nearly full, a good part of it logits."
    if setup.batch_size > 1:
        return f"{_micro_batches(setup, setup.batch_size // 2)}: memory is nearly full."
    return "A smaller model or --data.block_size: memory is nearly full."


def _batch(measured: Measurement) -> str | None:
    setup = measured.setup
    total = measured.memory_total_bytes
    # Doubling the batch at most doubles what is in use.
    if not total or measured.memory_bytes > 0.4 * total or measured.mfu > 0.5:
        return None
    if setup.device == "cpu" and setup.batch_size * setup.block_size >= 4096:
        return None  # products as large as these already run at full speed
    percent = measured.memory_bytes / total
    return f"{_micro_batches(setup, 2 * setup.batch_size)}: only {percent:.0%} of the memory is used."


def _micro_batches(setup: Setup, batch_size: int) -> str:
    """Another micro-batch; with the same global batch where that is possible."""
    windows = setup.batch_size * setup.accumulate
    if windows % batch_size:
        return f"--data.batch_size {batch_size} (another global batch, so another learning rate may be best)"
    return f"--data.batch_size {batch_size} --trainer.accumulate_grad_batches {windows // batch_size}"


def _chunks(measured: Measurement) -> str | None:
    setup = measured.setup
    if setup.chunk_size is None or measured.memory_bytes > 0.5 * measured.memory_total_bytes:
        return None
    return "--model.objective.chunk_size null: logits are computed twice, and memory would suffice."


def _vocabulary(measured: Measurement) -> str | None:
    setup = measured.setup
    if setup.device != "cuda" or setup.padded_vocab_size % 64 == 0:
        return None
    return f"--model.config.vocab_multiple 128: a head of {setup.padded_vocab_size:,} rows does not fit the hardware."


def _data(measured: Measurement) -> str | None:
    if measured.share("data") < 0.05:
        return None
    return "The store on a local disk (GPT_LIGHTNING_CACHE=FOLDER, or --data.store FOLDER): the step waits for data."


def _optimizer(measured: Measurement) -> str | None:
    if measured.share("optimizer") < 0.25:
        return None
    return (
        "A larger --data.batch_size or --trainer.accumulate_grad_batches: every update costs the same, however large."
    )


def _rest(measured: Measurement) -> str | None:
    if measured.share("rest") < 0.05:
        return None
    if measured.setup.log_every < 10:
        return "--trainer.log_every_n_steps 10: logging and callbacks take a good part of the step."
    return "A larger --data.batch_size, fewer callbacks: the Trainer's own cost per step stands out."


RULES: tuple[Callable[[Measurement], str | None], ...] = (
    _anomaly,
    _memory,
    _precision,
    _threads,
    _compile,
    _fused,
    _batch,
    _chunks,
    _vocabulary,
    _data,
    _optimizer,
    _rest,
)

"""What can be known about a run before it starts: sizes, memory, time, energy, disk, and what is wrong.

A finding is a function of a ``Checkup`` and nothing else; it answers with a ``Finding`` or None. Errors are what makes
the run pointless or impossible; what cannot be built at all is refused by ``build`` in its own words before that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gpt_lightning.training.profiling.advice import Measurement, advise
from gpt_lightning.training.profiling.memory_estimate import MemoryEstimate

_FORWARD_SHARE = 1 / 3
"""Of a step's operations; for validation where no step was measured in parts."""
_COMPARABLE_BYTES = 256 << 20
_NEARLY_FULL, _MOST_EPOCHS = 0.85, 4.0
"""Text seen more than about four times teaches less and less (Muennighoff et al. 2023)."""


@dataclass(frozen=True)
class Finding:
    """Something to change: ``level`` is error, warning or advice."""

    level: str
    problem: str
    fix: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.level}: {self.problem}. {self.fix}" if self.problem else f"{self.level}: {self.fix}"


@dataclass(frozen=True)
class Checkup:
    """Everything that was found out.

    Attributes:
        parameters: By part of the model.
        flops_per_token: Of forward and backward.
        total_steps: Of the run.
        tokens_per_step: Of a full global batch.
        train_tokens: In the training split; None = not known, on the fly.
        val_tokens: In the validation split; None = not known.
        val_windows: Whole windows of it; None = not known.
        validations: How often the whole split is read.
        save_every: Steps between checkpoints.
        kept_checkpoints: At most at one time.
        peak_rate: Largest learning rate of any group.
        device: Its type.
        devices: Processes of the run.
        memory: The estimate; None = it could not be made.
        memory_reason: Why not.
        available_bytes: Memory that is free on the device; 0 = unknown.
        disk_free_bytes: Where the run folder will be.
        measured: A few steps, measured; None = left out.
        unmeasured_reason: Why.
        grown_bytes: Memory that the measured steps took in reality; 0 = unknown.
        watts: Power of all devices together; None = not known.
        watts_source: Where that figure is from.
    """

    parameters: dict[str, int] = field(default_factory=dict)
    flops_per_token: int = 0
    total_steps: int = 1
    tokens_per_step: int = 1
    train_tokens: int | None = None
    val_tokens: int | None = None
    val_windows: int | None = None
    validations: int = 0
    save_every: int = 1
    kept_checkpoints: int = 1
    peak_rate: float = 1e-3
    device: str = "cpu"
    devices: int = 1
    memory: MemoryEstimate | None = None
    memory_reason: str = ""
    available_bytes: int = 0
    disk_free_bytes: int = 0
    measured: Measurement | None = None
    unmeasured_reason: str = ""
    grown_bytes: int = 0
    watts: float | None = None
    watts_source: str = ""

    @property
    def total_tokens(self) -> int:
        """Training tokens of the run; with a ramp of the batch, at most."""
        return self.total_steps * self.tokens_per_step

    @property
    def epochs(self) -> float | None:
        """How often the training text is seen."""
        return self.total_tokens / self.train_tokens if self.train_tokens else None

    @property
    def checkpoint_bytes(self) -> int:
        """Of one checkpoint: weights, optimizer state, a mean of the weights."""
        memory = self.memory
        return 0 if memory is None else memory.weights + memory.optimizer + memory.average

    @property
    def training_seconds(self) -> float | None:
        """All steps at the measured speed."""
        return None if self.measured is None else self.total_steps * self.measured.step_seconds

    @property
    def validation_seconds(self) -> float | None:
        """All validations, at the speed of the measured forward pass."""
        if self.measured is None or self.val_tokens is None:
            return None
        forward = self.measured.parts.get("forward", self.measured.step_seconds * _FORWARD_SHARE)
        return self.validations * self.val_tokens * forward / self.measured.tokens_per_step

    @property
    def seconds(self) -> float | None:
        """Of the whole run, without saving."""
        return None if self.training_seconds is None else self.training_seconds + (self.validation_seconds or 0.0)

    @property
    def watt_hours(self) -> float | None:
        """Of the whole run, at constant power."""
        return None if self.seconds is None or self.watts is None else self.seconds * self.watts / 3600

    @property
    def memory_error(self) -> float | None:
        """How far the estimate is from what the steps took, as a share of that; None = they cannot be compared.

        Resident memory holds code and buffers too: beside a small model's tensors they are nearly all of it.
        """
        if self.memory is None or not self.grown_bytes:
            return None
        if self.device != "cuda" and self.memory.peak < _COMPARABLE_BYTES:
            return None
        return self.memory.peak / self.grown_bytes - 1


def find_problems(checkup: Checkup) -> list[Finding]:
    """All findings, errors first."""
    found = [finding for rule in RULES if (finding := rule(checkup)) is not None]
    advice = [] if checkup.measured is None else advise(checkup.measured)
    found += [Finding("advice", "", line) for line in advice]
    return sorted(found, key=lambda finding: finding.level != "error")


def _rate(checkup: Checkup) -> Finding | None:
    if checkup.peak_rate > 0:
        return None
    return Finding("error", "The learning rate is 0: nothing will be learnt", "Set --model.optimizer.lr 1e-3.")


def _memory(checkup: Checkup) -> Finding | None:
    if checkup.memory is None or not checkup.available_bytes:
        return None
    share = checkup.memory.peak / checkup.available_bytes
    if share < _NEARLY_FULL:
        return None
    memory = checkup.memory
    if memory.logits * 3 > memory.peak / 2:
        fix = "Most of it are logits: set --model.objective.chunk_size 1024."
    elif memory.activations > memory.peak / 2:
        fix = (
            "Halve --data.batch_size and double --trainer.accumulate_grad_batches, or set "
            "--model.checkpoint_activations 1."
        )
    else:
        fix = "Weights and optimizer state do not fit: a smaller model, or --trainer.precision bf16-true."
    if share >= 1:
        return Finding("error", f"The step needs {share:.0%} of the memory that is free", fix)
    return Finding("warning", f"The step needs {share:.0%} of the memory that is free", fix)


def _validation(checkup: Checkup) -> Finding | None:
    if checkup.val_windows is None or checkup.val_windows > 0:
        return None
    return Finding(
        "warning",
        "The validation split holds not one whole window: losses of few positions say little",
        "Use more text, a larger --data.val_fraction, or a smaller --data.block_size.",
    )


def _disk(checkup: Checkup) -> Finding | None:
    needed = checkup.checkpoint_bytes * checkup.kept_checkpoints
    if not checkup.disk_free_bytes or needed < 0.9 * checkup.disk_free_bytes:
        return None
    level = "error" if needed > checkup.disk_free_bytes else "warning"
    return Finding(
        level,
        f"Checkpoints need {needed / 2**30:.2f} GiB, and {checkup.disk_free_bytes / 2**30:.2f} GiB are free",
        "Write elsewhere with --run.dir FOLDER, or set --run.keep_checkpoints 1.",
    )


def _epochs(checkup: Checkup) -> Finding | None:
    if checkup.epochs is None or checkup.epochs <= _MOST_EPOCHS:
        return None
    return Finding(
        "warning",
        f"The text is seen {checkup.epochs:.1f} times, and the model will learn it by heart",
        "Use more text, fewer steps, or --model.config.dropout 0.1; watch val/loss.",
    )


def _loss_of_work(checkup: Checkup) -> Finding | None:
    if checkup.measured is None:
        return None
    hours = checkup.save_every * checkup.measured.step_seconds / 3600
    if hours < 1:
        return None
    return Finding(
        "warning",
        f"A run that is killed loses up to {hours:.1f} hours of work",
        f"Save more often: --run.save_every {max(1, round(checkup.save_every / hours / 2))}.",
    )


def _validation_cost(checkup: Checkup) -> Finding | None:
    seconds, training = checkup.validation_seconds, checkup.training_seconds
    if seconds is None or training is None or seconds < 0.2 * training or seconds < 10:
        return None
    return Finding(
        "warning",
        f"Validation takes {seconds / (seconds + training):.0%} of the run",
        "Validate less often (--run.validate_every 25%) or on a part (--trainer.limit_val_batches 50).",
    )


RULES: tuple[Callable[[Checkup], Finding | None], ...] = (
    _rate,
    _memory,
    _disk,
    _validation,
    _epochs,
    _loss_of_work,
    _validation_cost,
)


def count_parameters(model: Any) -> dict[str, int]:
    """Parameters by part: embeddings, attention, MLPs, norms, head."""
    parts = dict.fromkeys(("embeddings", "attention", "MLPs", "norms and others", "head"), 0)
    for name, parameter in model.named_parameters():
        parts[_part_of(name)] += parameter.numel()
    return {part: count for part, count in parts.items() if count}


def _part_of(name: str) -> str:
    if "norm" in name:
        return "norms and others"
    if "embedding" in name:
        return "embeddings"
    if ".attention." in name:
        return "attention"
    if ".mlp." in name:
        return "MLPs"
    return "head" if name.startswith("head") else "norms and others"

"""Where a step's time goes: every moment of it belongs to exactly one part, so that the parts add up to the step.

    data       taking the batch from the loader, and to the device
    forward    model and loss
    backward   gradients, and their exchange between processes
    optimizer  clipping, the check for non-finite numbers, the update
    rest       logging, callbacks, the Trainer itself

Lightning names what it does to a profiler; regions lie inside one another, and time counts for the innermost one that
has a part. On a CUDA device the borders are events in its own queue: the device is not made to wait, and a moment in
which it had nothing to do counts for whatever it waited for.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler

from gpt_lightning.training.engine.processes import StopFlag
from gpt_lightning.training.engine.steps import at_step_border

PARTS = ("data", "forward", "backward", "optimizer", "rest")
_REGIONS = {
    "train_dataloader_next": "data",
    "batch_to_device": "data",
    "training_step": "forward",
    "backward": "backward",
    "optimizer_step": "optimizer",
}


class Clock(ABC):
    """Marks moments now, and tells later how far apart they were."""

    @abstractmethod
    def mark(self) -> Any:
        """This moment."""

    def seconds(self, earlier: Any, later: Any) -> float:
        """From one mark to another."""
        return float(later - earlier)


class HostClock(Clock):
    """The processor's clock, for devices that have done their work when a call returns."""

    def mark(self) -> float:
        """This moment."""
        return time.perf_counter()


class CudaClock(Clock):
    """Events in the queue of the current CUDA device."""

    def mark(self) -> torch.cuda.Event:
        """The moment when the device gets here."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, earlier: torch.cuda.Event, later: torch.cuda.Event) -> float:
        """From one mark to another; waits until the device has reached the later one."""
        later.synchronize()
        return float(earlier.elapsed_time(later)) / 1000


class WaitingClock(Clock):
    """The processor's clock once an accelerator without such events has done its work."""

    def mark(self) -> float:
        """This moment."""
        torch.accelerator.synchronize()
        return time.perf_counter()


def choose_clock(device: torch.device) -> Clock:
    """The clock for work on ``device``."""
    return {"cpu": HostClock, "cuda": CudaClock}.get(device.type, WaitingClock)()


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step by part."""

    parts: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return sum(self.parts.values())


class StepParts(Profiler):
    """A profiler that keeps the borders between parts; ``steps`` turns them into seconds.

    Args:
        clock: Where the time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._begin: Any = None
        self._borders: list[tuple[str, Any]] = []  # a part, and when it ended
        self._ended: list[tuple[Any, list[tuple[str, Any]]]] = []
        self._open: list[str] = []

    def start(self, action_name: str) -> None:
        """A region begins."""
        part = _part_of(action_name)
        if part is not None:
            if part != self._current:
                self._mark()
            self._open.append(part)

    def stop(self, action_name: str) -> None:
        """A region ends."""
        if _part_of(action_name) is not None:
            outer = self._open[-2] if len(self._open) > 1 else "rest"
            if outer != self._current:
                self._mark()
            self._open.pop()

    @property
    def _current(self) -> str:
        return self._open[-1] if self._open else "rest"

    def _mark(self) -> None:
        self._borders.append((self._current, self._clock.mark()))

    def end_step(self) -> None:
        """The step ends here and the next one begins."""
        self._mark()
        if self._begin is not None:
            self._ended.append((self._begin, self._borders))
        self._begin, self._borders = self._borders[-1][1], []

    @property
    def count(self) -> int:
        """Whole steps so far."""
        return len(self._ended)

    def steps(self) -> list[StepTime]:
        """All whole steps, from the first end of a step on."""
        return [self._add_up(begin, borders) for begin, borders in self._ended]

    def _add_up(self, begin: Any, borders: list[tuple[str, Any]]) -> StepTime:
        parts = dict.fromkeys(PARTS, 0.0)
        for part, end in borders:
            parts[part] += self._clock.seconds(begin, end)
            begin = end
        return StepTime(parts)


def _part_of(action: str) -> str | None:
    return "rest" if action.startswith("[Callback]") else _REGIONS.get(action.rpartition(".")[2])


class StepBorders(Callback):
    """Tells ``parts`` where steps end, and ends training in time.

    Args:
        parts: The profiler of the same Trainer.
        warmup_steps: Steps that are not counted.
        seconds: Training ends after this time once three steps are counted.
        stop: Training ends when it has received a signal.
    """

    def __init__(self, parts: StepParts, *, warmup_steps: int, seconds: float, stop: StopFlag) -> None:
        self._parts, self._warmup_steps, self._seconds, self._stop = parts, warmup_steps, seconds, stop
        self._started = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals from Lightning."""
        self._stop.install()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back; earlier than Lightning, which puts back what was there before its own handlers."""
        self._stop.restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The same where an error ends it."""
        self._stop.restore()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step; the last warm-up step's end is the first one's beginning."""
        if not at_step_border(trainer):
            return
        if trainer.global_step == self._warmup_steps:
            self._started = time.perf_counter()
            if pl_module.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(pl_module.device)
        if trainer.global_step >= self._warmup_steps:
            self._parts.end_step()
        late = self._parts.count >= 3 and time.perf_counter() - self._started > self._seconds
        # All processes stop together, or those that go on would wait for ever.
        if _any(trainer, late or self._stop.received is not None):
            trainer.should_stop = True


def _any(trainer: Trainer, flag: bool) -> bool:
    """Whether ``flag`` is set on a process; a single one need not ask the device."""
    return flag if trainer.world_size == 1 else bool(trainer.strategy.reduce_boolean_decision(flag, all=False))

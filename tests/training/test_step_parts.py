"""Where a step's time goes: attribution of nested regions, borders, sums."""

from __future__ import annotations

import pytest

from gpt_lightning.training.profiling.bench import typical_parts
from gpt_lightning.training.profiling.step_parts import PARTS, Clock, HostClock, StepParts, StepTime


class Ticks(Clock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def mark(self) -> float:
        return self.now


def micro_step(parts: StepParts, clock: Ticks) -> None:
    """Regions as Lightning nests them; every comment is the part that the ticks before it belong to."""
    parts.start("[_TrainingEpochLoop].train_dataloader_next")
    clock.now += 1
    parts.stop("[_TrainingEpochLoop].train_dataloader_next")  # data
    parts.start("run_training_batch")
    parts.start("[LightningModule]GPTModule.optimizer_step")
    clock.now += 2  # optimizer
    parts.start("[Strategy]SingleDeviceStrategy.training_step")
    clock.now += 4  # forward
    parts.stop("[Strategy]SingleDeviceStrategy.training_step")
    parts.start("[Callback]Mine.on_before_backward")
    clock.now += 8  # rest
    parts.stop("[Callback]Mine.on_before_backward")
    parts.start("[Strategy]SingleDeviceStrategy.backward")
    clock.now += 16  # backward
    parts.stop("[Strategy]SingleDeviceStrategy.backward")
    parts.start("[LightningModule]GPTModule.configure_gradient_clipping")
    clock.now += 32  # optimizer
    parts.stop("[LightningModule]GPTModule.configure_gradient_clipping")
    parts.stop("[LightningModule]GPTModule.optimizer_step")
    parts.stop("run_training_batch")
    clock.now += 64  # rest


def test_time_belongs_to_the_innermost_region_with_a_part() -> None:
    clock = Ticks()
    parts = StepParts(clock)
    micro_step(parts, clock)  # before the first border: belongs to no step
    parts.end_step()
    for _ in range(2):
        micro_step(parts, clock)
        parts.end_step()
    micro_step(parts, clock)
    micro_step(parts, clock)  # two micro-steps
    parts.end_step()
    once = {"data": 1.0, "forward": 4.0, "backward": 16.0, "optimizer": 34.0, "rest": 72.0}
    first, second, double = parts.steps()
    assert first.parts == second.parts == once
    assert double.parts == {part: 2 * seconds for part, seconds in once.items()}
    assert parts.count == 3


def test_parts_add_up_to_the_clock() -> None:
    parts, clock = StepParts(HostClock()), HostClock()
    parts.end_step()
    start = clock.mark()
    for _ in range(50):
        micro_step(parts, Ticks())
    end = clock.mark()
    parts.end_step()
    (step,) = parts.steps()
    assert step.total == pytest.approx(end - start, abs=2e-3)
    assert min(step.parts.values()) > 0


def test_a_border_inside_a_callback_keeps_what_is_open() -> None:
    clock = Ticks()
    parts = StepParts(clock)
    parts.start("[Callback]Borders.on_train_batch_end")
    parts.end_step()
    clock.now += 1
    parts.stop("[Callback]Borders.on_train_batch_end")
    parts.start("[Strategy]DDPStrategy.backward")
    clock.now += 2
    parts.stop("[Strategy]DDPStrategy.backward")
    parts.end_step()
    (step,) = parts.steps()
    assert step.parts == {"data": 0.0, "forward": 0.0, "backward": 2.0, "optimizer": 0.0, "rest": 1.0}


@pytest.mark.parametrize(("number", "kept"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (4, [1, 2]), (8, [2, 3, 4, 5])])
def test_typical_parts_are_means_of_the_middle_half(number: int, kept: list[int]) -> None:
    steps = [StepTime({part: float((10 * row + i) ** 2) for i, part in enumerate(PARTS)}) for row in range(number)]
    found = typical_parts(steps[::-1])
    for i, part in enumerate(PARTS):
        assert found[part] == pytest.approx(sum((10 * row + i) ** 2 for row in kept) / len(kept))

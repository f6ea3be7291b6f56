"""Loaders: streams of arrays as batches of tensors, for one process of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from gpt_lightning.batch import Batch
from gpt_lightning.data.live.growing_stream import GrowingEvaluation
from gpt_lightning.data.stream.packing_plan import Rows
from gpt_lightning.data.stream.stream import EvaluationWindows, SampleStream


@dataclass(frozen=True)
class Share:
    """Which part of every global batch this process takes, and how many micro-batches make a step."""

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    world: int = 1

    @property
    def global_batch_size(self) -> int:
        """Windows consumed by one optimizer step, over all processes."""
        return self.batch_size * self.accumulate * self.world


class TrainLoader:
    """Micro-batches from the next step to the end of the run; iterating asks anew where the run stands.

    Args:
        stream: The samples.
        share: Which of them are for this process.
        total_steps: Optimizer steps of the run.
        steps_done: Asked whenever an iteration begins.
        samples_before: Windows that so many steps take, over all processes; None = all steps as many.
        pin: Put batches into page-locked memory, from where a CUDA device copies while it computes.

    Attributes:
        waited_seconds: How long whoever asked for batches has waited for them.
    """

    def __init__(
        self,
        stream: SampleStream,
        share: Share,
        total_steps: int,
        steps_done: Callable[[], int],
        *,
        samples_before: Callable[[int], int] | None = None,
        pin: bool = False,
    ) -> None:
        self._stream, self._share, self._total_steps, self._steps_done = stream, share, total_steps, steps_done
        self._samples_before = samples_before or (lambda steps: steps * share.global_batch_size)
        self._pin = pin
        self.waited_seconds = 0.0

    def _micro_steps(self) -> range:
        """Numbers of the micro-steps that are left, counted from the start of training."""
        at_once = self._share.batch_size * self._share.world
        done, total = (self._samples_before(steps) for steps in (self._steps_done(), self._total_steps))
        return range(done // at_once, total // at_once)

    def __len__(self) -> int:
        return len(self._micro_steps())

    def __iter__(self) -> Iterator[Batch]:
        share, left = self._share, self._micro_steps()
        # Micro-batches follow each other across steps, so the stream need not know where steps begin.
        super_batches = self._stream.super_batches(
            left.start,
            len(left),
            batch_size=share.batch_size,
            rank=share.rank,
            world=share.world,
        )
        rows = chain.from_iterable(super_batches)
        while True:
            start = time.perf_counter()
            row = next(rows, None)
            if row is None:
                return
            batch = make_batch(row, pin=self._pin)
            self.waited_seconds += time.perf_counter() - start
            yield batch


def make_batch(rows: Rows, *, pin: bool = False) -> Batch:
    """Arrays as tensors: of the same memory, or copied to page-locked memory."""

    def wrap(array: Any) -> Any:
        if array is None:
            return None
        return torch.from_numpy(array).pin_memory() if pin else torch.from_numpy(array)

    return Batch(
        wrap(rows.tokens),
        wrap(rows.weights),
        wrap(rows.documents),
        samples=wrap(rows.samples),
        columns={name: wrap(values) for name, values in rows.columns.items()},
        position=rows.position,
    )


class EvaluationLoader:
    """Every window of a split once; the same number of batches on every process."""

    def __init__(self, windows: EvaluationWindows, share: Share) -> None:
        self._windows, self._share = windows, share

    def __len__(self) -> int:
        return self._windows.num_batches(self._share.batch_size, self._share.world)

    def __iter__(self) -> Iterator[Batch]:
        share = self._share
        yield from map(make_batch, self._windows.batches(share.batch_size, share.rank, share.world))


class GrowingEvaluationLoader:
    """Every window of a split that may still be growing, once.

    Without a length, on every process and even when it is known: Lightning asks all processes for it together, and
    they may not know it at the same moment.
    """

    def __init__(self, windows: GrowingEvaluation, share: Share) -> None:
        self._windows, self._share = windows, share

    def __iter__(self) -> Iterator[Batch]:
        share = self._share
        yield from map(make_batch, self._windows.batches(share.batch_size, share.rank, share.world))

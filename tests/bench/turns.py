"""Training loops that take turns inside one ``fit``, so that whatever else the machine does disturbs all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.training.fitting.run import Run


class Loop(Protocol):
    """Something that trains."""

    def step(self) -> None:
        """One optimizer step."""


class Timed(Protocol):
    """Something that trains and times itself."""

    def time(self, steps: int) -> list[float]:
        """Take so many steps; seconds of each."""

    def close(self) -> None:
        """No step will follow."""


class Turns(Callback):
    """Times the Trainer's own steps, end to end, and lets every rival step after each segment of them.

    Args:
        rivals: Makers of the other loops, called when training starts and the data know their trainer; what they
            make is stepped here, or times itself where it runs.
        segment: Steps of one turn.
        unseen: How many of them, the first, are not counted: they find the caches full of another's weights.
        warmup: Turns that are not counted: they compile and allocate.
    """

    def __init__(
        self, rivals: dict[str, Callable[[], Loop | Timed]], *, segment: int = 6, unseen: int = 1, warmup: int = 1
    ) -> None:
        self._makers, self._segment, self._unseen, self._warmup = rivals, segment, unseen, warmup
        self._rivals: dict[str, Loop | Timed] = {}
        self.turns: dict[str, list[list[float]]] = {name: [] for name in ("fit", *rivals)}
        self.memory: dict[str, int] = dict.fromkeys(("fit", *rivals), 0)
        self._own: list[float] = []
        self._left = 0.0
        self._cuda = False
        self._resting = 0

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Now the data know their trainer."""
        self._cuda = pl_module.device.type == "cuda"
        self._rivals = {name: make() for name, make in self._makers.items()}
        self._begin_memory()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The Trainer's step began when this method was left the last time; the very first is not timed."""
        now = self._now()
        if self._left:
            self._own.append(now - self._left)
        if len(self._own) == self._segment:
            self._end_memory("fit")
            self.turns["fit"].append(self._own[self._unseen :])
            self._own = []
            for name, rival in self._rivals.items():
                self._begin_memory()
                self._time(name, rival)
                self._end_memory(name)
            self._begin_memory()
        self._left = self._now()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rivals elsewhere can go."""
        for rival in self._rivals.values():
            if hasattr(rival, "close"):
                rival.close()

    def _time(self, name: str, rival: Loop | Timed) -> None:
        seconds = []
        if hasattr(rival, "time"):
            self.turns[name].append(rival.time(self._segment)[self._unseen :])
            return
        for _ in range(self._segment):
            start = self._now()
            rival.step()
            seconds.append(self._now() - start)
        self.turns[name].append(seconds[self._unseen :])

    def _begin_memory(self) -> None:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._resting = torch.cuda.memory_allocated()

    def _end_memory(self, name: str) -> None:
        """At most allocated in this turn beyond what all loops hold all the time."""
        if self._cuda:
            self.memory[name] = max(self.memory[name], torch.cuda.max_memory_allocated() - self._resting)

    def steps(self, name: str) -> list[float]:
        """Seconds of all counted steps of one loop, in order."""
        return [seconds for turn in self.turns[name][self._warmup :] for seconds in turn]

    def ratio(self, name: str, other: str) -> float:
        """How many times faster ``name`` is: the median over the turns of ratios of medians within one turn."""
        pairs = list(zip(self.turns[name], self.turns[other], strict=True))[self._warmup :]
        return statistics.median(statistics.median(b) / statistics.median(a) for a, b in pairs)

    def summary(self, other: str) -> dict[str, dict[str, float]]:
        """Of every loop: median and 10th percentile in seconds, and how many times faster it is than ``other``."""
        found = {}
        for name in self.turns:
            steps = sorted(self.steps(name))
            tenth, rest = steps[len(steps) // 10], sorted(self.steps(other))
            found[name] = {
                "median": statistics.median(steps),
                "p10": tenth,
                "speed": self.ratio(name, other),
                "speed_p10": rest[len(rest) // 10] / tenth,
                "memory": float(self.memory[name]),
            }
        return found


def read_tokens(run: Run) -> np.ndarray[Any, Any]:
    """The training split of a run as one array, as nanoGPT's ``train.bin``."""
    split = run.datamodule.open_store().split("train")
    tokens: np.ndarray[Any, Any] = split.gather(np.zeros(1, dtype=np.int64), split.num_tokens)[0]
    return tokens

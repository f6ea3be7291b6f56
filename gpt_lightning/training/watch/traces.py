"""Where the time of chosen steps goes, operation by operation: a trace for Perfetto, and a table.

``traces/step-000000120.json.gz`` opens at https://ui.perfetto.dev or chrome://tracing; the file stays on this machine
there as well. The table of the longest operations stands beside it and in TensorBoard's Text tab.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.tracking.records import build_text
from gpt_lightning.tracking.texts import describe_code
from gpt_lightning.training.engine.steps import at_step_border
from gpt_lightning.training.watch.loggers import RunTensorBoard

_ROWS = 25


class Traces(Callback):
    """Records chosen steps on process 0; there only when steps were chosen.

    Args:
        steps: Numbers of the steps, 1 for the first.
        folder: The run folder.
        board: Where the table is shown; None = in its file alone.
    """

    def __init__(self, steps: Collection[int], folder: Path, board: RunTensorBoard | None) -> None:
        self._steps, self._folder, self._board = frozenset(steps), folder / "traces", board
        self._profile: torch.profiler.profile | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin with the first micro-batch of a step."""
        if self._profile is None and trainer.global_step + 1 in self._steps and trainer.is_global_zero:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if pl_module.device.type == "cuda":
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            self._profile = torch.profiler.profile(activities=activities)
            self._profile.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End with the step."""
        if self._profile is None or not at_step_border(trainer):
            return
        profile, self._profile = self._profile, None
        profile.stop()
        step = trainer.global_step
        self._folder.mkdir(exist_ok=True)
        stem = self._folder / f"step-{step:09d}"
        profile.export_chrome_trace(f"{stem}.json.gz")
        order = "self_cuda_time_total" if pl_module.device.type == "cuda" else "self_cpu_time_total"
        table = profile.key_averages().table(sort_by=order, row_limit=_ROWS, max_name_column_width=60)
        Path(f"{stem}.txt").write_text(table, encoding="utf-8")
        if self._board is not None:
            self._board.add_summary(build_text("run/traces", describe_code(table)), step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A run that ends inside a step leaves no profiler running."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

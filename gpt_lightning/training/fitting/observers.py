"""Who watches a run while it trains: loggers, the callbacks that show details, and the story of its start and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor

from gpt_lightning.data.store.manifest import Manifest
from gpt_lightning.errors import EndedEarly, StopRequested
from gpt_lightning.model.flops import count_training_flops
from gpt_lightning.tracking.hparams import Status
from gpt_lightning.training.callbacks.metrics_log import Speed
from gpt_lightning.training.engine.processes import process_rank
from gpt_lightning.training.engine.sharded_strategy import Sharded
from gpt_lightning.training.fitting.run_summary import Origin, RunSummary
from gpt_lightning.training.parts import RunParts
from gpt_lightning.training.runs.lengths import choose_cadence
from gpt_lightning.training.runs.run_status import EarlyEnd
from gpt_lightning.training.watch.alerting import Alerts, build_watchdog, default_rules
from gpt_lightning.training.watch.diagnostics import Diagnostics
from gpt_lightning.training.watch.loggers import JsonLines, RunTensorBoard, TokenAxis
from gpt_lightning.training.watch.traces import Traces
from gpt_lightning.training.watch.trackers import Tracker

_RETURNED: dict[str, Status] = {"finished": "ended early", "stopped": "stopped"}
"""Status in the HParams tab of a run that returned before its last step."""


class RunLoggers:
    """Everything that looks on and changes nothing.

    Args:
        run: The run.
        folder: Its folder.
        resumed_step: Step it goes on from; None = it is new.
        shown_step: What loggers hold of a folder that was used before is right up to this step; -1 = nothing.
        checkpoint: What it goes on from or begins with.
    """

    def __init__(
        self, run: RunParts, folder: Path, resumed_step: int | None, shown_step: int, checkpoint: Path | None
    ) -> None:
        self._run, self._folder, self._step = run, folder, resumed_step or 0
        continues = (folder / "metrics.jsonl").exists()
        self._first = not any(folder.glob("events.out.tfevents.*"))
        purged = shown_step if continues else None
        tokens_before = run.plan.horizon.tokens_before
        self.loggers: list[Logger] = [JsonLines(folder)]
        self.callbacks: list[Callback] = []
        self._chronicle: RunSummary | None = None
        board = RunTensorBoard(folder, purged) if run.stock_logger else None
        rules = default_rules() if run.monitor.alerts is None else run.monitor.alerts
        self._alerts = Alerts(folder, rules, run.monitor.tell, board)
        self.loggers.append(self._alerts)
        if board is not None:
            self.loggers = [board, TokenAxis(folder, tokens_before, purged), *self.loggers]
            if run.monitor.details:
                self._show_details(board, checkpoint)
        if run.monitor.trace_steps:
            self.callbacks.append(Traces(run.monitor.trace_steps, folder, board))
        self._trackers: list[tuple[Tracker, Logger]] = []
        if process_rank() == 0:
            for tracker in run.monitor.trackers:
                self._trackers.append((tracker, tracker.attach(folder, run.config, -1 if purged is None else purged)))
        self.loggers += [logger for _, logger in self._trackers]

    def _show_details(self, board: RunTensorBoard, checkpoint: Path | None) -> None:
        run = self._run
        if not isinstance(run.trainer.strategy, Sharded):
            self.callbacks.append(_build_insight(run, board))
        if process_rank() == 0:
            data, mixed = describe_data(run.module.manifest), run.datamodule.mixture is not None
            origin = Origin(self._folder.name, run.config, run.defaults, checkpoint or run.initial_path, data, mixed)
            origin = replace(origin, varied=run.varied)
            self._chronicle = RunSummary(board, self._folder, origin)

    @contextmanager
    def watching(self, why_early: Callable[[], EarlyEnd]) -> Iterator[None]:
        """Around training: tell how it begins, and how it really ended.

        Args:
            why_early: Asked where training returns before its last step.
        """
        module, chronicle = self._run.module, self._chronicle
        watchdog = build_watchdog(self._run.monitor, self._run.trainer, self._folder, self._alerts)
        if chronicle is not None:
            chronicle.begin(self._step, first=self._first)
            if self._first:
                chronicle.show_schedule(module.schedule, module.optimizer_recipe, self._run.plan.horizon, self._step)
        status: Status = "failure"
        if watchdog is not None:
            watchdog.start()
        try:
            yield
            done = self._run.trainer.global_step >= self._run.plan.horizon.total_steps
            status = "success" if done else _RETURNED[why_early().state]
        except (StopRequested, KeyboardInterrupt, EndedEarly) as end:
            status = "ended early" if isinstance(end, EndedEarly) else "stopped"
            raise
        except BaseException as error:
            if process_rank() == 0:
                sentence = f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
                self._alerts.raise_alert("RunFailed", sentence, said=True)  # as the error that ends the program
            raise
        finally:
            if watchdog is not None:
                watchdog.stop()
            if chronicle is not None:
                chronicle.end(status)
            self._alerts.close()
            for tracker, logger in self._trackers:
                tracker.end(logger, succeeded=status in ("success", "ended early"))


def _build_insight(run: RunParts, board: RunTensorBoard) -> Diagnostics:
    settings, horizon = run.monitor, run.plan.horizon
    every = settings.details_every
    prompts = [run.settings.prompt] if settings.prompts is None else settings.prompts
    return Diagnostics(
        settings,
        board,
        run.module.text_tokenizer,
        prompts=prompts,
        probe_tokens=choose_probe(run),
        every_steps=None if every is None else choose_cadence(every, horizon, "monitor.details_every"),
        seed=run.seed,
    )


def choose_probe(run: RunParts) -> Tensor:
    """The text that is looked at: ``monitor.text``, or the beginning of the first training window."""
    settings, data = run.monitor, run.datamodule
    if settings.text is not None:
        ids = torch.as_tensor([int(token) for token in data.open_store().tokenizer.encode(settings.text)])
    else:
        ids = data.first_window()
    return ids[: min(settings.text_tokens, run.module.config.data_sizes()[1])].long()


def build_speed(run: RunParts) -> Speed:
    """What measures tokens, time and memory of a run."""
    flops = count_training_flops(run.module.config, run.datamodule.block_size) if run.monitor.mfu else None
    return Speed(run.plan.horizon.tokens_before, flops)


def describe_data(manifest: Manifest | None) -> dict[str, Any]:
    """The data card: what a store's manifest says, without long lists."""
    if manifest is None:
        return {}
    facts: dict[str, Any] = {
        f"{name} split": f"{split.num_tokens:,} tokens, {split.num_documents:,} documents, {split.text_bytes:,} bytes"
        for name, split in manifest.splits.items()
    }
    facts |= {"fingerprint": manifest.fingerprint, "vocabulary": manifest.vocab_size, "dtype": manifest.dtype}
    facts |= {f"tokenizer.{key}": value for key, value in manifest.tokenizer.items() if isinstance(value, (str, int))}
    facts |= {key: value for key, value in manifest.settings.items() if isinstance(value, (str, int, float))}
    facts["inputs"] = ", ".join(record.name for record in manifest.inputs[:20])
    return facts | {"split rule": manifest.split_rule, "documents left out": dict(manifest.skipped) or "none"}

"""``plot-schedule``: the learning rate of one or several configurations over their runs, before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import Strategy

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.batch_ramps import BatchRamp
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.pictures import write_picture
from gpt_lightning.training.engine.sharded_strategy import Sharded
from gpt_lightning.training.engine.sharding import choose_strategy
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.modules.module import GPTModule
from gpt_lightning.training.profiling.line_chart import Curve, draw_text
from gpt_lightning.training.runs.lengths import MicroStep, plan_run
from gpt_lightning.training.runs.settings import RunSettings

_MOST_POINTS = 2000


def draw_curves(files: Sequence[str], settings: Sequence[str], picture: str | None) -> None:
    """Write the learning rates of several configurations to standard output as one drawing.

    Args:
        files: Config files, one for each curve; none = the settings alone.
        settings: Arguments of ``fit`` that hold for all.
        picture: File for a picture too.
    """
    curves = [read_curve([f"--config={file}", *settings], Path(file).stem) for file in files]
    curves = curves or [read_curve(settings, "settings")]
    sys.stdout.write(draw_text(curves, colours=sys.stdout.isatty()))
    if picture is not None:
        write_picture(_chart(curves), picture)


def _chart(curves: Sequence[Curve]) -> LineChart:
    series = [Series(curve.name, [x for x, _ in curve.points], [y for _, y in curve.points]) for curve in curves]
    return LineChart(
        series,
        title="Learning rate",
        x_label="steps",
        y_label="learning rate of the matrices",
        x_limits=(0, None),
        y_limits=(0, None),
        legend=True,
    )


def read_curve(args: Sequence[str], name: str) -> Curve:
    """The learning rate of the matrices in the run that ``fit`` would start with ``args``.

    Raises:
        ConfigError: A setting is wrong, or the length of the run depends on data.
    """
    line = TrainerCommandLine("fit", args)
    parts = line.parser.instantiate(line.config)
    module: GPTModule = parts.model
    horizon = read_horizon(line.config, parts.data.batch_ramp, choose_strategy(parts.trainer.strategy))
    module.schedule.check(horizon)
    peak = module.optimizer_recipe.rates["matrix"]
    stride = max(1, -(-horizon.total_steps // _MOST_POINTS))
    steps = [*range(0, horizon.total_steps - 1, stride), horizon.total_steps - 1]
    # At the number of steps done, as in the logs.
    points = [(float(step + 1), peak * module.schedule.factor(step, horizon)) for step in steps]
    tokens = horizon.tokens_before(horizon.total_steps)
    kind = type(module.schedule).__name__
    text = f"{name}: {kind}, peak {peak:g}, {horizon.total_steps:,} steps, {tokens:,} tokens"
    sizes = horizon.batch_sizes
    if sizes is not None:
        text += f", batch {sizes.tokens[0]:,} to {sizes.tokens[-1]:,} tokens from step {sizes.starts[-1]:,} on"
    return Curve(text, points)


def read_horizon(config: Any, ramp: BatchRamp | None = None, strategy: str | Strategy = "auto") -> Horizon:
    """Length of the run that a parsed configuration of ``fit`` describes, without its data.

    A number of devices that is left to the machine counts as one.

    Raises:
        ConfigError: It is given in epochs, or not at all.
    """
    trainer, settings = config.trainer, RunSettings(**config.run.as_dict())
    if trainer.max_steps == -1 and settings.max_tokens is None:
        raise ConfigError(
            "the length of this run is a number of epochs, and depends on data",
            got=f"trainer.max_epochs={trainer.max_epochs}",
            allowed="trainer.max_steps or run.max_tokens",
            fix="Add --trainer.max_steps 1000.",
        )
    data = config.data
    micro = MicroStep(data.block_size, data.batch_size, _count_streams(trainer.devices, trainer.num_nodes, strategy))
    windows = micro.choose_accumulation(data.global_batch_tokens, trainer.accumulate_grad_batches) * micro.tokens
    windows //= data.block_size
    return plan_run(
        settings,
        max_steps=trainer.max_steps,
        max_epochs=trainer.max_epochs,
        global_batch_size=windows,
        block_size=data.block_size,
        epoch=windows,
        ramp=ramp,
    ).horizon


def _count_streams(devices: list[int] | str | int, num_nodes: int, strategy: str | Strategy) -> int:
    """Processes, or teams of them, with batches of their own; ``devices`` is a number or a list ([0, 1] or "0,1")."""
    if str(devices) in ("auto", "-1"):
        return num_nodes  # how many there will be is not known here
    listed = devices if isinstance(devices, list) else [part for part in str(devices).split(",") if part.strip()]
    count = int(str(devices)) if str(devices).isdigit() else len(listed)
    return strategy.divide(num_nodes, count)[0] if isinstance(strategy, Sharded) else count * num_nodes

"""How many steps a list of runs would do when they share prefixes: a simulation, before anything is trained.

Runs are started in order, each on the worker that is free first, and a step takes a unit of time. A run begins at the
longest prefix that another has stored by then, so workers that start the same thing at once both do it, as they would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpt_lightning.optim.lengths import Length
from gpt_lightning.training.command_line import TrainerCommandLine
from gpt_lightning.training.plot_schedule import read_horizon
from gpt_lightning.training.resume import flatten
from gpt_lightning.training.reuse import borders_of
from gpt_lightning.training.sharding import choose_strategy
from gpt_lightning.training.trajectory import Trajectory, is_indifferent


@dataclass(frozen=True)
class Savings:
    """What is done and what is not.

    Attributes:
        executed_steps: Optimizer steps that are done.
        total_steps: Those of all runs, each on its own.
    """

    executed_steps: int
    total_steps: int

    @property
    def executed_share(self) -> float:
        """1 = nothing is shared."""
        return self.executed_steps / self.total_steps if self.total_steps else 1.0


def estimate_savings(
    runs: Iterable[Trajectory], every: Length = "5%", workers: int = 1, at: tuple[int, ...] = ()
) -> Savings:
    """Steps that ``runs`` do when they are started in this order, with a store that forgets nothing.

    Args:
        runs: What leads to the weights of each.
        every: How often a run stores its state.
        workers: How many runs are done at the same time.
        at: Further steps at which a run stores its state.
    """
    trajectories = list(runs)
    borders = [borders_of(every, at, run.horizon) for run in trajectories]
    steps = {step for each in borders for step in each}
    keys = [run.keys(steps) for run in trajectories]
    return _simulate(keys, borders, workers)


def _simulate(keys: Sequence[Mapping[int, str]], borders: Sequence[Sequence[int]], workers: int) -> Savings:
    stored: dict[str, float] = {}
    free = [0.0] * max(1, workers)
    executed = 0
    for own_keys, own_borders in zip(keys, borders, strict=True):
        worker = min(range(len(free)), key=free.__getitem__)
        start = free[worker]
        reused = max((step for step, key in own_keys.items() if stored.get(key, start + 1) <= start), default=0)
        for step in own_borders:
            time = start + max(0, step - reused)
            stored[own_keys[step]] = min(stored.get(own_keys[step], time), time)
        free[worker] = start + own_borders[-1] - reused
        executed += own_borders[-1] - reused
    return Savings(executed, sum(each[-1] for each in borders))


def sketch(args: Sequence[str]) -> Trajectory:
    """The trajectory of the run that ``fit`` would start with ``args``, without its data, model and devices.

    Good for comparison with other sketches only: what is left out is taken to be the same for all.

    Raises:
        ConfigError: A setting is wrong, or the length of the run depends on data.
    """
    line = TrainerCommandLine("fit", args)
    parts = line.parser.instantiate(line.config)
    horizon = read_horizon(line.config, parts.data.batch_ramp, choose_strategy(parts.trainer.strategy))
    parts.model.schedule.check(horizon)
    settings = flatten(line.config.clone().as_dict())
    facts = {key: value for key, value in settings.items() if not is_indifferent(key) and key != "config"}
    rates = {str(role): rate for role, rate in parts.model.optimizer_recipe.rates.items()}
    return Trajectory(facts, rates, parts.model.schedule, horizon)

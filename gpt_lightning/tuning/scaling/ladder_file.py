"""What a ladder is: sizes x horizons x learning rates, read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.lengths import Horizon, Length, parse_length
from gpt_lightning.parsing.strict_yaml import read_document
from gpt_lightning.training.profiling.reuse_commands import Savings
from gpt_lightning.tuning.scaling.power_laws import LossLaw, RateLaw
from gpt_lightning.tuning.spec.parameters import LogGrid
from gpt_lightning.tuning.spec.sections import Section, ask, to_number


@dataclass(frozen=True)
class Target:
    """The larger model for which settings are wanted: its settings over the base, and its steps."""

    settings: Mapping[str, Any]
    steps: int


@dataclass(frozen=True)
class LadderSpec:
    """A ladder.

    Attributes:
        name: Of its folder below ``runs``.
        base: Configuration files of ``fit``.
        sizes: Name -> settings over the base.
        horizons: Steps, rising; a run of each length at every size and rate.
        rates: Peak learning rates, rising.
        rate_key: The setting that is the learning rate.
        warmup: Length of the warm-up; no share of the run, or trunks would differ.
        cooldown: Length of the fall at the end; a share is of each run's own length.
        target: What to suggest settings for; None = nothing.
        metric: What counts, smaller is better.
        budget_bytes: Of the store of prefixes.
    """

    name: str
    base: tuple[Path, ...]
    sizes: Mapping[str, Mapping[str, Any]]
    horizons: tuple[int, ...]
    rates: tuple[float, ...]
    rate_key: str
    warmup: Length
    cooldown: Length
    target: Target | None
    metric: str
    budget_bytes: int

    def settings(self, size: str, rate: float, steps: int) -> dict[str, Any]:
        """Of one trial, dotted keys over the base."""
        return {**self.sizes[size], **self.schedule(rate, steps), "run.validate_every": self.horizons[-1]}

    def schedule(self, rate: float, steps: int) -> dict[str, Any]:
        """Learning rate, its course and the length of the run."""
        options = {"warmup": self.warmup, "decay": self.cooldown}
        return {
            "model.schedule": {"class_path": "WSD", "init_args": options},
            self.rate_key: rate,
            "trainer.max_steps": steps,
        }

    def branches(self) -> tuple[int, ...]:
        """Steps at which shorter runs leave the trunk of the longest: one behind the last full learning rate."""
        cooldown = parse_length(self.cooldown, "cooldown")
        # A cooldown in tokens is counted by the run itself; its border is met to within the store's own ones.
        return tuple(
            steps - cooldown.count_last(Horizon(steps, 1)) + 1 for steps in self.horizons if cooldown.unit != "tokens"
        )


def read_ladder(path: Path) -> LadderSpec:
    """Read and check a ladder file.

    Raises:
        ConfigError: A key or value is wrong, with file and line.
    """
    top = open_section(path)
    horizons = sorted(top.number_of(each, "horizons") for each in top.section.sequence("horizons"))
    if not horizons or horizons[0] < 2 or len(set(horizons)) < len(horizons):
        top.section.refuse("horizons", "are numbers of steps, each once", got=horizons, allowed="[200, 400, 800]")
    sizes = {str(name): dict(value or {}) for name, value in top.section.section("sizes").content.items()}
    if not sizes:
        top.section.refuse("sizes", "names no size", got={}, allowed="name: {model.config.n_embd: 64}")
    warmup = top.section.take("warmup", 0)
    if ask(lambda: parse_length(warmup, "warmup"), top.section, "warmup").unit == "share" and len(horizons) > 1:
        top.section.refuse(
            "warmup", "is a share, which differs from one horizon to the next", got=warmup, allowed="steps or tokens"
        )
    cooldown = top.section.take("cooldown", "20%")
    ask(lambda: parse_length(cooldown, "cooldown"), top.section, "cooldown")
    spec = LadderSpec(
        name=top.section.text("name", path.stem),
        base=top.read_base(),
        sizes=sizes,
        horizons=tuple(horizons),
        rates=_read_rates(top.section),
        rate_key=top.section.text("learning_rate_key", "model.optimizer.lr"),
        warmup=warmup,
        cooldown=cooldown,
        target=_read_target(top),
        metric=top.section.text("metric", "val/loss"),
        budget_bytes=top.section.bytes("budget", 20 * 10**9),
    )
    top.section.finish()
    return spec


def _read_rates(top: Section) -> tuple[float, ...]:
    value = top.take("learning_rates")
    if isinstance(value, Mapping):
        section = top.section("learning_rates")
        low, high = section.number("min", least=0), section.number("max", least=0)
        if not low or not high:
            section.refuse("min", "and max are needed", got=dict(section.content))
        per_octave = section.number("per_octave", 2, least=1, whole=True)
        section.finish()
        grid = LogGrid("learning_rates", minimum=low, maximum=high, per_octave=per_octave).grid()
        return tuple(float(rate) for rate in grid)
    rates = [to_number(each) for each in top.sequence("learning_rates")]
    if not rates or any(rate is None or rate <= 0 for rate in rates) or len(set(rates)) < len(rates):
        top.refuse(
            "learning_rates", "are numbers above 0, each once", got=value, allowed="a list, or {min, max, per_octave}"
        )
    return tuple(sorted(float(rate) for rate in rates if rate is not None))


def _read_target(top: File) -> Target | None:
    section = top.section.section("target")
    if not section.content:
        return None
    settings = dict(section.take("settings") or {})
    steps = section.number("steps", least=2, whole=True)
    if steps is None:
        section.refuse("steps", "is missing", got=dict(section.content), fix="Say how long the target trains.")
    section.finish()
    return Target(settings, steps)


@dataclass(frozen=True)
class File:
    """An opened file; what both ladders and transfers read from it."""

    section: Section

    def number_of(self, value: Any, key: str) -> int:
        """A whole number out of a list."""
        number = to_number(value)
        if number is None or number != int(number):
            self.section.refuse(key, "holds something that is no whole number", got=value)
        return int(number)

    def read_base(self) -> tuple[Path, ...]:
        """``base``: files that exist."""
        named = [Path(str(each)) for each in self.section.sequence("base")]
        for each in named:
            if not each.is_file():
                self.section.refuse("base", "is not a file", got=str(each), allowed="configuration files of fit")
        return tuple(named)


def open_section(path: Path) -> File:
    """A YAML file whose top is a mapping.

    Raises:
        ConfigError: It is not.
    """
    document = read_document(path)
    if not isinstance(document.data, dict):
        raise ConfigError(f"{path} holds no keys and values", got=type(document.data).__name__, allowed="a mapping")
    lines = {setting.key: setting.line for setting in reversed(document.settings)}
    return File(Section(dict(document.data), "", str(path), lines))


@dataclass(frozen=True)
class Rung:
    """One size at one length.

    Attributes:
        size: Name of the size.
        parameters: Trained numbers.
        tokens: Training tokens.
        steps: Optimizer steps.
        losses: Learning rate -> loss at the end; infinite where training had to stop.
        best_rate: Where the loss is lowest, between the points of the grid.
        inside: Whether that lies inside the grid; at its edge, the best may lie beyond.
        loss: The lowest measured loss.
    """

    size: str
    parameters: int
    tokens: int
    steps: int
    losses: Mapping[float, float]
    best_rate: float
    inside: bool
    loss: float


@dataclass(frozen=True)
class Ladder:
    """A finished ladder.

    Attributes:
        spec: What was asked for.
        rungs: Every size at every length.
        savings: Steps done, and steps of all runs.
        loss_law: None where there are too few points.
        rate_law: None where there are too few points inside the grid.
    """

    spec: LadderSpec
    rungs: list[Rung]
    savings: Savings
    loss_law: LossLaw | None
    rate_law: RateLaw | None


@dataclass(frozen=True)
class Suggestion:
    """Settings for a larger model.

    Attributes:
        config: Complete configuration of ``fit``.
        parameters: Of the larger model.
        tokens: It is to be trained on.
        rate: Its peak learning rate, as it stands in the config.
        rate_range: 90 % of the resamples; None without a law.
        loss: Predicted (value, low, high); None without a law.
    """

    config: dict[str, Any]
    parameters: int
    tokens: int
    rate: float
    rate_range: tuple[float, float] | None
    loss: tuple[float, float, float] | None

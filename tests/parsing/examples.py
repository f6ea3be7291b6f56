"""Small classes to parse: a miniature of the real model, with every kind of setting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.parser import StrictParser
from gpt_lightning.parsing.trust import trust_modules

trust_modules("tests.parsing.examples")


class Curve(ABC):
    @abstractmethod
    def factor(self) -> float: ...


class Cosine(Curve):
    def __init__(self, warmup: int = 10, floor: float = 0.1) -> None:
        self.warmup, self.floor = warmup, floor

    def factor(self) -> float:
        return self.floor


class Linear(Curve):
    def __init__(self, warmup: int = 10, decay: int = 5) -> None:
        self.warmup, self.decay = warmup, decay

    def factor(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Shape:
    """Sizes.

    Args:
        n_layer: Layers.
        n_head: Heads.
        bias: Whether there are biases.
        dropout: Share of zeros.
        name: Preset.
    """

    n_layer: int = 2
    n_head: int = 4
    bias: bool = True
    dropout: float = 0.0
    name: str | None = None

    def __post_init__(self) -> None:
        if self.n_layer < 1:
            raise ConfigError(
                "n_layer is a count", got=self.n_layer, allowed=">= 1", fix="Say --model.shape.n_layer 2."
            )


class Model:
    """A model.

    Args:
        shape: Sizes.
        curve: Learning rate.
        kind: Which family.
        betas: Two averages.
        sizes: Some sizes.
        counts: Named counts.
        tail: A second shape.
        curves: Several curves.
        hook: Something to call.
    """

    def __init__(
        self,
        shape: Shape = Shape(),
        curve: Curve = Cosine(),  # noqa: B008
        kind: Literal["gpt", "bert"] = "gpt",
        betas: tuple[float, float] = (0.9, 0.95),
        sizes: list[int] | None = None,
        counts: dict[str, int] | None = None,
        tail: Shape | None = None,
        curves: list[Curve] | None = None,
        hook: Callable[[], None] | None = None,
    ) -> None:
        self.shape, self.curve, self.kind, self.betas = shape, curve, kind, betas
        self.sizes, self.counts, self.tail, self.curves, self.hook = sizes, counts, tail, curves, hook


def build_parser() -> StrictParser:
    parser = StrictParser(prog="gpt-lightning fit")
    parser.add_argument("-c", "--config", action="config")
    parser.add_class_arguments(Model, "model")
    parser.add_argument("--max_steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--source", type=str, default="builtin:pydoc")
    return parser


def count_letters(text: str, letter: str = "e", times: int = 1, shape: Shape | None = None) -> int:
    """Count a letter.

    Example: count hello --letter l

    Args:
        text: Where to count.
        letter: What to count.
        times: Factor on the result.
        shape: Sizes nobody needs.
    """
    return text.count(letter) * times

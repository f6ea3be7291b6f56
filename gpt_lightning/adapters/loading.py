"""An adaptation from its settings, and its trained state onto a model: what a checkpoint of an adapter holds."""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt_lightning import adapters
from gpt_lightning.adapters.base import DEFAULT, Adaptation, trained_names
from gpt_lightning.adapters.layers import adapter_names
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.gpt import GPT


@functools.cache
def known_adaptations() -> dict[str, type[Adaptation]]:
    """All classes of this package that can be chosen, by name."""
    for module in pkgutil.iter_modules(adapters.__path__):
        import_module(f"{adapters.__name__}.{module.name}")
    found: dict[str, type[Adaptation]] = {}
    waiting: list[type[Adaptation]] = list(Adaptation.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind) and kind.__module__.startswith(f"{adapters.__name__}."):
            found[kind.__name__] = kind
    return found


def build_adaptation(settings: Mapping[str, Any]) -> Adaptation:
    """The adaptation of a configuration; of this package only, because the settings may come with a file.

    Args:
        settings: ``class_path`` and ``init_args``.

    Raises:
        CheckpointError: Another class.
    """
    name = str(settings["class_path"]).rpartition(".")[2]
    kind = known_adaptations().get(name)
    if kind is None:
        raise CheckpointError(
            "The checkpoint was trained with an adaptation that is not known here",
            got=settings["class_path"],
            allowed=", ".join(sorted(known_adaptations())),
            fix="Build the module in Python with your class, and load the checkpoint into it.",
        )
    given = settings.get("init_args") or {}
    return kind(**{key: build_adaptation(value) if _is_class(value) else value for key, value in given.items()})


def _is_class(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_path" in value


def load_adapter(
    model: GPT, adaptation: Adaptation, trained: Mapping[str, Tensor], source: Path | str, name: str = DEFAULT
) -> None:
    """Attach an adapter and give it what was trained.

    Args:
        model: The base, perhaps with other adapters.
        adaptation: How it was trained.
        trained: Its state, under the names it has as the adapter ``DEFAULT``.
        source: Where that was found, for messages.
        name: What it is to be called here.

    Raises:
        CheckpointError: Names or shapes are those of another base or other settings.
        ConfigError: The name is taken, or the settings do not fit the architecture.
    """
    if name in adapter_names(model):
        raise ConfigError("two adapters have one name", got=name, fix="Name their folders differently.")
    adaptation.attach(model, torch.Generator().manual_seed(0), name)
    found = {key.replace(f"deltas.{DEFAULT}.", f"deltas.{name}."): value for key, value in trained.items()}
    check_trained(found, model, source)
    model.load_state_dict(found, strict=False)
    model.requires_grad_(False)


def check_trained(found: Mapping[str, Tensor], model: torch.nn.Module, source: Path | str) -> None:
    """Refuse a state that is not exactly what is trained of a model.

    Args:
        found: Names in the model and values.
        model: With the adaptation attached.
        source: Where they were found.

    Raises:
        CheckpointError: Names every difference.
    """
    state = model.state_dict()
    wanted = {name: state[name].shape for name in trained_names(model)}
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in wanted]
    problems += [
        f"{name} is {tuple(found[name].shape)}, needed {tuple(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name].shape != shape
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise CheckpointError(
            f"{source} holds what another adaptation trains: {'; '.join(problems[:4])}{more}",
            fix="Use it with the settings of model.adaptation and the base that it was trained with.",
        )

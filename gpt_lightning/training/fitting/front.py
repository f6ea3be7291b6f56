"""fit, validate, test and predict as far as they need no torch: help, misspelt settings, what to type instead.

Importing Lightning takes seconds, and somebody who mistyped an option should not wait for them. What is not certainly
a mistake goes on to ``training.commands``, whose parser decides.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.origins import Origin, check_environment, collect_origins, unknown_setting
from gpt_lightning.parsing.signatures import Parameter
from gpt_lightning.parsing.suggest import did_you_mean
from gpt_lightning.parsing.trust import TRUST_VARIABLE
from gpt_lightning.training.fitting.help_pages import TOPICS, help_page
from gpt_lightning.training.fitting.options import ELSEWHERE, REPLACED, class_settings, known_settings

_Classes = Mapping[str, Mapping[str, Mapping[str, Parameter]]]


def front_command(command: str, args: Sequence[str]) -> int:
    """Answer what needs no training, and leave everything else to ``training.commands``.

    Args:
        command: fit, validate, test or predict.
        args: What follows it.

    Returns:
        The exit code.

    Raises:
        ConfigError: There is nothing to train, or a setting that does not exist.
    """
    topic = _find_topic(args)
    if topic is not None and topic != "all":
        sys.stdout.write(help_page(command, topic))
        return 0
    if topic == "all":
        args = ["--help"]
    else:
        check_arguments(command, args)
    room = importlib.import_module("gpt_lightning.training.commands")
    code: int = room.trainer_command(command, args)
    return code


def _find_topic(args: Sequence[str]) -> str | None:
    """What help was asked for: a topic, "" = the first page, None = no help."""
    place = next((number for number, arg in enumerate(args) if arg in ("-h", "--help")), None)
    if place is None:
        return None
    topic = next(iter(args[place + 1 :]), "")
    if topic.startswith("-"):
        return ""
    if topic and topic not in TOPICS:
        raise ConfigError(
            "--help has no such topic", got=topic, allowed=", ".join(TOPICS), fix=did_you_mean(topic, TOPICS, "--help ")
        )
    return topic


def check_arguments(command: str, args: Sequence[str]) -> None:
    """Refuse what is certainly a mistake.

    Raises:
        ConfigError: It is.
    """
    settings = known_settings(command)
    variables = {f"GPT_LIGHTNING_{key.replace('.', '__')}".upper(): key for key in settings if key != "print_config"}
    check_environment(variables, os.environ, "GPT_LIGHTNING_")
    if command == "fit" and not args and not variables.keys() & os.environ.keys():
        raise ConfigError(
            "fit alone would train GPT-2 with 124 million parameters",
            fix="A first run of minutes: gpt-lightning fit --config configs/quickstart.yaml. On your own text: add "
            "--data.source my.txt. GPT-2 itself: gpt-lightning fit --preset gpt2.",
        )
    if args and not args[0].startswith("-") and "=" not in args[0]:
        raise ConfigError(
            f"{command} takes no argument without a name", got=args[0], fix=_name_argument(command, args[0])
        )
    if any(re.match(r"-[a-zA-Z]", arg) and arg != "-c" for arg in args):
        return
    given, classes = collect_origins(args, ("-c", "--config"), {}, {}), class_settings(settings)
    for origin in given:
        if not _exists(origin.key, settings, classes):
            replaced = {f"trainer.{name}": instead for name, instead in REPLACED.items()}
            program = f"gpt-lightning {command}"
            names = [*settings, *_arguments(settings, classes, given)]
            raise unknown_setting(origin, names, program=program, replaced=replaced, elsewhere=ELSEWHERE)


def _exists(key: str, settings: Mapping[str, Parameter], classes: _Classes) -> bool:
    """Whether a key is a setting, a group of them, or perhaps below one: an argument of a chosen class."""
    if any(key == name or name.startswith(f"{key}.") for name in settings):
        return True
    above = [name for name in settings if key.startswith(f"{name}.")]
    if not above:
        return False
    parent = max(above, key=len)
    if parent not in classes or TRUST_VARIABLE in os.environ:
        return True
    arguments = {name for parameters in classes[parent].values() for name in parameters}
    return key[len(parent) + 1 :].partition(".")[0] in {*arguments, "help"}


def _arguments(settings: Mapping[str, Parameter], classes: _Classes, given: Sequence[Origin]) -> list[str]:
    """Keys of the arguments of the classes that were chosen, or are there by default."""
    keys = []
    for key, known in classes.items():
        default = (settings[key].default or "").removesuffix("()")
        named = [default, *(each.value.rpartition(".")[2] for each in given if each.key == key)]
        chosen = [name for name in named if name in known]
        keys += [f"{key}.{name}" for kind in chosen[-1:] for name in known[kind]]
    return keys


def _name_argument(command: str, typed: str) -> str:
    path = Path(typed)
    if path.suffix in (".yaml", ".yml"):
        return f"Write gpt-lightning {command} --config {typed}."
    if command != "fit":
        return f"Write gpt-lightning {command} --checkpoint {typed}."
    if (path / "checkpoints").is_dir():
        return f"To go on with that run: gpt-lightning fit --resume {typed}."
    if Path("configs", f"{typed}.yaml").exists():
        return f"Write gpt-lightning fit --config configs/{typed}.yaml."
    return f"To train on that text: gpt-lightning fit --config configs/quickstart.yaml --data.source {typed}."

"""Options of a command's own, which may stand among the settings of a run: ``bench --steps 5 --model.compile true``.

Run a typed function as a command: its signature is the list of options, its docstring the help.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shlex
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from itertools import takewhile, zip_longest
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import DefaultHelpFormatter

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.parser import StrictParser


class OwnOptions(argparse.ArgumentParser):
    """argparse's parser, with our errors; whoever takes settings too calls ``parse_known_args``.

    Args:
        command: How the command is called, without the program's name.
        description: Its help, with an example; lines are kept.
        settings: Whether every other option is a setting of the run, which the help then says.
    """

    def __init__(self, command: str, description: str, *, settings: bool = False) -> None:
        super().__init__(
            prog=f"gpt-lightning {command}",
            description=description,
            epilog="Everything else is a setting of the run: see gpt-lightning fit --help." if settings else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._command = command

    def error(self, message: str) -> NoReturn:
        """Raise what argparse refuses as one of our errors.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self._command}: {message}", fix=f"See gpt-lightning {self._command} --help.")


class _HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the lines of a docstring, so that examples can be copied."""


def command_parser(function: Callable[..., Any], prog: str) -> StrictParser:
    """The parser of a command: one option for each parameter, ``--config``, ``--print_config`` and ``--help``.

    Args:
        function: Annotated, with a Google docstring; what stands above ``Args:`` becomes the description.
        prog: How the command is called, as shown in help and errors.
    """
    description = inspect.getdoc(function) or ""
    parser = StrictParser(
        prog=prog,
        description=description.partition("\nArgs:")[0].strip(),
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("-c", "--config", action="config", help="YAML file with settings; may be given several times.")
    parser.add_function_arguments(function, as_group=False)
    return parser


def run_command(function: Callable[..., Any], args: Sequence[str], prog: str) -> Any:
    """Parse ``args`` for ``function`` and call it.

    Leading arguments without dashes are the values of the parameters that have no default (or of the first one), in
    their order: ``generate RUN --top_k 5``. One of them that is a list takes all the rest: ``evaluate ppl RUN A.txt
    B.txt``. An option that is a tuple takes as many arguments as it has members: ``--infill PREFIX SUFFIX``; one that
    is true or false may stand alone: ``--verify``. ``-o`` is short for ``--output``.

    Returns:
        What the function returns.

    Raises:
        ConfigError: The arguments do not fit the function.
    """
    given = _join_tuples(function, _name_leading(function, _spell_out(function, args)))
    parser = command_parser(function, prog)
    settings = parser.instantiate(parser.parse_args(given))
    settings.pop("config", None)
    return function(**vars(settings))


def _spell_out(function: Callable[..., Any], args: Sequence[str]) -> list[str]:
    """The arguments with ``true`` at every option that stands alone, and with whole names."""
    hints = get_type_hints(function)
    spelled = []
    for arg, following in zip_longest(args, args[1:], fillvalue=""):
        alone = hints.get(arg.removeprefix("--")) is bool and following.lower() not in ("true", "false")
        spelled.append(f"{arg}=true" if alone and arg.startswith("--") else arg)
    return ["--output" if arg == "-o" and "output" in hints else arg for arg in spelled]


def _name_leading(function: Callable[..., Any], args: Sequence[str]) -> list[str]:
    """The arguments with an option's name in front of each leading one that has none."""
    leading = list(takewhile(lambda arg: not arg.startswith("-"), args))
    rest = list(args[len(leading) :])
    parameters = inspect.signature(function).parameters
    needed = [name for name, each in parameters.items() if each.default is each.empty] or list(parameters)[:1]
    hints = get_type_hints(function)
    named = []
    for name in needed[: len(leading)]:
        if get_origin(hints[name]) is list:
            named.append(f"--{name}={json.dumps(leading)}")
            leading = []
            break
        named.append(f"--{name}={leading.pop(0)}")
    if leading:
        following = next((name for name in parameters if name not in needed), None)
        example = f"For example --{following} {shlex.quote(leading[0])}." if following else ""
        raise ConfigError(
            "Unexpected argument",
            got=" ".join(leading),
            fix=f"Options are written --name value; quote values that hold spaces. {example}".strip(),
        )
    return [*named, *rest]


def _join_tuples(function: Callable[..., Any], args: Sequence[str]) -> list[str]:
    """The arguments with the members of each tuple as one."""
    sizes = {f"--{name}": _count_members(hint) for name, hint in get_type_hints(function).items()}
    joined, rest = [], list(args)
    while rest:
        option = rest.pop(0)
        size = sizes.get(option, 0)
        if size:
            if len(rest) < size:
                raise ConfigError(f"{option} takes {size} values", got=" ".join(rest) or None)
            members, rest = rest[:size], rest[size:]
            option = f"{option}={json.dumps(members, ensure_ascii=False)}"
        joined.append(option)
    return joined


def _count_members(hint: Any) -> int:
    """How many members a tuple has; 0 for what is none, or has any number."""
    members = next((get_args(each) for each in (hint, *get_args(hint)) if get_origin(each) is tuple), ())
    return 0 if Ellipsis in members else len(members)

"""Run a typed function as a command: its signature is the list of options, its docstring the help."""

from __future__ import annotations

import inspect
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import Any

from jsonargparse import DefaultHelpFormatter

from gpt_lightning.parsing.parser import StrictParser


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

    A leading argument without dashes is the value of the function's first parameter: ``generate RUN --top_k 5``.

    Returns:
        What the function returns.

    Raises:
        ConfigError: The arguments do not fit the function.
    """
    given = list(args)
    if given and not given[0].startswith("-"):
        first = next(iter(inspect.signature(function).parameters))
        given[0] = f"--{first}={given[0]}"
    parser = command_parser(function, prog)
    settings = parser.instantiate(parser.parse_args(given))
    settings.pop("config", None)
    return function(**vars(settings))

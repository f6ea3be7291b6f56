"""Options of a command's own, which may stand among the settings of a run: ``bench --steps 5 --model.compile true``."""

from __future__ import annotations

import argparse
from typing import NoReturn

from gpt_lightning.errors import ConfigError


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

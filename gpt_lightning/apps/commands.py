"""``gpt-lightning app NAME init | train | evaluate | run``: one function for the commands of every application."""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt_lightning.apps.application import Application, open_folder, write_folder
from gpt_lightning.apps.figures import tell_findings
from gpt_lightning.parsing.command import OwnOptions
from gpt_lightning.serving.settings import Address

_TEXTS = {
    "init": "Write a folder with commented settings and a sample of data.",
    "train": "Train the model; the same command goes on where it was stopped.",
    "evaluate": "Measure on held-out data, beside the floor: a table, and a page in the folder.",
    "run": "Serve it, with a page, until Ctrl-C or SIGTERM.",
}


def app_command(command: str, args: Sequence[str]) -> None:
    """Parse and run a command of an application.

    Args:
        command: Its name, such as ``app recommend train``.
        args: What follows it.
    """
    _, name, verb = command.split()
    application: Application[Any] = importlib.import_module(f"gpt_lightning.apps.{name}.application").APPLICATION
    given = _parse(application, command, verb, args)
    folder = Path(given.folder)
    if verb == "init":
        written = write_folder(application, folder, given.sample)
        sys.stdout.write(f"wrote {', '.join(map(str, written))}\n{_next(name, 'train', folder)}")
        return
    opened = open_folder(application, folder, given.set)
    if verb == "train":
        application.train(opened)
        sys.stdout.write(_next(name, "evaluate", folder))
    elif verb == "evaluate":
        files = tell_findings(application.evaluate(opened), folder)
        sys.stdout.write(f"wrote {', '.join(map(str, files))}\n{_next(name, 'run', folder)}")
    else:
        application.run(opened, Address(given.host, given.port, allow_remote=given.allow_remote))


def _next(name: str, verb: str, folder: Path) -> str:
    return f"Next: gpt-lightning app {name} {verb} {folder}\n"


def _parse(application: Application[Any], command: str, verb: str, args: Sequence[str]) -> Namespace:
    parser = OwnOptions(command, f"{application.title}\n\n{_TEXTS[verb]}\n\nExample: gpt-lightning {command}")
    what = f"Folder of the application; {application.name} where it is left out."
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=application.name, help=what)
    if verb == "init":
        parser.add_argument(
            "--sample", default=application.samples[0], help=f"The data: {', '.join(application.samples)}."
        )
        return parser.parse_args(list(args))
    help_text = f"Change a setting of {application.name}.yaml, such as fit.trainer.max_steps=5; may be repeated."
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=help_text)
    if verb == "run":
        parser.add_argument("--host", default=Address.host, help="Address to listen at.")
        parser.add_argument("--port", type=int, default=Address.port, help="Port; 0 = any free one.")
        parser.add_argument("--allow_remote", action="store_true", help="Let other machines reach it without a key.")
    return parser.parse_args(list(args))

"""The configurations and sweeps that come along: where they are, in a clone and in an installed package.

    fit --config configs/quickstart.yaml    that file where there is one, else ours of that name
    fit --config quickstart                 the same, when nothing here is called so

A clone has them beside the package, a wheel inside it (``setup.py`` copies them), so what the documentation says can
be typed word for word in any folder.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.suggest import nearest

FOLDERS = ("configs", "sweeps")
_PACKAGE = Path(__file__).resolve().parents[1]
_CONFIG_OPTIONS = frozenset({"-c", "--config"})
"""Their value may be a name without folder and ending."""


def shipped_files() -> dict[str, Path]:
    """Name as it is typed (``configs/quickstart.yaml``) -> file; configurations first, then sweeps."""
    root = _PACKAGE if (_PACKAGE / FOLDERS[0]).is_dir() else _PACKAGE.parent
    files = [file for folder in FOLDERS for file in sorted((root / folder).rglob("*.yaml"))]
    return {file.relative_to(root).as_posix(): file for file in files}


def find_shipped(name: str, *, bare: bool = False) -> Path | None:
    """The file of ours that a path means which leads nowhere.

    Args:
        name: What was typed.
        bare: Whether ``quickstart`` and ``finetune/lora`` are names too, without folder and ending.

    Returns:
        The file; None where the path exists, or is none of ours.
    """
    path = name.replace(os.sep, "/").removeprefix("./")
    if not (bare or path.startswith(tuple(f"{folder}/" for folder in FOLDERS))) or os.path.exists(name):
        return None
    known = shipped_files()
    stems = [each for each in known if each.startswith("configs/") and Path(each).stem == path.removesuffix(".yaml")]
    names = (path, f"configs/{path}", f"configs/{path}.yaml", *(stems if len(stems) == 1 else ()))
    return next((known[each] for each in names if each in known), None)


def suggest_shipped(name: str) -> str:
    """``Did you mean ...?`` with files of ours whose name is like a path's; "" where none is."""
    stems = {Path(each).stem: each for each in shipped_files()}
    found = [stems[stem] for stem in nearest(Path(name).stem, stems)]
    return f"Did you mean {' or '.join(found)}?" if found else ""


def resolve_arguments(args: Sequence[str]) -> list[str]:
    """Arguments in which names of our files, where the user has no such file, have become their paths.

    Only configurations and what stands without an option: the text behind ``--prompt`` is whatever it is.
    """
    resolved = list(args)
    before = ""
    for number, arg in enumerate(args):
        option, equals, value = arg.partition("=") if arg.startswith("-") else ("", "", arg)
        named = option or before
        if value and (not named or named in _CONFIG_OPTIONS):
            found = find_shipped(value, bare=named in _CONFIG_OPTIONS)
            resolved[number] = arg if found is None else f"{option}{equals}{found}"
        before = "" if equals else option
    return resolved


def list_command() -> None:
    """Show the configurations and sweeps that come along, each with its purpose.

    Example: gpt-lightning configs list
    """
    purposes = {name: _purpose(file) for name, file in shipped_files().items()}
    width = max(map(len, purposes)) + 2
    room = max(30, shutil.get_terminal_size().columns - width)
    sys.stdout.writelines(f"{name:<{width}}{textwrap.shorten(text, room)}\n" for name, text in purposes.items())


def copy_command(names: list[str], to: str = ".") -> None:
    """Copy configurations that come along, to change them.

    Example: gpt-lightning configs copy quickstart
    Example: gpt-lightning configs copy sweeps/lr_schedule.yaml --to mine

    Args:
        names: Which ones, as ``configs list`` shows them; the folder and the ending may be left out.
        to: The folder that gets configs/ and sweeps/ as they are here.

    Raises:
        ConfigError: There is none of that name, or a file in its place.
    """
    known = shipped_files()
    files = {file: name for name, file in known.items()}
    chosen = []
    for typed in names:
        name = typed if typed in known else files.get(find_shipped(typed, bare=True) or Path())
        if name is None:
            fix = suggest_shipped(typed) or "See gpt-lightning configs list."
            raise ConfigError("No configuration of that name comes along", got=typed, fix=fix)
        if (Path(to) / name).exists():
            raise ConfigError(f"{Path(to) / name} is there already", fix="Choose another folder with --to.")
        chosen.append(name)
    for name in chosen:
        place = Path(to) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(known[name].read_bytes())
        sys.stdout.write(f"{place}\n")


def _purpose(file: Path) -> str:
    """What the header of a file says that it is for, on one line."""
    first, *rest = file.read_text(encoding="utf-8").splitlines()
    lines = [first, *itertools.takewhile(lambda line: line.startswith("#  "), rest)]
    return " ".join(line.lstrip("# ") for line in lines).removeprefix("Purpose:").strip()

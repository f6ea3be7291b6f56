"""What a configuration would run or send, found before it is used: a file alone may do neither.

A config file or run folder may come from anybody. What runs a program, calls a function that the file names, or sends
anything to another machine needs consent from outside of the file: the setting itself typed on the command line or
given by an environment variable, or its name in ``--allow_outside`` (``GPT_LIGHTNING_ALLOW_OUTSIDE``). Settings of a
run folder's own ``config.yaml`` are never used for that, whatever was allowed: going on with somebody's run does not
mean posting to their webhook. A class of a user's own module needs ``GPT_LIGHTNING_TRUST_MODULES`` (``parsing.trust``).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.origins import Origin
from gpt_lightning.parsing.trust import TRUST_VARIABLE, TRUSTED_PACKAGES
from gpt_lightning.training.engine.processes import process_rank
from gpt_lightning.training.runs.run_folder import CONFIG_FILE, MANIFEST_FILE

log = logging.getLogger("gpt_lightning")

OPTION, VARIABLE = "allow_outside", "GPT_LIGHTNING_ALLOW_OUTSIDE"
_EVERYTHING = "all"
_PLACES: dict[str, Any] = {
    "monitor.tell": [],
    "monitor.trackers": [],
    "trainer.logger": None,
    "trainer.callbacks": None,
    "trainer.plugins": None,
    "trainer.profiler": None,
    "trainer.strategy": "auto",
}
"""Settings that hold classes which may reach outside -> their value when nothing of them is used."""
_LOCAL_LOGGERS = ("TensorBoardLogger", "CSVLogger")
_ADDRESS = re.compile(r"(?!file:)\w[\w+.-]*://")


@dataclass(frozen=True)
class Reach:
    """Something that a configuration does outside of its process and folders.

    Attributes:
        key: The setting.
        name: Short name of the class, which consent is given to.
        what: What it does: "runs the program ...".
        entry: Of the setting, the value that does it.
        place: File and line that it comes from; empty = it was typed.
        is_runs: Whether that file is the configuration of a run folder.
    """

    key: str
    name: str
    what: str
    entry: Any
    place: str
    is_runs: bool

    def __str__(self) -> str:
        return f"{self.name} {self.what} ({self.key}{f', {self.place}' if self.place else ''})"


class CommandLine(Protocol):
    """A parsed command line of the Trainer's commands.

    Attributes:
        command: The command's name.
        typed: Whether somebody typed or programmed the arguments; otherwise they come from a file.
        parser: Knows what was given, and where.
        config: The resolved configuration.
    """

    command: str
    typed: bool
    parser: Any
    config: Any


def ask_consent(line: CommandLine) -> None:
    """Refuse, leave out, or list what a parsed configuration would do outside.

    Args:
        line: Its ``config`` loses what comes from a run folder; for commands that train nothing, all of ``monitor``.

    Raises:
        ConfigError: A file wants what nobody allowed.
    """
    config, allowed = line.config, _allowed(line)
    if line.command != "fit":
        for key in ("monitor.tell", "monitor.trackers"):
            config[key] = []
    for reach in list(_find(config, line.parser.given, typed=line.typed)):
        if reach.is_runs:
            _leave_out(config, reach)
            _say(
                f"left out, since settings of a run folder run and send nothing: {reach}. If you want it, give it again"
            )
        elif not reach.place or {reach.name, _EVERYTHING} & allowed:
            _say(f"allowed: {reach}")
        else:
            raise ConfigError(
                f"{reach.key} in {reach.place}: {reach.name} {reach.what}, which a file alone may not do",
                fix=f"If you want that, add --{OPTION} {reach.name}, or set {VARIABLE}={reach.name}.",
            )
    for path in sorted(set(_class_paths(config))):
        if path.partition(".")[0] not in TRUSTED_PACKAGES:
            _say(f"allowed: code of a module of your own, {path} ({TRUST_VARIABLE})")


def _say(text: str) -> None:
    if process_rank() == 0:
        log.warning(text)


def _allowed(line: CommandLine) -> set[str]:
    for origin in line.parser.given:
        if origin.key == OPTION and origin.in_file and origin.value not in ("", "''", '""', "null"):
            raise ConfigError(
                f"{OPTION} in {origin.place} has no say: consent comes from outside of the file",
                fix=f"Take it out of the file; if you want that, add --{OPTION} {origin.value}.",
            )
    return {name.strip() for name in str(line.config.get(OPTION) or "").split(",") if name.strip()}


def _find(config: Any, given: Sequence[Origin], *, typed: bool) -> Iterable[Reach]:
    for key in _PLACES:
        for entry in _entries(config.get(key)):
            path = str(entry["class_path"])
            what = _describe(path, _plain(entry.get("init_args")))
            if what:
                place, is_runs = _where(key, given, typed=typed)
                yield Reach(key, path.rpartition(".")[2], what, entry, place, is_runs)


def _entries(value: Any) -> list[Any]:
    """The classes that a setting names, as parsed: mappings with ``class_path``."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if hasattr(each, "get") and "class_path" in each]


def _describe(path: str, settings: Mapping[str, Any]) -> str:
    """What a class would do outside; empty = nothing."""
    module, _, name = path.rpartition(".")
    kind = getattr(sys.modules.get(module), name, None)
    describe = getattr(kind, "describe_reach", None)
    if describe is not None:
        return str(describe(settings))
    if name == "LambdaCallback":
        return f"calls {', '.join(_name(value) for value in settings.values() if value is not None)}"
    if name.endswith("Logger") and path.startswith("lightning.") and name not in _LOCAL_LOGGERS:
        return "may send the numbers and settings of the run to a server"
    addresses = [value for value in settings.values() if isinstance(value, str) and _ADDRESS.match(value)]
    return f"writes to {', '.join(addresses)}" if addresses else ""


def _name(value: Any) -> str:
    """Of a function, as it is imported; of a class with arguments, what stands in the file."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else str(value)


def _plain(settings: Any) -> dict[str, Any]:
    return dict(settings.as_dict() if hasattr(settings, "as_dict") else settings or {})


def _where(key: str, given: Sequence[Origin], *, typed: bool) -> tuple[str, bool]:
    """File and line that a setting comes from, and whether that is a run folder's; empty = it was typed."""
    said = [each for each in given if (each.key == key or each.key.startswith(f"{key}.")) and _says_something(each)]
    files = [each for each in said if each.in_file]
    if not files:
        free = typed or all(each.variable for each in said)
        return "" if free else "the settings of a sweep", False
    return files[0].place, all(_is_run_config(Path(each.file)) for each in files)


def _says_something(origin: Origin) -> bool:
    return origin.value not in ("", "null", "true", "false", "auto")


def _is_run_config(path: Path) -> bool:
    folder = path.parent
    held = (folder / MANIFEST_FILE).exists() or bool(list_checkpoints(folder / CHECKPOINTS_DIR))
    return path.name == CONFIG_FILE and held


def _leave_out(config: Any, reach: Reach) -> None:
    value = config[reach.key]
    kept = [each for each in value if each is not reach.entry] if isinstance(value, list) else []
    config[reach.key] = kept or _PLACES[reach.key]


def _class_paths(tree: Any) -> Iterable[str]:
    if hasattr(tree, "as_dict"):
        tree = tree.as_dict()
    if isinstance(tree, Mapping):
        if isinstance(tree.get("class_path"), str):
            yield tree["class_path"]
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for each in tree:
            yield from _class_paths(each)

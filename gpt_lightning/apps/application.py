"""The interface between an application and its commands, and the folder in which one of them lives."""

from __future__ import annotations

import dataclasses
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from gpt_lightning.apps.figures import Findings
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.parsing.parser import StrictParser
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.serving.settings import Address


@dataclass(frozen=True)
class AppSettings:
    """What every application is told; each adds its own in a subclass.

    Args:
        model: Folder of the model, within the folder of the application: a run that train makes, or one of yours.
        fit: Settings of gpt-lightning fit, for train.
    """

    model: str = "model"
    fit: dict[str, Any] = field(default_factory=dict)


Settings = TypeVar("Settings", bound=AppSettings)


@dataclass(frozen=True)
class AppFolder(Generic[Settings]):
    """A folder with the settings, data, model and reports of an application.

    Attributes:
        path: The folder.
        settings: What its YAML file says.
    """

    path: Path
    settings: Settings

    def file(self, name: str) -> Path:
        """A file that the settings name: relative to the folder."""
        return self.path / Path(name).expanduser()

    @property
    def model(self) -> Path:
        """The run that train makes."""
        return self.file(self.settings.model)


class Application(ABC, Generic[Settings]):
    """One application: its sample, and what each of its commands does.

    Attributes:
        name: The second word of its commands; also of its YAML file.
        title: What it is, for people.
        settings: Class of its settings.
        samples: What ``init --sample`` may name; the first is the default.
        notes: What to expect of a sample (time, figures), by its name; a comment in its settings.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settings: type[Settings]
    samples: ClassVar[Sequence[str]] = ("built-in",)
    notes: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def make_sample(self, name: str) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Settings that differ from their defaults, and files with their content by name.

        Args:
            name: One of ``samples``.
        """

    @abstractmethod
    def train(self, folder: AppFolder[Settings]) -> None:
        """Train what ``run`` needs; called again, go on where a kill has stopped it."""

    @abstractmethod
    def evaluate(self, folder: AppFolder[Settings]) -> Findings:
        """Measure on held-out data, beside the floor."""

    @abstractmethod
    def run(self, folder: AppFolder[Settings], address: Address) -> None:
        """Serve it until a signal ends it."""


def settings_file(application: Application[Any], folder: Path) -> Path:
    """Where the settings of an application stand."""
    return folder / f"{application.name}.yaml"


def open_folder(application: Application[Settings], folder: Path, changes: Sequence[str] = ()) -> AppFolder[Settings]:
    """The folder of an application, with its settings.

    Args:
        application: Whose.
        folder: Where ``init`` has made it, or a person.
        changes: ``KEY=VALUE`` each, which win over the file.

    Raises:
        ConfigError: There is no such folder, or a setting is unknown or of the wrong type.
    """
    file = settings_file(application, folder)
    if not file.is_file():
        raise ConfigError(
            f"{folder} is not a folder of this application: {file.name} is missing",
            fix=f"Make one: gpt-lightning app {application.name} init {folder}",
        )
    parser = _build_parser(application)
    wrong = next((each for each in changes if "=" not in each), None)
    if wrong is not None:
        raise ConfigError("--set takes a setting and its value", got=wrong, allowed="KEY=VALUE")
    # jsonargparse would let one setting of ``fit`` take the place of all its neighbours; ``build`` merges dotted ones.
    own = [each for each in changes if not each.startswith("fit.")]
    given = parser.parse_args([f"--config={file}", *(f"--{each}" for each in own)])
    # Not instantiated: ``fit`` is for fit's own parser, and a class that a file names must not be built here.
    values = given.as_dict()
    values.pop("config")
    values["fit"] |= {
        each[len("fit.") :].partition("=")[0]: each.partition("=")[2] for each in changes if each not in own
    }
    return AppFolder(folder, application.settings(**values))


def _build_parser(application: Application[Any]) -> StrictParser:
    parser = StrictParser(prog=f"{application.name} settings", default_env=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_class_arguments(application.settings, as_group=False)
    return parser


def write_folder(application: Application[Any], folder: Path, sample: str) -> list[Path]:
    """Write the settings, with a comment for each, and the data of a sample.

    Raises:
        ConfigError: There is no such sample.
        DataError: A file is there already, or the folder cannot be written to.
    """
    if sample not in application.samples:
        raise ConfigError("There is no such sample", got=sample, allowed=", ".join(application.samples))
    given, files = application.make_sample(sample)
    written = {settings_file(application, folder): draw_settings(application, given, application.notes.get(sample, ""))}
    written |= {folder / name: content for name, content in files.items()}
    taken = next((path for path in written if path.exists()), None)
    if taken is not None:
        raise DataError(f"{taken} is there already", fix="Name another folder, or go on with this one: train.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in written.items():
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(content)
    except OSError as problem:
        raise DataError(f"{problem.filename or folder} cannot be written ({problem.strerror})") from problem
    return list(written)


def draw_settings(application: Application[Any], given: Mapping[str, Any], note: str = "") -> str:
    """The YAML file of an application: what is given, and every other setting as a comment with its default.

    Args:
        application: Whose.
        given: Settings that differ from their defaults.
        note: What to expect.
    """
    known = {action.dest: action.help for action in _build_parser(application)._actions}
    lines = [f"# {application.title}", f"# gpt-lightning app {application.name} train | evaluate | run FOLDER"]
    lines += [f"# {line}" for line in textwrap.wrap(note, 117)]
    lines.append("# Lines without a leading # are set; the others show the defaults. Paths are relative to this file.")
    for each in dataclasses.fields(application.settings):
        lines += ["", *textwrap.wrap(str(known[each.name]), 118, initial_indent="# ", subsequent_indent="# ")]
        if each.name in given:
            lines.append(dump_yaml({each.name: given[each.name]}).rstrip("\n"))
        else:
            default = each.default_factory() if callable(each.default_factory) else each.default
            lines += [f"# {line}" for line in dump_yaml({each.name: default}).rstrip("\n").split("\n")]
    return "\n".join(lines) + "\n"

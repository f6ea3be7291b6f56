"""Where a setting came from: the command line, a line of a file, or an environment variable.

jsonargparse merges its sources before it checks them and then reports the last part of a key only. Going through the
sources once more, flat and in order, gives back the whole key and the place to mend.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.shipped import suggest_shipped
from gpt_lightning.parsing.strict_yaml import Setting, YAMLProblem, parse_document, read_document
from gpt_lightning.parsing.suggest import did_you_mean, join_names, nearest

COMMAND_LINE = "command line"
ENVIRONMENT = "environment variable"

_MISSPELT = 0.95
"""Share of matching letters of a variable's whole name, most of which are the program's."""
_PLUMBING = frozenset({"class_path", "init_args", "dict_kwargs"})


@dataclass(frozen=True)
class Origin:
    """One setting as the user gave it.

    Attributes:
        key: Dotted key without ``class_path`` and ``init_args``, so that all spellings of one setting are equal.
        value: The text given; empty for a branch of a file.
        place: "command line", "FILE:LINE" or "environment variable NAME".
    """

    key: str
    value: str
    place: str

    @property
    def on_command_line(self) -> bool:
        """Whether it was typed as ``--key value``."""
        return self.place == COMMAND_LINE

    @property
    def in_file(self) -> bool:
        """Whether it stands in a file."""
        return not self.on_command_line and not self.variable

    @property
    def file(self) -> str:
        """The file it stands in, or an empty string."""
        return self.place.rpartition(":")[0] if self.in_file else ""

    @property
    def variable(self) -> str:
        """The environment variable it came from, or an empty string."""
        return self.place.removeprefix(f"{ENVIRONMENT} ") if self.place.startswith(ENVIRONMENT) else ""


def plain_key(key: str) -> str:
    """``a.init_args.b+`` -> ``a.b``: the key without jsonargparse's own levels and marks."""
    return ".".join(part.rstrip("+") for part in key.split(".") if part not in _PLUMBING)


def collect_origins(
    args: Sequence[str], config_options: Sequence[str], variables: Mapping[str, str], environ: Mapping[str, str]
) -> list[Origin]:
    """Every setting given, in the order in which later ones win.

    Args:
        args: Arguments as typed.
        config_options: Option strings that name a config file, such as ``--config``.
        variables: Environment variable -> key that it sets.
        environ: The environment.

    Raises:
        ConfigError: A config file is missing or is refused.
    """
    found: list[Origin] = []
    for variable, key in variables.items():
        if variable in environ and f"--{key}" in config_options:
            found.extend(_from_config(environ[variable]))
    for variable, key in variables.items():
        if variable in environ:
            found.extend(_from_value(key, environ[variable], f"{ENVIRONMENT} {variable}"))
    waiting = list(args)
    while waiting:
        option, equals, value = waiting.pop(0).partition("=")
        if not option.startswith("-") or option in ("-", "--"):
            continue
        if not equals and waiting and not _is_option(waiting[0]):
            value = waiting.pop(0)
        if option in config_options:
            found.extend(_from_config(value))
        else:
            found.extend(_from_value(option.lstrip("-"), value, COMMAND_LINE))
    return found


def find_origin(origins: Sequence[Origin], key: str, value: str | None = None) -> Origin | None:
    """The setting that a key of jsonargparse's, perhaps without its first parts, refers to.

    Args:
        origins: All settings given.
        key: Whole key or its last parts.
        value: The value complained about, where known; decides between several candidates.
    """
    key = plain_key(key)
    fitting = [o for o in origins if o.key == key or o.key.endswith("." + key) or key.endswith("." + o.key)]
    if not fitting:
        return None
    ranks = [(value is not None and o.value == value, o.key == key, index) for index, o in enumerate(fitting)]
    return fitting[max(ranks)[2]]


def unknown_setting(
    origin: Origin,
    names: Collection[str],
    *,
    program: str,
    replaced: Mapping[str, str] = MappingProxyType({}),
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> ConfigError:
    """The error for a key that no setting has.

    Args:
        origin: What was given.
        names: Settings to choose from.
        program: How the command is called.
        replaced: Settings that a user may look for and that are answered in another way -> what to write.
        elsewhere: What other programs call a setting, without its section -> its name here.
    """
    key = origin.key
    if key in replaced:
        return ConfigError(f"There is no setting {key} here", fix=f"Use {replaced[key]}.")
    dashes = "--" if origin.on_command_line else ""
    names = [name for name in names if not key.startswith(f"{name}.")]
    parent, _, last = key.rpartition(".")
    alias = elsewhere.get(last.lower().replace("-", "_"), "")
    advice = f"Did you mean {dashes}{alias}?" if alias and not parent else did_you_mean(key, names, dashes)
    if alias and not advice:
        advice = f"Did you mean {dashes}{alias}?"
    siblings = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == parent]
    return ConfigError(
        f"There is no setting {dashes}{key} ({origin.place})",
        allowed="" if advice or not parent else join_names(siblings),
        fix=advice or f"See {program} --help.",
    )


def check_environment(variables: Mapping[str, str], environ: Iterable[str], prefix: str) -> None:
    """Refuse an environment variable that can only be a misspelt setting of this command.

    One of another command's is left alone: what is refused names a section of this command, or nearly does.

    Args:
        variables: Environment variable -> key that it sets.
        environ: Names of the variables that are set.
        prefix: Of all variables of this program.

    Raises:
        ConfigError: A misspelt one.
    """
    sections = {name.removeprefix(prefix).partition("__")[0] for name in variables if "__" in name}
    collapsed = {name.replace("__", "_"): name for name in variables if "__" in name}
    bare = [name.removeprefix(prefix) for name in collapsed]  # what all have in common makes all alike
    for variable in environ:
        if variable in variables or not variable.startswith(prefix):
            continue
        section, parted, _ = variable.removeprefix(prefix).partition("__")
        whole, advice = collapsed.get(variable.replace("__", "_")), ""
        if whole:
            advice = f"Did you mean {whole}?"
        elif not parted:
            near = [prefix + name for name in nearest(variable.removeprefix(prefix), bare)]
            alike = [name for name in near if SequenceMatcher(None, variable, name).ratio() > _MISSPELT]
            if not alike:
                continue
            advice = f"Did you mean {collapsed[alike[0]]}?"
        elif section not in sections and not nearest(section, sections):
            continue
        raise ConfigError(
            f"The environment variable {variable} sets nothing",
            fix=advice
            or did_you_mean(variable, variables)
            or "Settings of a chosen class go into a config file or an option.",
        )


def _is_option(text: str) -> bool:
    # -1 and -1e-3 are values.
    return text.startswith("-") and not text[1:2].isdigit() and text[1:2] not in ("", ".")


def _from_config(value: str) -> list[Origin]:
    if not value:
        return []
    if os.path.isfile(value):
        document = read_document(value)
        if document.data is not None and not isinstance(document.data, dict):
            raise ConfigError(
                f"{value} is not a config file",
                got=type(document.data).__name__,
                allowed="settings, one 'key: value' a line",
                fix="Give a file with settings.",
            )
        return [_origin(setting, f"{value}:{setting.line}") for setting in document.settings]
    inline = _inline_settings(value)
    if inline is None:
        raise _missing_config(value)
    return [_origin(setting, COMMAND_LINE) for setting in inline]


def _from_value(key: str, value: str, place: str) -> list[Origin]:
    inner = _inline_settings(value) or []
    return [Origin(plain_key(key), value, place), *(_origin(s, place, prefix=f"{key}.") for s in inner)]


def _origin(setting: Setting, place: str, prefix: str = "") -> Origin:
    return Origin(plain_key(prefix + setting.key), setting.value, place)


def _inline_settings(value: str) -> list[Setting] | None:
    """Settings of a mapping or list written as one argument, None for anything else."""
    if value[:1] not in ("{", "["):
        return None
    try:
        return parse_document(value).settings
    except YAMLProblem:
        return None


def _missing_config(value: str) -> ConfigError:
    path = Path(value)
    folder = path.parent
    if path.is_dir():
        inside = join_names(sorted(p.name for p in path.glob("*.y*ml"))) or "no YAML files"
        return ConfigError("--config needs a file, not a folder", got=value, fix=f"{value} holds {inside}.")
    similar = suggest_shipped(value)
    if not folder.is_dir():
        fix = similar or "Check the path."
        return ConfigError("The config file does not exist, nor does its folder", got=value, fix=fix)
    there = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
    stems = {Path(name).stem: name for name in there}
    near = [str(folder / stems[stem]) for stem in nearest(path.stem, stems)]
    advice = f"Did you mean {' or '.join(near)}?" if near else similar or f"Found there: {join_names(there)}."
    if not (near or similar or there):
        advice = "See gpt-lightning configs list."
    return ConfigError(f"The config file does not exist in {folder.resolve()}", got=value, fix=advice)

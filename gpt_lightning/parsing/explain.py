"""jsonargparse's messages turned into ours: one line with the whole key, its place, what is allowed, what to do.

One table of patterns, tried in order. A message that none of them knows is passed on by its first line, so that a new
version of jsonargparse makes errors plainer but never wrong.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jsonargparse import ArgumentParser

from gpt_lightning.errors import ConfigError, UserError
from gpt_lightning.parsing import origins
from gpt_lightning.parsing.expectations import (
    Expectation,
    classes_in,
    list_settings,
    settings_near,
    settings_with_defaults,
)
from gpt_lightning.parsing.origins import COMMAND_LINE, Origin, find_origin, plain_key
from gpt_lightning.parsing.suggest import did_you_mean, join_names, known_subclasses
from gpt_lightning.parsing.trust import TRUST_VARIABLE, trusted_packages


@dataclass(frozen=True)
class Parsing:
    """What is known when a parser gives up.

    Attributes:
        parser: The parser of the command.
        origins: Every setting the user gave, with its place.
    """

    parser: ArgumentParser
    origins: Sequence[Origin]

    def settings(self, key: str) -> dict[str, Expectation]:
        """Settings to choose from at the place of ``key``."""
        chosen = {origin.key: origin.value for origin in self.origins if origin.value}
        return {**settings_with_defaults(self.parser), **settings_near(self.parser, key, chosen)}

    def help_hint(self) -> str:
        """Where all settings are listed."""
        return f"See {self.parser.prog} --help."


def explain(parsing: Parsing, message: str, cause: BaseException | None) -> UserError:
    """The error to raise instead of printing ``message``.

    Args:
        parsing: The parser and what it was given.
        message: jsonargparse's text.
        cause: The exception behind it. A ``UserError`` in its chain, raised by one of our constructors, is the answer.
    """
    mistake = user_error_behind(cause)
    if mistake is not None:
        return mistake
    for pattern, rule in _RULES:
        matches = list(pattern.finditer(message))
        if matches:
            return rule(parsing, matches[-1], message)
    return ConfigError(message.strip().splitlines()[0] if message.strip() else "Invalid arguments")


def user_error_behind(cause: BaseException | None) -> UserError | None:
    """The first ``UserError`` in a chain of exceptions."""
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    return cause


def unknown_setting(parsing: Parsing, key: str, origin: Origin | None) -> ConfigError:
    """A key that no setting has."""
    origin = origin or Origin(plain_key(key), "", COMMAND_LINE)
    return origins.unknown_setting(
        origin,
        parsing.settings(origin.key),
        program=parsing.parser.prog,
        replaced=getattr(parsing.parser, "replaced", {}),
        elsewhere=getattr(parsing.parser, "elsewhere", {}),
    )


def scalar_for_group(parsing: Parsing, key: str, value: object) -> ConfigError:
    """One value given where a group of settings belongs."""
    inside = [name for name in list_settings(parsing.parser) if name.startswith(key + ".")]
    shown = join_names((name[len(key) + 1 :] for name in inside), limit=8)
    return ConfigError(
        f"{_label(find_origin(parsing.origins, key), key)} is a group of settings",
        got=value,
        allowed=shown,
        fix=f"Set one of them, such as --{inside[0]}." if inside else parsing.help_hint(),
    )


def _unrecognized(parsing: Parsing, match: re.Match[str], _: str) -> ConfigError:
    first = match["rest"].split(" ")[0]
    key, equals, _value = first.lstrip("-").partition("=")
    if first.startswith("--"):
        return unknown_setting(parsing, key, Origin(plain_key(key), "", COMMAND_LINE))
    if equals or first.startswith("-") or key in parsing.settings(key):
        advice = did_you_mean(key, parsing.settings(key), "--")
        return ConfigError("Options begin with two dashes", got=first, fix=advice or parsing.help_hint())
    return ConfigError(
        "Unexpected argument", got=match["rest"], fix="Options are written --name value; quote values that hold spaces."
    )


def _not_accepted(parsing: Parsing, match: re.Match[str], _: str) -> ConfigError:
    groups = match.groupdict()
    key = ".".join(part for part in (groups.get("group"), groups["key"]) if part)
    known = settings_with_defaults(parsing.parser)
    wrong = [origin for origin in parsing.origins if origin.key not in known]
    return unknown_setting(parsing, key, find_origin(wrong, key) or find_origin(parsing.origins, key))


def _required(parsing: Parsing, match: re.Match[str], message: str) -> ConfigError:
    # The parameter of a chosen class is named without its place, which is told before.
    above = [f"{plain_key(key)}." for key in _PARSER_KEY.findall(message[: match.start()])]
    names = ["".join([*above, name.strip()]) for name in match["names"].split(",")]
    expected = parsing.settings(names[0]).get(names[0])
    sample = (expected and expected.sample) or "VALUE"
    return ConfigError(
        f"Required: {join_names('--' + name for name in names)}",
        allowed=expected.words if expected else "",
        fix=f"Add --{names[0]} {sample}. {parsing.help_hint()}",
    )


def _without_value(parsing: Parsing, match: re.Match[str], _: str) -> ConfigError:
    option = match["option"].split("/")[-1].rstrip("+")
    if option in ("-c", "--config"):
        return ConfigError(f"{option} needs a file", fix=f"For example {option} configs/quickstart.yaml.")
    expected = parsing.settings(option.lstrip("-")).get(option.lstrip("-"))
    example = f"{option} {expected.sample}" if expected and expected.sample else f"{option} VALUE"
    words = expected.words if expected else ""
    if words.startswith("text"):
        example += f"; one that begins with a dash as {option}=-VALUE"
    return ConfigError(f"{option} needs a value", allowed=words, fix=f"For example {example}.")


def _wrong_value(parsing: Parsing, match: re.Match[str], message: str) -> ConfigError:
    given = _VALUE.findall(message)
    value = given[-1] if given else None
    below = [o for o in parsing.origins if o.key.startswith(plain_key(match["key"]) + ".")]
    if below and value is not None and value.startswith("NestedArg("):
        # A setting inside a value that has none, such as trainer.strategy.x beside the default "auto".
        return unknown_setting(parsing, below[-1].key, below[-1])
    origin = find_origin(parsing.origins, match["key"], value)
    key = origin.key if origin else plain_key(match["key"])
    expected = parsing.settings(key).get(key)
    stated = _EXPECTED.findall(message)
    words = expected.words if expected else (stated[-1] if stated else "")
    got = (origin.value if origin else "") or value or ""
    if expected is None and key in (parsing.parser.groups or {}):
        return scalar_for_group(parsing, key, got)
    advice = _near_class(expected, got) or _example(origin, key, expected, getattr(parsing.parser, "samples", {}))
    return ConfigError(f"{_label(origin, key)} does not accept this value", got=got, allowed=words, fix=advice)


def _near_class(expected: Expectation | None, value: str) -> str:
    if expected is None:
        return ""
    known = {name for cls in classes_in(expected.hint) for name in known_subclasses(cls)}
    return did_you_mean(value.rpartition(".")[2], known)


def _label(origin: Origin | None, key: str) -> str:
    if origin is None or origin.on_command_line:
        return f"--{key}"
    return f"{origin.variable} ({key})" if origin.variable else f"{key} in {origin.place}"


def _example(origin: Origin | None, key: str, expected: Expectation | None, samples: Mapping[str, str]) -> str:
    sample = "" if expected is None else samples.get(key) or expected.sample_near(origin.value if origin else "")
    if not sample:
        return ""
    if origin is None or origin.on_command_line:
        return f"For example --{key} {shlex.quote(sample)}."
    if origin.variable:
        return f"For example {origin.variable}={shlex.quote(sample)}."
    return f"For example {key.rpartition('.')[2]}: {sample}."


def _untrusted(parsing: Parsing, match: re.Match[str], _: str) -> ConfigError:
    name, entry = match["name"], match["entry"]
    origin = next((o for o in reversed(parsing.origins) if o.value == name), None)
    place = f"{_label(origin, origin.key)} names" if origin else "A setting names"
    if entry != "*":
        fix = "It can run programs, read or write files; call it from a module of your own instead."
        return ConfigError(f"{place} code that a setting may not run", got=name, fix=fix)
    return ConfigError(
        f"{place} code outside the trusted packages",
        got=name,
        allowed=join_names(trusted_packages()),
        fix=f"If you trust it, set {TRUST_VARIABLE}={name.partition('.')[0]}.",
    )


def _print_config(_parsing: Parsing, match: re.Match[str], _: str) -> ConfigError:
    fix = "Write --print_config alone to print everything."
    return ConfigError(
        "--print_config has no such flag", got=match["flag"], allowed="skip_default, skip_unset", fix=fix
    )


def _broken_yaml(_parsing: Parsing, match: re.Match[str], _: str) -> ConfigError:
    return ConfigError(f"A value is not acceptable YAML, {match['problem']}", fix="Write it on one line, or in a file.")


def _wrong_help(parsing: Parsing, match: re.Match[str], message: str) -> ConfigError:
    key, value = match["key"], message.strip().rpartition(" ")[2]
    expected = parsing.settings(key).get(key)
    return ConfigError(
        f"--{key}.help knows no such class",
        got=value,
        allowed=expected.words if expected else "",
        fix=_near_class(expected, value) or parsing.help_hint(),
    )


_VALUE = re.compile(
    r"(?:Got value: |Given value: |dot import path string: |Import path |class_path ')([^'\n]*?)(?:'|$| does not)", re.M
)
_PARSER_KEY = re.compile(r"Parser key \"([^\"]+)\"")
_EXPECTED = re.compile(r"Expected an? (?:<class ')?([^.'>\n]+)")

_Rule = Callable[[Parsing, "re.Match[str]", str], ConfigError]
_RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = (
    (re.compile(r"Importing '(?P<name>[^']+)' is not allowed, denied by the '(?P<entry>[^']+)'"), _untrusted),
    (re.compile(r"unrecognized arguments: (?P<rest>.*)"), _unrecognized),
    (re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<key>[^']+)'"), _not_accepted),
    (re.compile(r"(?:does not accept option|Option) '(?P<key>[^']+)'"), _not_accepted),
    (re.compile(r"arguments are required: (?P<names>.*)"), _required),
    (re.compile(r"argument (?P<option>[^:]+): expected (?:one|at least one) argument"), _without_value),
    (re.compile(r"Invalid option \"(?P<flag>[^\"]*)\" for --print_config"), _print_config),
    (re.compile(r"--(?P<key>\S+)\.help: "), _wrong_help),
    (re.compile(r"Problems parsing config: (?P<problem>.*)"), _broken_yaml),
    (re.compile(r"Parser key \"(?P<key>[^\"]+)\""), _wrong_value),
)

"""``gpt-lightning completion bash | zsh | fish``: a script that the shell reads once and then completes by itself.

The script holds every command, its options, the settings of the Trainer's commands with their dots, the classes that a
setting may name, and the configurations that come along; everything else is completed as a file. All of it is read in
the sources (``parsing.signatures``), so that a shell that starts waits for no torch.

    source <(gpt-lightning completion bash)
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from gpt_lightning.commands import COMMANDS, Command
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.presets import PRESETS
from gpt_lightning.parsing.shipped import shipped_files
from gpt_lightning.parsing.signatures import Parameter, read_parameters
from gpt_lightning.training.fitting.options import PACKAGE, class_settings, known_settings

_EVERYWHERE = ("--config", "--help")
_TRAINER = ("fit", "validate", "test", "predict")
_TAKES_SETTINGS = (*_TRAINER, "plot-schedule", "bench", "doctor")
_FURTHER = {"prepare": (PACKAGE / "data" / "prepare" / "prepare.py", "PrepareSettings")}
"""What a command takes as ``**settings``."""
_SHELLS = ("bash", "zsh", "fish")


def completion_command(shell: str) -> None:
    """Print a script that completes commands, options, settings and classes in a shell.

    Example: gpt-lightning completion bash

    Put this line where the shell starts: bash: source <(gpt-lightning completion bash) in ~/.bashrc; zsh: the same with
    zsh, in ~/.zshrc behind compinit; fish: gpt-lightning completion fish | source in ~/.config/fish/config.fish.

    Args:
        shell: bash, zsh or fish.

    Raises:
        ConfigError: There is no such script.
    """
    if shell not in _SHELLS:
        raise ConfigError("No completion for this shell", got=shell, allowed=", ".join(_SHELLS))
    sys.stdout.write(_fish_script() if shell == "fish" else _bash_script(zsh=shell == "zsh"))


def options_of(name: str) -> list[str]:
    """The options of a command, its settings left out, each with its dashes."""
    command = COMMANDS[name]
    path = _source(command)
    text = path.read_text(encoding="utf-8")
    functions = [command.attribute] if command.typed else re.findall(r"run_command\((\w+)", text)
    found = [option for function in functions for option in read_parameters(path, function)]
    if name in _TRAINER or name.startswith("app "):  # their modules import torch
        found = re.findall(r'"--(\w+)"', text)
    elif not functions:  # its parser is made when it is called
        found = re.findall(r"^ +(?:-.*, )?--(\w+)", _help(name, command), flags=re.MULTILINE)
    found += read_parameters(*_FURTHER[name]) if name in _FURTHER else ()
    return list(dict.fromkeys([*(f"--{option}" for option in found), *_EVERYWHERE]))


def settings_of(name: str) -> list[str]:
    """The settings that a command takes, and the arguments of the classes that they may name."""
    if name not in _TAKES_SETTINGS:
        return []
    settings, classes = _settings(name if name in _TRAINER else "fit")
    arguments = {f"{key}.{each}" for key, known in classes.items() for kind in known.values() for each in kind}
    keys = (*settings, *sorted(arguments - settings.keys()))
    return [f"--{key}" for key in keys if key != "config"]


def values_of() -> dict[str, list[str]]:
    """What may stand behind a setting, where that is a choice: classes, presets, true or false, configurations."""
    settings, classes = _settings("predict")
    fit, _ = _settings("fit")
    values = {f"--{key}": ["false", "true"] for key, each in {**settings, **fit}.items() if each.hint == "bool"}
    values |= {f"--{key}": sorted(known) for key, known in classes.items()}
    configs = [Path(name).stem for name in shipped_files() if name.startswith("configs/")]
    return values | {"--preset": list(PRESETS), "--config": configs, "--resume": ["auto"]}


@cache
def _settings(command: str) -> tuple[dict[str, Parameter], dict[str, dict[str, Mapping[str, Parameter]]]]:
    settings = known_settings(command)
    return settings, class_settings(settings)


def _source(command: Command) -> Path:
    spec = importlib.util.find_spec(command.module)
    if spec is None or spec.origin is None:
        raise LookupError(f"{command.module} has no source")
    return Path(spec.origin)


def _help(name: str, command: Command) -> str:
    """What a command that parses by itself prints; it ends its process behind that."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        getattr(importlib.import_module(command.module), command.attribute)(name, ["--help"])
    return printed.getvalue()


def _words() -> dict[str, list[str]]:
    """The beginning of a command -> the words that may follow it."""
    found: dict[str, list[str]] = {}
    for name in COMMANDS:
        words = name.split()
        for count in range(len(words)):
            following = found.setdefault(" ".join(words[:count]), [])
            if words[count] not in following:
                following.append(words[count])
    return found


_BASH = """\
_gpt_lightning() {
    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" name="" found="" word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$word" in -*) break ;; esac
        case "$name $word" in
            NAMES) name="${name:+$name }$word" ;;
            *) break ;;
        esac
    done
    case "$before" in
VALUES
    esac
    if [ -z "$found" ]; then
        case "$current" in
            -*) case "$name" in
OPTIONS
                esac ;;
            *) case "$name" in
WORDS
                esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$found" -- "$current"))
    case "$current" in -*) ;; *) COMPREPLY+=($(compgen -f -- "$current")) ;; esac
}
complete -o filenames -F _gpt_lightning gpt-lightning
"""


def _bash_script(*, zsh: bool) -> str:
    beginnings = {" ".join(name.split()[:count]) for name in COMMANDS for count in range(1, len(name.split()) + 1)}
    names = "|".join(sorted(shlex.quote(_before_last(each)) for each in beginnings))
    options = {name: [*options_of(name), *settings_of(name)] for name in COMMANDS}
    parts = {
        "NAMES": names,
        "VALUES": _cases({key: words for key, words in values_of().items() if words}, 8),
        "OPTIONS": _cases(options, 16),
        "WORDS": _cases(_words(), 16),
    }
    script = re.sub(r"\b[A-Z]{5,}\b(?=\)|$)", lambda found: parts.get(found[0], found[0]), _BASH, flags=re.MULTILINE)
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if zsh else script


def _before_last(name: str) -> str:
    """How the loop of the script meets a word: what came before it, a space, the word."""
    before, _, last = name.rpartition(" ")
    return f"{before} {last}"


def _cases(table: Mapping[str, list[str]], indent: int) -> str:
    """Rows of a ``case``; those that say the same are one."""
    rows: dict[str, list[str]] = {}
    for key, words in table.items():
        rows.setdefault(" ".join(words), []).append(shlex.quote(key))
    return "\n".join(f"{'':{indent}}{'|'.join(keys)}) found={shlex.quote(words)} ;;" for words, keys in rows.items())


_FISH = """\
function __gpt_lightning_words
    set -l words (commandline -opc)
    set -e words[1]
    echo "$words"
end
complete -c gpt-lightning -e
"""


def _fish_script() -> str:
    values, lines = values_of(), [_FISH.rstrip()]
    for before, words in _words().items():
        condition = f'test (__gpt_lightning_words) = "{before}"'
        lines.append(f"complete -c gpt-lightning -f -n {shlex.quote(condition)} -a {shlex.quote(' '.join(words))}")
    for name in COMMANDS:
        condition = shlex.quote(f'string match -q -- "{name} *" (__gpt_lightning_words)" "')
        for option in [*options_of(name), *settings_of(name)]:
            choice = f" -x -a {shlex.quote(' '.join(values[option]))}" if values.get(option) else ""
            lines.append(f"complete -c gpt-lightning -n {condition} -l {option.removeprefix('--')}{choice}")
    return "\n".join(lines) + "\n"

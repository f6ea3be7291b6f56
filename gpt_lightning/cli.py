"""The ``gpt-lightning`` program: each row of ``commands`` imports its package only when it is called.

Only the standard library is imported here, so that ``--help`` and a misspelt command answer at once. A ``UserError``
becomes one line and its exit code; anything else is a bug of ours and keeps its traceback.

    0 done . 1 a bug . 2 arguments or settings . 3 data, checkpoint or run folder . 4 training had to stop
    130 interrupted, after saving . 141 the reader of our output went away . 143 stopped by another signal, after saving
"""

from __future__ import annotations

import atexit
import codecs
import gc
import importlib
import io
import os
import shutil
import sys
import tempfile
from types import ModuleType
from typing import TextIO

from gpt_lightning.commands import COMMANDS, ELSEWHERE, EXAMPLES

_PROGRAM = "gpt-lightning"
_CONFIG_OPTIONS = ("-c", "--config")
_NEAREST = "gpt_lightning.nearest"
_SIGNS = {
    **dict(zip("─━│┤└·…±", "-=||+-~~", strict=True)),
    **dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True)),
    **{chr(code): "*" for code in range(0x2801, 0x2900)},  # braille: the dots of a curve
}
"""What tables, bars and curves are drawn with -> ASCII of the same width."""


def console() -> None:
    """Entry point of the console script."""
    # Large tensors on pages of 2 MB (Linux, read by torch at its first allocation): a decoder that reads all weights
    # for every token was 4 to 12 % faster. Set it to 0 to do without.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _prepare_streams()
    sys.exit(main())


def _prepare_streams() -> None:
    """Standard output and error that take every text: a finished training does not fail because nobody can read it."""
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:  # closed by whoever started us; the next file that is opened would take its place
        null = os.dup(null)
    os.close(null)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NEAREST)


def _spell_nearest(problem: UnicodeError) -> tuple[str, int]:
    """What stands for characters that the terminal's encoding lacks: of a drawing the likest sign, else the number."""
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    missing = problem.object[problem.start : problem.end]
    spelt = [_SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode("ascii") for sign in missing]
    return "".join(spelt), problem.end


codecs.register_error(_NEAREST, _spell_nearest)


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; None = those of the process.

    Returns:
        The exit code.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in args
    args = [arg for arg in args if arg != "--traceback"]
    from gpt_lightning.errors import StopRequested, UserError

    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except UserError as problem:
        if show_traceback:
            _print_traceback()
        return _complain(f"error: {problem}", problem.exit_code)
    except StopRequested as stop:
        return _complain(str(stop), stop.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        # `generate ... | head`. Python would complain once more while it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as problem:
        if problem.filename is not None or not _is_stuck(sys.stdout):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain(f"error: standard output cannot be written: {problem.strerror}.", 3)
    except SystemExit as end:
        # argparse ends the process after --help and --print_config.
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _run(args: list[str]) -> int:
    """One command; memory that does not suffice is an error of the user's, who chose the sizes."""
    from gpt_lightning.errors import explain_memory

    try:
        return _dispatch(args)
    except (MemoryError, RuntimeError) as error:
        problem = explain_memory(error, "Lower the sizes that you have set, or close what else runs here.")
        if problem is None:
            raise
        raise problem from error


def show_versions() -> None:
    """Show the versions of gpt_lightning, Python, torch and Lightning, and the platform.

    Example: gpt-lightning version
    """
    import platform
    from importlib.metadata import PackageNotFoundError, version

    sys.stdout.write(f"gpt_lightning {_own_version()}\npython {platform.python_version()}\n")
    for package in ("torch", "lightning"):
        # Read from the metadata: importing them to ask would take seconds.
        try:
            sys.stdout.write(f"{package} {version(package)}\n")
        except PackageNotFoundError:
            sys.stdout.write(f"{package} not installed\n")
    sys.stdout.write(f"platform {platform.platform()}\n")


def _dispatch(args: list[str]) -> int:
    from gpt_lightning.parsing.shipped import resolve_arguments

    config, rest = _split_config(resolve_arguments(_keep_pipes(args)))
    if config and not rest:
        return _complain(f"error: {config[0]} needs a command. Write {_PROGRAM} fit {' '.join(config)}", 2)
    if not rest or rest[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help_text())
        return 0
    name, rest = _split_name(rest)
    if name in ("-V", "--version"):
        sys.stdout.write(f"{_PROGRAM} {_own_version()}\n")
        return 0
    noun, _, last = name.rpartition(" ")
    if noun and last in ("-h", "--help", "help") and not (name in COMMANDS and rest):
        text = _noun_help_text(noun)
        if text:
            sys.stdout.write(text)
            return 0
    if name not in COMMANDS:
        return _refuse(name)
    command = COMMANDS[name]
    if command.typed:
        from gpt_lightning.parsing.front import answer_early

        page = answer_early(name, command.module, command.attribute, [*config, *rest])
        if page is not None:
            sys.stdout.write(page)
            return 0
    function = getattr(_import_package(command.module), command.attribute)
    if not command.typed:
        result = function(name, [*config, *rest])
    else:
        from gpt_lightning.parsing.command import run_command

        # A leading argument belongs to the command; what was moved comes behind it.
        result = run_command(function, [*rest, *config], f"{_PROGRAM} {name}")
    return result if isinstance(result, int) else 0


def _keep_pipes(args: list[str]) -> list[str]:
    """Config files that can be read but once (``<(...)``, ``/dev/stdin``) as files that stay until we end.

    Settings are read several times, and by every process that the Trainer launches with this process's own command.
    """
    kept = list(args)
    for number, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option not in _CONFIG_OPTIONS:
            continue
        place, value = (number, value) if equals else (number + 1, "".join(args[number + 1 : number + 2]))
        if not value or not os.path.exists(value) or os.path.isfile(value) or os.path.isdir(value):
            continue
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        file = os.path.join(folder, "pipe.yaml")
        with open(value, "rb") as pipe, open(file, "wb") as copy:
            shutil.copyfileobj(pipe, copy)
        kept[place] = f"{option}={file}" if equals else file
        sys.argv = [kept[place] if each == args[place] else each for each in sys.argv]
    return kept


def _import_package(name: str) -> ModuleType:
    """Import a command's module; in the seconds that Lightning takes, a fifth would be the garbage collector's."""
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.enable()


def _split_config(args: list[str]) -> tuple[list[str], list[str]]:
    """Config options before the command, and the rest."""
    config: list[str] = []
    rest = list(args)
    while rest and rest[0].partition("=")[0] in _CONFIG_OPTIONS:
        taken = 1 if "=" in rest[0] else 2
        config, rest = config + rest[:taken], rest[taken:]
    return config, rest


def _split_name(args: list[str]) -> tuple[str, list[str]]:
    """The command's name of one to three words, and its arguments.

    Where none fits, the name goes as far as the first word that leads to no command, for the message.
    """
    for count in (3, 2, 1):
        if " ".join(args[:count]) in COMMANDS:
            return " ".join(args[:count]), args[count:]
    count = 1
    while count < len(args) and any(name.startswith(f"{' '.join(args[:count])} ") for name in COMMANDS):
        count += 1
    return " ".join(args[:count]), args[count:]


def _refuse(name: str) -> int:
    from gpt_lightning.parsing.suggest import did_you_mean

    if name.startswith("-"):
        return _complain(f"error: {name} comes before the command. Write {_PROGRAM} COMMAND {name} ...", 2)
    longer = [known for known in COMMANDS if known.startswith(f"{name} ")]
    if longer:
        which = "third" if " " in name else "second"
        return _complain(f"error: {name} needs a {which} word. Write {_PROGRAM} {f', {_PROGRAM} '.join(longer)}.", 2)
    meant = ELSEWHERE.get(name.lower())
    advice = f"Did you mean {_PROGRAM} {meant}?" if meant else did_you_mean(name, COMMANDS, f"{_PROGRAM} ")
    advice = advice or f"See {_PROGRAM} --help."
    return _complain(f"error: There is no command {name!r} (allowed: {', '.join(COMMANDS)}). {advice}", 2)


def _noun_help_text(noun: str) -> str:
    """The commands that begin with a word; empty where there are none."""
    found = {name: command.help for name, command in COMMANDS.items() if name.startswith(f"{noun} ")}
    width = max(map(len, found), default=0)
    lines = [
        f"usage: {_PROGRAM} {noun} COMMAND ...",
        "",
        *(f"  {name:<{width}}  {text}" for name, text in found.items()),
    ]
    lines += ["", f"Each has its own help: {_PROGRAM} {next(iter(found), noun)} --help.", ""]
    return "\n".join(lines) if found else ""


def _help_text() -> str:
    lines = [f"usage: {_PROGRAM} COMMAND [--config FILE] [--setting VALUE ...]", ""]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines.append(f"{group}:")
        lines += [f"  {name:<15} {command.help}" for name, command in COMMANDS.items() if command.group == group]
        lines.append("")
    lines += ["Examples:", *(f"  {example}" for example in EXAMPLES), ""]
    lines += [
        "Every command has --help, --config FILE (several merge, later wins) and --print_config.",
        "Environment variables set defaults: GPT_LIGHTNING_TRAINER__MAX_STEPS=500.",
        "--traceback shows where an error arose.",
        "",
    ]
    return "\n".join(lines)


def _own_version() -> str:
    from gpt_lightning._version import __version__

    return __version__


def _complain(text: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(" ".join(text.split()) + "\n")
    return code


def _is_stuck(stream: TextIO) -> bool:
    """Whether nothing that is written to a stream gets out."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return False
    try:
        os.write(number, b"\n")
    except OSError:
        return True
    return False


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()

"""The ``gpt-lightning`` program: a table of commands, each of which imports its room only when it is called.

Only the standard library is imported here, so that ``--help`` and a misspelt command answer at once. A ``UserError``
becomes one line and its exit code; anything else is a bug of ours and keeps its traceback.

    0 done . 1 a bug . 2 arguments or settings . 3 data, checkpoint or run folder . 4 training had to stop
    130 interrupted, after saving . 141 the reader of our output went away . 143 stopped by another signal, after saving
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from types import ModuleType
from typing import TextIO

_PROGRAM = "gpt-lightning"
_CONFIG_OPTIONS = ("-c", "--config")


@dataclass(frozen=True)
class Command:
    """A row of the table.

    Attributes:
        module: Where the command lives.
        attribute: A typed function whose parameters are the options; for the Trainer's commands a function that
            takes (command, arguments).
        help: One line.
        group: Heading under which ``--help`` lists it.
        typed: Whether ``attribute`` is a typed function.
    """

    module: str
    attribute: str
    help: str
    group: str
    typed: bool = True


_STORES = ("gpt_lightning.data.commands.stores",)
_EVALUATION = "gpt_lightning.evaluation"
_TRAINER = ("gpt_lightning.training.fitting.front", "front_command")

# A name may have two words: a noun with several commands, and what to do with it.
COMMANDS = {
    "prepare": Command(
        "gpt_lightning.data.commands.prepare", "prepare_command", "Turn text into a store of tokens.", "Data"
    ),
    "data info": Command(*_STORES, "info_command", "What is in a prepared store.", "Data"),
    "data verify": Command(*_STORES, "verify_command", "Read a store and compare every checksum.", "Data"),
    "data head": Command(*_STORES, "head_command", "Show the first documents of a store as text.", "Data"),
    "data sample": Command(*_STORES, "sample_command", "Show training windows of a store as text.", "Data"),
    "tokenizer train": Command(
        "gpt_lightning.data.commands.tokenizer", "tokenizer_train", "Learn a vocabulary from text.", "Data", typed=False
    ),
    "fit": Command(*_TRAINER, "Train a model, or go on with a run (--resume auto).", "Training", typed=False),
    "validate": Command(*_TRAINER, "Measure the loss on the validation split.", "Training", typed=False),
    "test": Command(*_TRAINER, "Measure the loss on the test split.", "Training", typed=False),
    "predict": Command(
        *_TRAINER,
        "Score every window of a split, or answer a file of prompts, on all devices.",
        "Training",
        typed=False,
    ),
    "plot-schedule": Command(
        "gpt_lightning.training.profiling.plot_schedule",
        "plot_schedule_command",
        "Draw the learning rate of one or several configurations.",
        "Training",
        typed=False,
    ),
    "bench": Command(
        "gpt_lightning.training.profiling.bench",
        "bench_command",
        "Measure the training step here, and say what to change.",
        "Training",
        typed=False,
    ),
    **{
        f"sweep {name}": Command("gpt_lightning.tuning.commands", "sweep_command", text, "Sweeps", typed=False)
        for name, text in {
            "run": "Run many trials of a sweep file, or go on with them.",
            "validate": "Try every key of a sweep file before trial 1.",
            "worker": "Add a worker to a sweep.",
            "status": "Show the trials of a sweep.",
            "stop": "Let all workers of a sweep save and end.",
            "retry": "Let failed trials run again.",
            "best": "Write the configuration of the best trial.",
            "export": "Write all trials as a table.",
            "dashboard": "Start optuna-dashboard on a sweep.",
            "fsck": "Look for damage in a sweep's storage.",
        }.items()
    },
    "sweep ladder": Command(
        "gpt_lightning.tuning.scaling.ladder",
        "ladder_command",
        "Small models of several sizes: laws, and settings for a larger one.",
        "Sweeps",
    ),
    "sweep transfer": Command(
        "gpt_lightning.tuning.scaling.transfer",
        "transfer_command",
        "Tune a small model and measure what its settings cost a larger one.",
        "Sweeps",
    ),
    "sweep report": Command(
        "gpt_lightning.tuning.report.report_command",
        "report_command",
        "What a sweep has found, as a page and as Markdown.",
        "Sweeps",
    ),
    "doctor": Command(
        "gpt_lightning.training.profiling.doctor",
        "doctor_command",
        "Check a run before it starts: data, memory, time, disk.",
        "Training",
        typed=False,
    ),
    "runs list": Command(
        "gpt_lightning.monitoring.listing", "list_command", "Which runs there are, and how they stand.", "Runs"
    ),
    "runs show": Command("gpt_lightning.monitoring.listing", "show_command", "One run in full.", "Runs"),
    "runs compare": Command(
        "gpt_lightning.monitoring.comparing", "compare_command", "What differs between runs, and what it did.", "Runs"
    ),
    "runs plot": Command(
        "gpt_lightning.monitoring.plotting", "plot_command", "Draw curves of runs in the terminal.", "Runs"
    ),
    "runs report": Command(
        "gpt_lightning.monitoring.reporting",
        "report_command",
        "Write an HTML report of runs that opens offline.",
        "Runs",
    ),
    "monitor": Command(
        "gpt_lightning.tracking.serving",
        "monitor_command",
        "Show runs in TensorBoard, on this machine alone.",
        "Training",
    ),
    "generate": Command(
        "gpt_lightning.generation.command", "generate_command", "Continue a prompt, or a file of them.", "Using a model"
    ),
    "chat": Command("gpt_lightning.generation.chat_command", "chat_command", "Talk with a model.", "Using a model"),
    "evaluate ppl": Command(
        f"{_EVALUATION}.ppl_command", "ppl_command", "Perplexity and bits per byte on texts.", "Measuring a model"
    ),
    "evaluate tasks": Command(
        f"{_EVALUATION}.tasks_command", "tasks_command", "Benchmarks: choices, labels, cloze ...", "Measuring a model"
    ),
    "evaluate lm-eval": Command(
        f"{_EVALUATION}.lm_eval_command", "lm_eval_command", "Tasks of lm-evaluation-harness.", "Measuring a model"
    ),
    "evaluate compare": Command(
        f"{_EVALUATION}.compare_command", "compare_command", "Two models on the same items.", "Measuring a model"
    ),
    "evaluate contamination": Command(
        f"{_EVALUATION}.contamination_command",
        "contamination_command",
        "Is a benchmark in the training text?",
        "Measuring a model",
    ),
    "evaluate list": Command(
        f"{_EVALUATION}.tasks_command", "list_command", "The benchmarks that come along.", "Measuring a model"
    ),
    "evaluate text": Command(
        f"{_EVALUATION}.text_command", "text_command", "Texts against references: BLEU, ROUGE ...", "Measuring a model"
    ),
    "import": Command(
        "gpt_lightning.weights.command",
        "import_model",
        "Read a GPT-2, Llama or Qwen3 of other libraries.",
        "Using a model",
    ),
    "export": Command(
        "gpt_lightning.weights.command",
        "export_command",
        "Write a model for transformers and vLLM, or pieces as one.",
        "Using a model",
        typed=False,
    ),
    "version": Command("gpt_lightning.cli", "show_versions", "Show what is installed.", "About"),
}

_ALIASES = {
    "fit": "train pretrain training run start resume continue",
    "fit --init_from RUN": "finetune fine-tune",
    "generate": "sample complete completion inference infer prompt text write",
    "validate": "eval val validation loss",
    "evaluate ppl": "perplexity ppl",
    "evaluate tasks": "benchmark benchmarks tasks score lm-eval lm_eval",
    "monitor": "tensorboard board watch dashboard",
    "prepare": "tokenize preprocess encode dataset",
    "tokenizer train": "bpe vocab vocabulary",
    "sweep run": "tune hpo optimize search grid",
    "runs list": "list ls history",
    "runs compare": "compare diff",
    "runs plot": "plot curves",
    "runs report": "report",
    "doctor": "check memory dry-run dryrun estimate",
    "bench": "profile speed timing",
    "import": "convert load from_pretrained",
    "export": "save convert-to-hf publish upload",
    "plot-schedule": "schedule lr",
    "version": "info about",
}
_ELSEWHERE = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}
"""What a newcomer may type -> the command, and perhaps an option."""

_EXAMPLES = (
    "gpt-lightning fit --config configs/quickstart.yaml",
    "gpt-lightning fit --config configs/quickstart.yaml --data.source my.txt --trainer.max_steps 500",
    'gpt-lightning generate runs/quickstart-1 --prompt "Once upon a time"',
)


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
            # A character that the terminal's encoding lacks is shown by its number.
            stream.reconfigure(errors="backslashreplace")


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
    config, rest = _split_config(_keep_pipes(args))
    if config and not rest:
        return _complain(f"error: {config[0]} needs a command. Write {_PROGRAM} fit {' '.join(config)}", 2)
    if not rest or rest[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help_text())
        return 0
    name, rest = _split_name(rest)
    if name in ("-V", "--version"):
        sys.stdout.write(f"{_PROGRAM} {_own_version()}\n")
        return 0
    noun, _, second = name.partition(" ")
    if second in ("-h", "--help", "help") or (not second and name not in COMMANDS and rest in (["-h"], ["--help"])):
        text = _noun_help_text(noun)
        if text:
            sys.stdout.write(text)
            return 0
    if name not in COMMANDS:
        return _refuse(name)
    command = COMMANDS[name]
    function = getattr(_import_room(command.module), command.attribute)
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


def _import_room(name: str) -> ModuleType:
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
    """The command's name of one or two words, and its arguments.

    A noun with a second word that is none of its commands is returned with that word, for the message.
    """
    pair = " ".join(args[:2])
    is_noun = any(name.startswith(f"{args[0]} ") for name in COMMANDS)
    if pair in COMMANDS or (is_noun and args[0] not in COMMANDS):
        return pair, args[2:]
    return args[0], args[1:]


def _refuse(name: str) -> int:
    from gpt_lightning.parsing.suggest import did_you_mean

    if name.startswith("-"):
        return _complain(f"error: {name} comes before the command. Write {_PROGRAM} COMMAND {name} ...", 2)
    seconds = [known for known in COMMANDS if known.startswith(f"{name} ")]
    if seconds:
        return _complain(f"error: {name} needs a second word. Write {_PROGRAM} {f', {_PROGRAM} '.join(seconds)}.", 2)
    meant = _ELSEWHERE.get(name.lower())
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
    lines += ["Examples:", *(f"  {example}" for example in _EXAMPLES), ""]
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

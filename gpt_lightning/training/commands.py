"""fit, validate, test and predict as typed on the command line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from gpt_lightning.checkpoints.checkpoint_dir import locate
from gpt_lightning.checkpoints.durable import read_manifest
from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.command import check_files
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.classifier import label_file, load_classifier
from gpt_lightning.training.engine.processes import process_rank
from gpt_lightning.training.fitting.build import build_bare_trainer, build_parsed
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.fitting.predict_texts import PLACES, answer_prompts
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.fitting.summary import describe_result
from gpt_lightning.training.modules.adapting import refuse_baseless
from gpt_lightning.training.profiling.doctor import examine
from gpt_lightning.training.runs.run_folder import CONFIG_FILE
from gpt_lightning.training.runs.settings import RunSettings
from gpt_lightning.training.runs.start import check_start
from gpt_lightning.weights.hub import is_foreign


def trainer_command(command: str, args: Sequence[str]) -> int:
    """Parse, build and run one of the four Trainer commands; results go to standard output.

    Args:
        command: fit, validate, test or predict.
        args: What follows it.

    Returns:
        The exit code: 0, or that of ``doctor`` with --dry_run.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("gpt_lightning").setLevel(logging.INFO)
    line = TrainerCommandLine(command, _with_own_config(list(args)))
    config = line.config
    if command == "fit":
        _check_beginning(config.resume, config.init_from, config.model.adaptation)
        if config.dry_run:
            return examine([arg for arg in args if arg != "--dry_run"])
        check_start(RunSettings(**config.run.as_dict()), config.resume)
        _fit(build_parsed(line), config.resume, [str(file) for file in config.get("config") or []])
        return 0
    if config.checkpoint is None:
        raise ConfigError(
            f"{command} needs a trained model", fix=f"gpt-lightning {command} --checkpoint runs/quickstart-1"
        )
    if command == "predict" and _asks_for_texts(
        config.generate.as_dict(), line.parser.get_defaults().generate.as_dict()
    ):
        _say(f"{_answer(line)}\n")
    else:
        locate(config.checkpoint)  # before minutes are spent on preparing text
        _evaluate(build_parsed(line), command, config.checkpoint)
    return 0


def _answer(line: TrainerCommandLine) -> str:
    """Texts of a file labelled by a model with a head, or continued by any other."""
    given, checkpoint, trainer = (
        line.config.generate.as_dict(),
        line.config.checkpoint,
        build_bare_trainer(line, PLACES),
    )
    if is_foreign(checkpoint) or "use" not in read_manifest(locate(checkpoint))["facts"]:
        return answer_prompts(trainer, checkpoint, given)
    classifier = load_classifier(checkpoint, device=str(trainer.strategy.root_device))
    count = label_file(classifier, Path(given["input"]), Path(given["output"]))
    return f"{count:,} {'text' if count == 1 else 'texts'} labelled: {given['output']}"


def _asks_for_texts(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    """Whether ``predict`` is to answer prompts; without, it scores the windows of a split."""
    check_files(given)
    if given["input"] is not None:
        return True
    changed = {f"generate.{name}": value for name, value in given.items() if value != defaults[name]}
    if changed:
        raise ConfigError(
            "These are settings of texts, and there are no prompts",
            got=changed,
            fix="Say --generate.input prompts.jsonl --generate.output texts.jsonl, or leave them out.",
        )
    return False


def _check_beginning(resume: str, init_from: str | None, adaptation: Namespace | None) -> None:
    """A run begins with given weights or goes on with its own; ``auto`` does whichever applies."""
    if adaptation is not None and init_from is None and resume == "never":
        raise refuse_baseless(adaptation.class_path.rpartition(".")[2])
    if init_from is not None and resume not in ("never", "auto"):
        raise ConfigError(
            "--init_from starts a new run, --resume PATH goes on with an old one",
            got={"init_from": init_from, "resume": resume},
            allowed="one of them",
            fix="Leave out the one you do not mean.",
        )


def _with_own_config(args: list[str]) -> list[str]:
    """Without ``--config``, a run that is resumed or evaluated brings its own."""
    if any(arg.split("=")[0] in ("-c", "--config") for arg in args):
        return args
    for index, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name in ("--checkpoint", "--resume"):
            value = value if equals else next(iter(args[index + 1 :]), "")
            if value and value not in ("auto", "never") and not is_foreign(value):
                own = locate(value, prefer="last").parent.parent / CONFIG_FILE
                return [f"--config={own}", *args] if own.exists() else args
    return args


def _fit(run: Run, resume: str, config_files: list[str]) -> None:
    _say(_headline(run))
    vocab_size, block_size = run.module.config.data_sizes()
    unnamed = run.module.config == GPTConfig().complete(vocab_size=vocab_size, block_size=block_size)
    if unnamed and not config_files and run.trainer.strategy.root_device.type == "cpu":
        _say("That is GPT-2, since no architecture was named: days on a CPU. A small one: --preset modern-nano.\n")
    result = run.fit(resume)
    if process_rank() == 0:
        sys.stdout.write(describe_result(run, result, config_files))


def _headline(run: Run) -> str:
    horizon, store = run.plan.horizon, run.datamodule.open_store()
    full = f"{horizon.tokens_per_step:,}"
    size = full if horizon.batch_sizes is None else f"{horizon.batch_sizes.tokens[0]:,} to {full}"
    if run.datamodule.on_the_fly:
        data = "data on the fly"
    else:
        val = store.split("val").num_tokens if run.datamodule.has_validation() else 0
        data = f"data {store.split('train').num_tokens:,} train and {f'{val:,}' if val else 'no'} validation tokens"
    length = f"{horizon.total_steps:,} steps of {size} tokens"
    return f"model {run.module.config.num_parameters:,} parameters | {data} | {length}\n"


def _evaluate(run: Run, command: str, checkpoint: str) -> None:
    if command == "predict":
        path = locate(checkpoint)
        output = run.predict(path, path.parent.parent / "predictions.jsonl")
        _say(f"{output}\n")
        return
    results: dict[str, Any] = run.validate(checkpoint) if command == "validate" else run.test(checkpoint)
    _say("".join(f"{name:<20} {value:.6f}\n" for name, value in results.items()))


def _say(text: str) -> None:
    if process_rank() == 0:
        sys.stdout.write(text)
        sys.stdout.flush()

"""The LightningCLI of fit, validate, test and predict: arguments in, one checked configuration out.

It only parses. Building and running is ``training.run``, the same for the command line, sweeps, tests and notebooks;
LightningCLI's own subcommands are not used, because a configuration without a subcommand level is one file that all
four commands read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.command import generate_command
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.presets import PRESETS
from gpt_lightning.parsing.origins import Origin
from gpt_lightning.parsing.parser import StrictParserMixin
from gpt_lightning.training.consent import OPTION
from gpt_lightning.training.datamodule import TokenDataModule
from gpt_lightning.training.module import GPTModule
from gpt_lightning.training.monitor import Monitor
from gpt_lightning.training.settings import RunSettings
from gpt_lightning.weights.starting import read_initial_settings

_REPLACED = {
    "val_check_interval": "--run.validate_every 100 (steps, tokens or a share of the run)",
    "check_val_every_n_epoch": "--run.validate_every 100 (steps, tokens or a share of the run)",
    "limit_train_batches": "--trainer.max_steps",
    "overfit_batches": "a small --data.source",
    "fast_dev_run": "--trainer.max_steps 2 --trainer.limit_val_batches 2 --run.dir SCRATCH_FOLDER",
    "reload_dataloaders_every_n_epochs": "nothing: the order of samples is a function of the seed",
    "barebones": "--trainer.logger false --run.sample_tokens 0",
    "gradient_clip_algorithm": "nothing: gradients are clipped by their norm",
    "num_sanity_val_steps": "nothing: the data are checked before training starts",
    "min_epochs": "--trainer.min_steps",
    "enable_checkpointing": "--run.save_every '100%' (a run always saves its last step)",
    "enable_model_summary": "nothing: the first line says how large the model is",
    "default_root_dir": "--run.dir",
    "use_distributed_sampler": "nothing: every process takes its share of the stream",
    "enable_autolog_hparams": "nothing: config.yaml in the run folder holds every setting",
    "model_registry": "nothing: a run folder is loaded by its path",
}
"""Trainer options that this platform answers in its own way, and what to write instead."""


_SIZES_OF_DATA = ("vocab_size", "block_size")
_NOT_FOR_FILES: set[str | int] = {"checkpoint", "prompt", "beams", "length_penalty", "prefer", "device"}
"""Of ``generate``, what a file of prompts answered by a Trainer's devices does not need."""


class TrainerParser(StrictParserMixin, LightningArgumentParser):
    """LightningCLI's parser with our errors."""

    replaced: ClassVar[Mapping[str, str]] = {f"trainer.{name}": instead for name, instead in _REPLACED.items()}

    def prepare_defaults(self, given: Sequence[Origin]) -> None:
        """A preset, or what a run starts from, moves the defaults, so that single settings can still be set."""
        preset, source = (_last_given(given, key) for key in ("preset", "init_from"))
        if preset and source:
            raise ConfigError(
                "--preset and --init_from both say the architecture",
                got={"preset": preset, "init_from": source},
                allowed="one of them",
                fix="Leave out --preset: weights bring their own.",
            )
        if preset:
            values = GPTConfig.preset(preset).to_dict()
            # Sizes that belong to the data are still taken from them: a preset fits any tokenizer.
            self.set_defaults(
                {f"model.config.{name}": value for name, value in values.items() if name not in _SIZES_OF_DATA}
            )
        if source:
            self.set_defaults(read_initial_settings(source))


def _last_given(given: Sequence[Origin], key: str) -> str | None:
    values = [origin.value.strip("'\"") for origin in given if origin.key == key]
    return values[-1] if values and values[-1] not in ("", "null") else None


class TrainerCommandLine(LightningCLI):
    """Parses one of the four Trainer commands; ``config`` holds the result.

    Args:
        command: fit, validate, test or predict.
        args: What follows the command.
        typed: Whether somebody typed or programmed the arguments; otherwise they come from a file, as those of a sweep
            do, and may run and send nothing without consent (``training.consent``).
    """

    def __init__(self, command: str, args: Sequence[str], *, typed: bool = True) -> None:
        self.command, self.typed = command, typed
        super().__init__(
            GPTModule,
            TokenDataModule,
            save_config_callback=None,
            parser_class=TrainerParser,
            parser_kwargs=_parser_options(command),
            args=list(args),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed for weights, order of samples, dropout and masking."""
        parser.add_argument(
            "--seed_everything", type=int, default=1337, help="Seed of weights, order of samples and dropout."
        )

        parser.add_argument(
            "--preset",
            type=str | None,
            default=None,
            help=f"A known architecture, of which entries of model.config change single fields: {', '.join(PRESETS)}.",
        )
        parser.add_argument(
            f"--{OPTION}",
            type=str,
            default="",
            help="Classes that may run a program or send something to another machine although a file names them, such "
            "as Command,Webhook,WandB; all = any. Has no effect inside a file.",
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What a newcomer sets first comes first; Trainer options that we replace are left out."""
        parser.add_lightning_class_args(GPTModule, "model")
        parser.add_lightning_class_args(TokenDataModule, "data")
        parser.add_class_arguments(RunSettings, "run")
        parser.add_class_arguments(Monitor, "monitor")
        parser.add_class_arguments(Trainer, "trainer", instantiate=False, sub_configs=True, skip=set(_REPLACED))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The ways to start from what exists."""
        if self.command == "fit":
            parser.add_argument(
                "--progress",
                type=Literal["plain", "rich", "none"] | None,
                default=None,
                help="How to show where training stands: lines, a table, or not. Null = a table on a terminal, few "
                "lines elsewhere.",
            )
            parser.add_argument(
                "--resume",
                type=str,
                default="never",
                help="never: a new run. auto: go on where this run stopped, or start it. PATH: go on from a run folder "
                "or checkpoint.",
            )
            parser.add_argument(
                "--dry_run",
                action="store_true",
                help="Check everything and train a few steps as doctor does; start no run.",
            )
            parser.add_argument(
                "--init_from",
                type=str | None,
                default=None,
                help="Run folder, checkpoint, file of weights or Hugging Face folder to start from: its weights, and "
                "what is not set of model.config.",
            )
        else:
            if self.command == "predict":
                parser.add_function_arguments(generate_command, "generate", skip=_NOT_FOR_FILES)
            parser.add_argument(
                "--checkpoint",
                type=str | None,
                default=None,
                help="Run folder (its best checkpoint) or checkpoint; without --config the run's own is used.",
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse ``args`` alone; the stock method warns whenever a program has arguments of its own."""
        self.config = parser.parse_args(args)

    def _set_seed(self) -> None:
        """Seeding is part of building a run."""

    def instantiate_classes(self) -> None:
        """Nothing yet: sizes that come from the data are filled in first, see ``training.run.build``."""


def _parser_options(command: str) -> dict[str, Any]:
    examples = {
        "fit": "gpt-lightning fit --config configs/quickstart.yaml --model.optimizer.lr 1e-3",
        "validate": "gpt-lightning validate --checkpoint runs/quickstart-1",
        "test": "gpt-lightning test --checkpoint runs/quickstart-1 --data.source my.txt --data.test_fraction 0.1",
        "predict": "gpt-lightning predict --checkpoint runs/quickstart-1\nExample: gpt-lightning predict --checkpoint "
        "runs/quickstart-1 --generate.input prompts.jsonl --generate.output texts.jsonl --trainer.devices 2",
    }
    return {
        "prog": f"gpt-lightning {command}",
        "usage": f"gpt-lightning {command} [--config FILE ...] [--SETTING VALUE ...]",
        "description": f"Example: {examples[command]}\n\n"
        "Every setting is also an entry of a YAML file and an environment variable\n"
        "(GPT_LIGHTNING_TRAINER__MAX_STEPS=500). Options of a chosen class: --model.schedule.help WSD",
    }

"""The LightningCLI of fit, validate, test and predict: arguments in, one checked configuration out.

It only parses. Building and running is ``training.run``, the same for the command line, sweeps, tests and notebooks;
LightningCLI's own subcommands are not used, because a configuration without a subcommand level is one file that all
four commands read.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.command import generate_command
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.parsing.origins import Origin
from gpt_lightning.parsing.parser import StrictParserMixin
from gpt_lightning.parsing.trust import apply_trust
from gpt_lightning.training.fitting.consent import OPTION
from gpt_lightning.training.fitting.help_pages import EXAMPLES
from gpt_lightning.training.fitting.options import ELSEWHERE, NOT_FOR_FILES, OWN, REPLACED
from gpt_lightning.training.loading.datamodule import TokenDataModule
from gpt_lightning.training.modules.module import GPTModule
from gpt_lightning.training.runs.expectation import KEY, expectation_holds
from gpt_lightning.training.runs.settings import RunSettings
from gpt_lightning.training.watch.monitor import Monitor
from gpt_lightning.weights.starting import read_initial_settings

_SIZES_OF_DATA = ("vocab_size", "block_size")
_parsers: dict[str, TrainerParser] = {}
"""Command -> its parser, which has parsed nothing yet."""


class TrainerParser(StrictParserMixin, LightningArgumentParser):
    """LightningCLI's parser with our errors."""

    elsewhere: ClassVar[Mapping[str, str]] = ELSEWHERE
    samples: ClassVar[Mapping[str, str]] = {"trainer.precision": "bf16-mixed"}
    replaced: ClassVar[Mapping[str, str]] = {f"trainer.{name}": instead for name, instead in REPLACED.items()}

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

    parser: TrainerParser

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

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """A copy of the command's parser: parsing leaves its traces in one, and to build another takes 0.15 s."""
        if self.command not in _parsers:
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
            _parsers[self.command] = self.parser
        apply_trust()  # as the environment is now
        self.parser = copy.deepcopy(_parsers[self.command])

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed for weights, order of samples, dropout and masking."""
        parser.add_argument("--seed_everything", type=int, default=1337, help=OWN["seed_everything"])

        parser.add_argument(
            "--preset",
            type=str | None,
            default=None,
            help=OWN["preset"],
        )
        parser.add_argument(
            f"--{OPTION}",
            type=str,
            default="",
            help=OWN[OPTION],
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What a newcomer sets first comes first; Trainer options that we replace are left out."""
        parser.add_lightning_class_args(GPTModule, "model")
        parser.add_lightning_class_args(TokenDataModule, "data")
        parser.add_class_arguments(RunSettings, "run")
        parser.add_class_arguments(Monitor, "monitor")
        parser.add_class_arguments(Trainer, "trainer", instantiate=False, sub_configs=True, skip=set(REPLACED))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The ways to start from what exists."""
        if self.command == "fit":
            parser.add_argument(
                "--progress",
                type=Literal["plain", "rich", "none"] | None,
                default=None,
                help=OWN["progress"],
            )
            parser.add_argument(
                "--resume",
                type=str,
                default="never",
                help=OWN["resume"],
            )
            parser.add_argument(
                "--dry_run",
                action="store_true",
                help=OWN["dry_run"],
            )
            parser.add_argument(
                "--init_from",
                type=str | None,
                default=None,
                help=OWN["init_from"],
            )
        else:
            if self.command == "predict":
                parser.add_function_arguments(generate_command, "generate", skip=set(NOT_FOR_FILES))
            parser.add_argument(
                "--checkpoint",
                type=str | None,
                default=None,
                help=OWN["checkpoint"],
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse ``args`` alone; the stock method warns whenever a program has arguments of its own.

        An expected loss that was measured with other settings is dropped here, so that nobody compares with it later.
        """
        self.config = parser.parse_args(args)
        if not expectation_holds(self.parser.given):
            self.config[KEY] = None

    def _set_seed(self) -> None:
        """Seeding is part of building a run."""

    def instantiate_classes(self) -> None:
        """Nothing yet: sizes that come from the data are filled in first, see ``training.run.build``."""


def _parser_options(command: str) -> dict[str, Any]:
    return {
        "prog": f"gpt-lightning {command}",
        "usage": f"gpt-lightning {command} [--config FILE ...] [--SETTING VALUE ...]",
        "description": f"Example: {EXAMPLES[command]}\n\n"
        "Every setting is also an entry of a YAML file and an environment variable\n"
        "(GPT_LIGHTNING_TRAINER__MAX_STEPS=500). Options of a chosen class: --model.schedule.help WSD",
    }

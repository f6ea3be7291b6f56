"""``StrictParser``: jsonargparse's parser, with errors that a person can act on.

What differs from the stock parser: no abbreviated options; a mistake raises one ``ConfigError`` instead of printing
the usage and ending the process; YAML through ``strict_yaml``; ``class_path`` through ``trust``; a scalar where a
group of settings belongs, and a misspelt environment variable, are errors instead of being ignored.
"""

from __future__ import annotations

import os
from argparse import Action, HelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_dumper, set_loader

from gpt_lightning.parsing.expectations import classes_in, list_settings
from gpt_lightning.parsing.explain import Parsing, explain, scalar_for_group, user_error_behind
from gpt_lightning.parsing.origins import Origin, check_environment, collect_origins
from gpt_lightning.parsing.strict_yaml import dump_yaml, load_yaml
from gpt_lightning.parsing.suggest import known_subclasses
from gpt_lightning.parsing.trust import TRUST_VARIABLE, apply_trust

if TYPE_CHECKING:
    _Parser = ArgumentParser
else:
    # A mixin, because Lightning's CLI insists on a subclass of its own parser.
    _Parser = object

ENV_PREFIX = "GPT_LIGHTNING"


class PlainHelp(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """jsonargparse's help without a line for each environment variable: one rule replaces a hundred names."""

    def _format_action_invocation(self, action: Action) -> str:
        return HelpFormatter._format_action_invocation(self, action)


# For every parser of the process: a second YAML dialect beside the strict one would only be a way around it.
set_loader("yaml", load_yaml, exceptions=(yaml.YAMLError,))
set_dumper("yaml", dump_yaml)


class StrictParserMixin(_Parser):
    """To be named before a subclass of ``jsonargparse.ArgumentParser``; takes the same arguments.

    Environment variables ``GPT_LIGHTNING_SECTION__NAME`` are read below config files and options.

    Attributes:
        default_classes: Settings that hold a class -> the one of the code, whichever was chosen since.
        replaced: Settings a user may know from elsewhere that do not exist here: name -> what to use instead.
        elsewhere: What other programs call a setting, without its section -> its name here.
        samples: Settings whose type does not show what most people want -> a value for the example in an error.
    """

    replaced: ClassVar[Mapping[str, str]] = {}
    elsewhere: ClassVar[Mapping[str, str]] = {}
    samples: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("exit_on_error", True):
            apply_trust()
        self._given: list[Origin] = []
        self.default_classes: dict[str, str] = {}
        kwargs.setdefault("allow_abbrev", False)
        # jsonargparse makes parsers like this one for single classes, without exit_on_error: it tries alternatives
        # with them, and they must not read GPT_LIGHTNING_X as the X of just any class.
        kwargs.setdefault("default_env", kwargs.get("exit_on_error", True))
        kwargs.setdefault("env_prefix", ENV_PREFIX)
        kwargs.setdefault("formatter_class", PlainHelp)
        super().__init__(*args, **kwargs)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None, **kwargs: Any
    ) -> Namespace:
        """Parse ``args``.

        Raises:
            ConfigError: A setting is unknown, misspelt, missing or of the wrong type.
        """
        if not self.exit_on_error:
            return super().parse_args(args, namespace, **kwargs)
        variables = self._variables() if self.default_env else {}
        self._given = collect_origins(args or [], self._config_options(), variables, os.environ)
        if self.default_env:
            check_environment(variables, set(os.environ) - {TRUST_VARIABLE}, f"{self.env_prefix}_".upper())
        self._choose_default_classes()
        self.prepare_defaults(self._given)
        try:
            return super().parse_args(args, namespace, **kwargs)
        except (ValueError, ImportError) as problem:
            self.error(str(problem), problem)

    @property
    def given(self) -> Sequence[Origin]:
        """Every setting of the last ``parse_args``, with its place; later ones win."""
        return self._given

    def _choose_default_classes(self) -> None:
        """Start from the defaults of the class that will be used.

        When a setting changes its class, jsonargparse keeps the values of all parameters that the new class has as
        well: Muon would silently get AdamW's default learning rate.
        """
        for key, expectation in list_settings(self).items():
            if isinstance(expectation.default, Namespace) and "class_path" in expectation.default:
                self.default_classes.setdefault(key, str(expectation.default["class_path"]))
                bases = classes_in(expectation.hint)
                known = {
                    name: f"{each.__module__}.{each.__qualname__}"
                    for base in bases
                    for name, each in known_subclasses(base).items()
                }
                named = [given.value.strip("'\"") for given in self._given if given.key == key]
                paths = [known.get(name, name) for name in named if name in known or name in known.values()]
                if paths and paths[-1] != expectation.default["class_path"]:
                    self.set_defaults({key: {"class_path": paths[-1]}})

    def prepare_defaults(self, given: Sequence[Origin]) -> None:
        """Called with everything that was given, before it is parsed: a setting may decide the defaults of others."""

    def validate(self, namespace: Namespace, *args: Any, **kwargs: Any) -> None:
        """Check a whole configuration; a value where a group of settings belongs is an error."""
        for name in self.groups or {}:
            group = namespace.get(name)
            if group is not None and not isinstance(group, (Namespace, dict)):
                raise scalar_for_group(Parsing(self, self._given), name, group)
        super().validate(namespace, *args, **kwargs)

    def instantiate(self, *args: Any, **kwargs: Any) -> Namespace:
        """Build the objects of a parsed configuration; a ``UserError`` of a constructor comes out as it was raised."""
        try:
            built: Namespace = super().instantiate(*args, **kwargs)
        except (TypeError, ValueError) as problem:
            # For a setting of several types jsonargparse wraps the error in a list of what each type had to say.
            mistake = user_error_behind(problem)
            if mistake is None:
                raise
            raise mistake from problem
        return built

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ``message`` as one of our errors."""
        if not self.exit_on_error:
            super().error(message, ex)
        problem = explain(Parsing(self, self._given), message, ex)
        if problem is ex:
            raise problem
        raise problem from ex

    def _config_options(self) -> list[str]:
        return [option for a in self._actions if a.dest == "config" for option in a.option_strings]

    def _variables(self) -> dict[str, str]:
        prefix = f"{self.env_prefix}_"
        keys = [a.dest for a in self._actions if a.option_strings and a.dest != "help"]
        return {(prefix + key.replace(".", "__")).upper(): key for key in keys}


class StrictParser(StrictParserMixin, ArgumentParser):
    """The parser of every command that is not the Trainer's."""

"""Help and mistakes of typed commands, read in their sources, against the parser that runs them."""

from __future__ import annotations

import ast
import importlib
import inspect

import pytest

from gpt_lightning.cli import main
from gpt_lightning.commands import COMMANDS
from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.command import command_parser
from gpt_lightning.parsing.expectations import list_settings
from gpt_lightning.parsing.front import answer_early, read_options

TYPED = [name for name, command in COMMANDS.items() if command.typed]


@pytest.mark.parametrize("name", TYPED)
def test_options_and_defaults_are_those_of_the_parser(name: str) -> None:
    place = COMMANDS[name].module, COMMANDS[name].attribute
    function = getattr(importlib.import_module(place[0]), place[1])
    found, parameters = read_options(*place), inspect.signature(function).parameters
    if found is None:
        assert any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        return
    assert list(found) == list(parameters)
    known = list_settings(command_parser(function, name))
    assert {key.partition(".")[0] for key in known} - {"config"} == set(found)
    for key, each in parameters.items():
        assert found[key].text, f"{key} is not explained"
        shown = found[key].default
        if each.default is each.empty or shown is None:
            assert (each.default, shown) == (each.empty, None)
        elif not shown.endswith("()"):  # a class
            assert ast.literal_eval(shown) == each.default


def test_a_page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["evaluate", "compare", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: gpt-lightning evaluate compare FIRST SECOND [--OPTION VALUE ...]"
    assert "Example: gpt-lightning evaluate compare small.json large.json" in lines
    assert "  --resamples                 How often the items are drawn anew. (default: 1000)" in lines
    assert "(GPT_LIGHTNING_FIRST=...); --print_config shows them resolved." in lines
    assert main(["data", "sample", "-h"]) == 0
    assert " Pack: min_fill" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("generate", ["run", "--top_kk=3"], "There is no setting --top_kk (command line). Did you mean --top_k?"),
        ("serve", ["--hots", "0.0.0.0"], "Did you mean --host?"),
        (
            "models gate",
            ["a", "b", "c", "--config", "own.yaml"],
            "no setting anchros (own.yaml:2). Did you mean anchors?",
        ),
    ],
)
def test_mistakes(
    name: str, args: list[str], told: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    with open("own.yaml", "w", encoding="utf-8") as file:
        file.write("seed: 3\nanchros: 3\n")
    with pytest.raises(ConfigError) as refused:
        answer_early(name, COMMANDS[name].module, COMMANDS[name].attribute, args)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("generate", ["run", "--prompt", "-h is no option", "--top_k", "3"]),
        ("export", ["run", "-o", "out", "--verify"]),
        ("data sample", ["store", "--packing.help", "Pack", "--packing.min_fill=0.5", "--print_config"]),
        ("serve", ["--adapter+", "a", "--print_config=skip_default"]),
        ("prepare", ["--layout.label_field", "x", "--help"]),
    ],
)
def test_what_may_be_right_goes_on(name: str, args: list[str]) -> None:
    assert answer_early(name, COMMANDS[name].module, COMMANDS[name].attribute, args) is None

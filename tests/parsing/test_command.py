from __future__ import annotations

from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.command import run_command
from tests.parsing.examples import count_letters


@pytest.mark.parametrize(
    ("args", "result"),
    [
        (["hello", "--letter", "l"], 2),
        (["--text", "hello", "--letter=l", "--times", "3"], 6),
        (["--letter", "l", "--text=hello"], 2),
        (["a: e, a: e"], 2),
        (["e", "--times", "-1"], -1),
    ],
)
def test_arguments_reach_the_function(args: list[str], result: int) -> None:
    assert run_command(count_letters, args, "count") == result


def test_config_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "count.yaml"
    config.write_text("text: hello\nletter: l\n")
    monkeypatch.setenv("GPT_LIGHTNING_TIMES", "5")
    assert run_command(count_letters, ["-c", str(config)], "count") == 10


def test_help_shows_example_and_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_command(count_letters, ["--help"], "gpt-lightning count")
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert "Example: count hello --letter l" in text
    assert "Factor on the result." in text
    assert "Args:" not in text


def test_print_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(count_letters, ["hi", "--print_config"], "count")
    assert "text: hi\nletter: e\ntimes: 1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], "Required: --text (allowed: text). Add --text text. See count --help."),
        (["hello", "world"], "Unexpected argument: got 'world'"),
        (["hello", "--leter", "l"], "There is no setting --leter (command line). Did you mean --letter?"),
        (["hello", "--times", "x"], "--times does not accept this value: got 'x' (allowed: a whole number)"),
    ],
)
def test_mistakes(args: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run_command(count_letters, args, "count")
    assert expected in str(caught.value)


def join(start: str, rest: list[str], mark: str = "+") -> str:
    return mark.join([start, *rest])


@pytest.mark.parametrize(
    ("args", "result"),
    [
        (["a", "b", "c,d", "--mark", "-"], "a-b-c,d"),
        (["a", "b"], "a+b"),
        (["a", "--rest", '["b"]'], "a+b"),
        (["--start=a", '--rest=["b", "c"]'], "a+b+c"),
    ],
)
def test_parameters_without_default_take_leading_arguments_and_a_list_the_rest(args: list[str], result: str) -> None:
    assert run_command(join, args, "join") == result


def test_a_missing_list_is_named() -> None:
    with pytest.raises(ConfigError, match="--rest"):
        run_command(join, ["a"], "join")

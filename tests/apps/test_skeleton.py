"""The commands that every application has, with one that does next to nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt_lightning import cli
from gpt_lightning.commands import COMMANDS, Command
from gpt_lightning.parsing.strict_yaml import read_yaml
from tests.apps import echo
from tests.training.forked import TEXT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gpt_lightning.apps.echo.application", echo)
    for verb in ("init", "train", "evaluate", "run"):
        command = Command("gpt_lightning.apps.commands", "app_command", "h", "g", typed=False)
        monkeypatch.setitem(COMMANDS, f"app echo {verb}", command)

    def call(*args: str) -> tuple[int, str, str]:
        code = cli.main(["app", "echo", *args])
        return code, *capsys.readouterr()

    return call


def test_settings_are_written_with_a_comment_each_and_read_again(run: Run) -> None:
    code, out, _ = run("init")
    assert (code, out.splitlines()[-1]) == (0, "Next: gpt-lightning app echo train echo")
    text = Path("echo/echo.yaml").read_text(encoding="utf-8")
    assert "# File of texts, 100 % of them.\n# texts: texts.txt\n" in text
    assert "# model: model\n" in text
    assert "\n# Expected: 80 % right.\n" in text
    assert read_yaml("echo/echo.yaml") == {"fit": {"trainer": {"max_steps": 3}}}
    assert Path("echo/texts.txt").read_text(encoding="utf-8") == TEXT
    # Every default that is shown can be set.
    Path("echo/echo.yaml").write_text(text.replace("\n# texts:", "\ntexts:").replace("\n# right:", "\nright:"))
    assert run("evaluate", "echo")[0] == 0


def test_nothing_of_a_persons_own_is_rewritten(run: Run) -> None:
    Path("echo").mkdir()
    Path("echo/texts.txt").write_text("mine")
    code, _, err = run("init", "echo")
    assert code == 3
    assert "texts.txt is there already" in err
    assert [path.name for path in Path("echo").iterdir()] == ["texts.txt"]
    assert Path("echo/texts.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["train", "nowhere"], 2, ("nowhere is not a folder", "gpt-lightning app echo init nowhere")),
        (["evaluate", "--set", "rihgt=3"], 2, ("rihgt", "right")),
        (["evaluate", "--set", "right=many"], 2, ("right", "many")),
        (["evaluate", "--set", "right"], 2, ("KEY=VALUE",)),
        (["init", "b", "--sample", "mine"], 2, ("'mine'", "built-in, other")),
        (["evaluate", "--folder", "a"], 2, ("unrecognized arguments", "app echo evaluate --help")),
        (["run", "--host", "0.0.0.0"], 2, ("--allow_remote",)),
        (["trein"], 2, ("There is no command 'app echo trein'", "Did you mean gpt-lightning app echo train?")),
        ([], 2, ("app echo needs a third word",)),
    ],
)
def test_mistakes_cost_a_line(run: Run, args: list[str], code: int, words: tuple[str, ...]) -> None:
    run("init")
    found, _, err = run(*args)
    assert (found, err.count("\n")) == (code, 1), err
    assert all(word in err for word in words), err


def test_figures_stand_beside_their_floor(run: Run) -> None:
    run("init")
    code, out, _ = run("evaluate")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith(("accuracy", "brier"))}
    assert lines["accuracy"].split()[1:2] == ["80.00"]
    assert " coin " in lines["accuracy"]
    page = Path("echo/report.html").read_text(encoding="utf-8")
    assert "A note." in page
    assert "What this one adds." in page
    # Lower is better of one of them, and both are.
    assert Path("echo/report.md").read_text(encoding="utf-8").count("| better |") == 2
    kept = [json.loads(Path(f"echo/evaluations/{name}.json").read_text()) for name in ("ours", "coin")]
    assert [each["scores"]["accuracy"] for each in kept] == [80.0, 50.0]
    assert cli.main(["evaluate", "compare", "echo/evaluations/coin.json", "echo/evaluations/ours.json"]) == 0
    run("evaluate", "--set", "right=52")
    assert Path("echo/report.md").read_text(encoding="utf-8").count("| no difference shown |") == 2
    run("evaluate", "--set", "right=20")
    assert Path("echo/report.md").read_text(encoding="utf-8").count("| worse |") == 2


def test_trains_goes_on_and_refuses_another_model_in_its_place(run: Run) -> None:
    run("init")
    code, out, err = run("train")
    assert code == 0, err
    assert "Trained 3 steps: echo/model" in out
    assert run("train")[0] == 0  # done already
    code, _, err = run("train", "--set", "fit.model.optimizer.lr=0.5")
    assert code == 3
    assert "model.optimizer.init_args.lr" in err
    assert "remove echo/model, or say --set model=NAME" in err
    assert run("train", "--set", "fit.model.optimizer.lr=0.5", "--set", "model=other")[0] == 0
    assert Path("echo/other/checkpoints").is_dir()


def test_an_address_is_handed_on(run: Run) -> None:
    run("init")
    assert "host='127.0.0.1', port=0" in run("run", "--port", "0")[1]
    assert "allow_remote=True" in run("run", "--host", "0.0.0.0", "--allow_remote")[1]


def test_each_command_has_help(run: Run) -> None:
    for verb in ("init", "train", "evaluate", "run"):
        code, out, _ = run(verb, "--help")
        assert code == 0
        assert f"Example: gpt-lightning app echo {verb}" in out
    assert "app echo init" in run("--help")[1]

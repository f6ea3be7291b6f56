"""``gpt-lightning completion``: bash completes with the script as a person at a terminal would see it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from gpt_lightning.commands import COMMANDS
from gpt_lightning.completion import completion_command, options_of, settings_of
from gpt_lightning.errors import ConfigError


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "gpt-lightning.bash"
    with pytest.MonkeyPatch.context() as patch, file.open("w", encoding="utf-8") as out:
        patch.setattr("sys.stdout", out)
        completion_command("bash")
    return file


def completed(script: Path, typed: str) -> list[str]:
    """What bash offers behind ``typed``, whose last word is the one that is completed."""
    words = " ".join(f"'{word}'" for word in typed.split(" "))
    code = f"source {script}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _gpt_lightning; "
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    result = subprocess.run(
        ["bash", "--norc", "-c", code], cwd=script.parent, capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
    return [line for line in result.stdout.splitlines() if line != script.name and line]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("gpt-lightning ge", ["generate"]),
        ("gpt-lightning sweep tr", ["transfer"]),
        ("gpt-lightning app watch e", ["evaluate"]),
        ("gpt-lightning fit --model.config.n_h", ["--model.config.n_head"]),
        ("gpt-lightning fit --model.schedule W", ["WSD", "WSDS"]),
        ("gpt-lightning fit --model.schedule.deca", ["--model.schedule.decay"]),
        ("gpt-lightning fit --config quick", ["quickstart"]),
        ("gpt-lightning fit --model.compile t", ["true"]),
        ("gpt-lightning generate runs/x --top_", ["--top_k", "--top_p"]),
        ("gpt-lightning sweep status s --fo", []),
        ("gpt-lightning prepare --sou", ["--source"]),
        ("gpt-lightning export runs/x --max", ["--max_shard_size"]),
    ],
)
def test_bash_offers(script: Path, typed: str, offered: list[str]) -> None:
    found = completed(script, typed)
    assert found[: len(offered)] == offered if offered else found == []


def test_every_command_has_what_its_help_shows(capsys: pytest.CaptureFixture[str]) -> None:
    from gpt_lightning.cli import main

    for name in COMMANDS:
        assert main([*name.split(), "--help"]) == 0
        shown = re.findall(
            r"^ +(?:ARG: +)?(?:-\w \w+, )?--([\w.]*\w)(?<!\.help)\b(?!\+)", capsys.readouterr().out, flags=re.MULTILINE
        )
        known = {*options_of(name), *settings_of(name), "--print_config"}
        assert {f"--{each}" for each in shown} <= known, name


def test_other_shells(capsys: pytest.CaptureFixture[str]) -> None:
    completion_command("zsh")
    assert capsys.readouterr().out.startswith("autoload -U +X bashcompinit && bashcompinit\n_gpt_lightning()")
    completion_command("fish")
    assert "-l model.schedule -x -a" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="allowed: bash, zsh, fish"):
        completion_command("tcsh")

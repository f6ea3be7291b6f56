"""Every command and every Python block of the README runs, as a newcomer would type it.

Commands of ``bash`` blocks run in one folder, in their order, through the program's ``main``; training is shortened to
two steps and put on one thread, few and small batches are validated, and pictures of weights and the machine's peak are
left out; nothing else is changed. ``make`` targets must exist. A line starting with ``$`` in a ``text`` block is a
command whose output is shown: it must print just that.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from gpt_lightning.parsing.strict_yaml import load_yaml
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from tests.typed import type_command, type_python

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_FIT = [
    *("--trainer.max_steps=2", "--run.sample_tokens=5", "--trainer.limit_val_batches=1", "--run.validate_every=100%"),
    *("--monitor.details=false", "--monitor.mfu=false", "--data.eval_batch_size=4"),
]
SHORTER = {
    "fit": _FIT,
    "validate": ["--trainer.limit_val_batches=2", "--data.eval_batch_size=4"],
    "predict": ["--trainer.limit_predict_batches=2", "--data.eval_batch_size=4"],
    "sweep run": [
        *(f"--set=derive.{setting.removeprefix('--')}" for setting in _FIT if "%" not in setting),
        "--set=launcher.workers=1",
    ],
    "bench": ["--steps=3"],
    "doctor": ["--steps=3", "--data.batch_size=4"],
}
"""Command -> what makes it shorter."""
TEXT = "\n\n".join(
    f"Paragraph {n} of a text that somebody wrote, long enough to train on for two steps." for n in range(250)
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prose_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "cache").symlink_to(prose_cache)
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder


@pytest.mark.timeout(1200)  # on a machine that does other things as well
def test_commands_run_in_their_order(place: Path) -> None:
    ran = 0
    for line in commands():
        words = shlex.split(line)
        variables = dict(word.split("=", 1) for word in words if re.match(r"GPT_LIGHTNING_\w+=", word))
        words = [word for word in words if not re.match(r"GPT_LIGHTNING_\w+=", word)]
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE), (
                line
            )
            continue
        assert words[0] == "gpt-lightning", f"cannot run {line!r}"
        shorter = SHORTER.get(words[1]) or SHORTER.get(" ".join(words[1:3])) or []
        if any(word.endswith(("help", "--print_config")) for word in words):
            shorter = []
        result = type_command(words[1:] + shorter, place, **variables)
        assert result.returncode == 0, f"{line}\n{result.stderr}"
        assert "Traceback" not in result.stderr
        ran += 1
    assert ran >= 8


def test_shown_errors_are_the_real_ones(place: Path) -> None:
    shown = [block.splitlines() for block in blocks("text") if block.startswith("$ ")]
    assert shown
    for lines in shown:
        result = type_command(shlex.split(lines[0])[2:], place)
        assert result.returncode == 2
        assert result.stderr.splitlines() == lines[1:]


def test_settings_are_real_ones(place: Path) -> None:
    shown = blocks("yaml")
    assert shown
    for number, text in enumerate(shown):
        (place / f"shown{number}.yaml").write_text(text, encoding="utf-8")
        line = TrainerCommandLine("fit", [f"--config={place / f'shown{number}.yaml'}"])
        written, resolved = load_yaml(text), line.parser.dump(line.config, skip_unset=False, skip_validation=True)
        assert set(written) <= set(load_yaml(resolved))


def test_python_runs(place: Path) -> None:
    for code in blocks("python"):
        assert '"trainer.max_steps": 20' in code
        code = code.replace('"trainer.max_steps": 20', '"trainer.max_steps": 2, "trainer.limit_val_batches": 1')
        result = type_python(code, place)
        assert result.returncode == 0, result.stderr
        assert result.stdout


def test_first_screen_holds_the_two_commands() -> None:
    before = README[: README.index("make test")]
    assert "make train" in before
    assert len(before.splitlines()) <= 6

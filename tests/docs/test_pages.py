"""What the README and the pages of ``docs/`` say is so: commands and settings parse, links lead somewhere.

Every command of every page goes through the program's ``main`` and its real parser; what would then be done is cut off
(``test_commands`` does it). A line starting with ``$`` in a ``text`` block is a command whose output is shown: it must
print just that.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gpt_lightning.cli import main
from gpt_lightning.parsing.command import OwnOptions
from gpt_lightning.parsing.parser import StrictParser
from gpt_lightning.parsing.strict_yaml import load_yaml
from gpt_lightning.training import commands as trainer_commands
from gpt_lightning.training.fitting import command_line
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from tests.docs.pages import PAGES, ROOT, blocks, commands, hooks, make_place, name_of, own_words

_VARIABLE = r"(GPT_LIGHTNING_\w+)=(.*)"


_UNDERSTOOD: set[tuple[str, ...]] = set()
"""What other pages say as well is parsed once."""


class _Parsed(BaseException):
    """The command is understood; instead of doing it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prose_cache: Path) -> Path:
    return make_place(tmp_path_factory.mktemp("pages"), prose_cache)


@pytest.fixture
def only_parsed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a command does once its arguments are parsed is cut off."""

    def parsed(*_: object, **__: object) -> NoReturn:
        raise _Parsed

    def parse_settings(command: str, args: Sequence[str]) -> NoReturn:
        TrainerCommandLine(command, args)
        raise _Parsed

    def parse_own(self: OwnOptions, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        own, settings = argparse.ArgumentParser.parse_known_args(self, args, namespace)
        if self.epilog is None and settings:
            self.error(f"unrecognized arguments: {' '.join(settings)}")
        configs = [f"--config={file}" for file in getattr(own, "config", None) or []]
        parse_settings("fit", [*configs, *settings])

    monkeypatch.setattr(OwnOptions, "parse_known_args", parse_own)
    monkeypatch.setattr(StrictParser, "instantiate", parsed)
    monkeypatch.setattr(trainer_commands, "trainer_command", parse_settings)
    monkeypatch.setattr(command_line, "read_initial_settings", lambda _: {})
    monkeypatch.chdir(place)


def _understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the program takes a command line, which may begin with its variables."""
    if tuple(words) in _UNDERSTOOD:
        return True
    with monkeypatch.context() as patch:
        for word in words:
            if (given := re.fullmatch(_VARIABLE, word)) is not None:
                patch.setenv(given[1], given[2])
        mine = own_words(words)
        assert mine is not None
        try:
            understood = main(mine) == 0
        except _Parsed:
            understood = True
    if understood:
        _UNDERSTOOD.add(tuple(words))
    return understood


@pytest.mark.parametrize("page", PAGES, ids=name_of)
@pytest.mark.usefixtures("only_parsed")
def test_commands_are_understood(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for words in commands(page, "bash", "sh", "console"):
        if words[0] == "make":
            assert words[1] in targets, words
        elif own_words(words) is not None:
            assert _understood(words, monkeypatch), f"{shlex.join(words)}\n{capsys.readouterr().err}"
        else:
            assert words[0] in ("pip", "echo"), f"what is {shlex.join(words)}?"
    for block in blocks(page, "text"):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(gpt-lightning|torchrun|srun|source <\(gpt-lightning) ", line):
                words = shlex.split(re.sub(r"^source <\((.*?)\).*|\s+#.*", r"\1", line))
                assert _understood(words, monkeypatch), f"{line}\n{capsys.readouterr().err}"


@pytest.mark.usefixtures("only_parsed")
def test_a_wrong_command_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (
        "gpt-lightning fit --config configs/quickstart.yaml --data.sauce x.txt",
        "gpt-lightning fit --config configs/quickstart.yaml --trainer.max_steps many",
        "gpt-lightning runs liszt",
        "gpt-lightning generate runs/quickstart-1 --max_token 3",
        "gpt-lightning sweep run configs/quickstart.yaml --sett x=1",
        "gpt-lightning bench --config configs/quickstart.yaml --data.sauce x.txt",
    ):
        assert not _understood(shlex.split(line), monkeypatch), line


def test_shown_errors_are_the_real_ones(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    shown = {block for page in PAGES for block in blocks(page, "text") if block.startswith("$ ")}
    assert len(shown) >= 2
    for block in shown:
        typed, *printed = block.splitlines()
        assert main(shlex.split(typed)[2:]) == 2
        assert capsys.readouterr().err.splitlines() == printed


def test_settings_are_real_ones(place: Path) -> None:
    shown = [text for page in PAGES for text in blocks(page, "yaml")]
    assert len(shown) >= 5
    for number, text in enumerate(shown):
        (place / f"shown{number}.yaml").write_text(text, encoding="utf-8")
        line = TrainerCommandLine("fit", [f"--config={place / f'shown{number}.yaml'}"])
        written, resolved = load_yaml(text), line.parser.dump(line.config, skip_unset=False, skip_validation=True)
        assert set(written) <= set(load_yaml(resolved))


def test_extras_exist() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {
        each for page in PAGES for group in re.findall(r"gpt-lightning\[([\w,-]+)\]", page.read_text(encoding="utf-8"))
        for each in group.split(",")
    }  # fmt: skip
    assert named
    assert named <= known.keys()


def test_links_lead_somewhere() -> None:
    generated = {f"docs/{page}" for page in hooks().generated_pages()}
    broken = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target = os.path.normpath(Path(name_of(page)).parent / link.partition("#")[0])
            if not link.startswith(("https://", "#")) and not (ROOT / target).exists() and target not in generated:
                broken.append(f"{name_of(page)}: {link}")
    assert broken == []


def test_navigation_holds_every_page_once() -> None:
    pages = re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    generated = [page for page in hooks().generated_pages() if not page.startswith("reference/modules/")]
    written = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert sorted(pages) == sorted([*written, *generated])


def test_readme_is_two_screens_that_begin_with_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    before = text[: text.index("make test")]
    assert "make train" in before
    assert len(before.splitlines()) <= 6

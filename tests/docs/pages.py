"""The README and every page of ``docs/``: their blocks, commands and links."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "\n\n".join(
    f"Paragraph {n} of a text that somebody wrote, long enough to train on for two steps." for n in range(250)
)
_PLACEHOLDERS = ("CONFIG.yaml", "best.yaml")
"""Files that a page names where the reader's own stand."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def all_blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in all_blocks(page) if language in languages]


def commands_of(block: str) -> Iterator[list[str]]:
    """The commands of a block, as words; what continues a line belongs to it, comments do not."""
    for line in block.replace("\\\n", " ").splitlines():
        line = re.sub(r"\s+#.*", "", line).removeprefix("$ ").strip()
        if line and not line.startswith("#"):
            yield shlex.split(line)


def commands(page: Path, *languages: str) -> Iterator[list[str]]:
    for block in blocks(page, *languages):
        yield from commands_of(block)


def own_words(words: list[str]) -> list[str] | None:
    """What ``gpt-lightning`` gets of a command line; None where it is not called."""
    program = next((each for each in ("gpt-lightning", "gpt_lightning") if each in words), None)
    if program is None or (program == "gpt_lightning" and words[words.index(program) - 1] != "-m"):
        return None
    mine = words[words.index(program) + 1 :]
    end = next((number for number, word in enumerate(mine) if word in ("|", ">", "&&")), len(mine))
    return mine[:end]


def hooks() -> ModuleType:
    """``docs/hooks.py``, which mkdocs imports by its path as well."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_place(folder: Path, cache: Path) -> Path:
    """A folder as a reader of the pages has it: the configurations, a text, a cache."""
    (folder / "cache").symlink_to(cache)
    for name in ("configs", "sweeps"):
        shutil.copytree(ROOT / name, folder / name)
    for name in _PLACEHOLDERS:
        shutil.copyfile(ROOT / "configs" / "quickstart.yaml", folder / name)
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder

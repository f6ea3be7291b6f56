from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PARSE = """
import sys
from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.parser import StrictParser
from collections.abc import Callable
from typing import Any
parser = StrictParser()
parser.add_argument("--hook", type=Callable[[], Any])
try:
    parser.parse_args(["--hook", sys.argv[1]])
    print("taken", end=" ")
except ConfigError as problem:
    print("refused", end=" ")
print("mine" in sys.modules)
"""


def parse(name: str, folder: Path, **environment: str) -> str:
    (folder / "mine.py").write_text("import os\ndef hook(): ...\n")
    run = [sys.executable, "-c", PARSE, name]
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(run, capture_output=True, text=True, check=True, cwd=folder, env=environment).stdout


def test_unknown_module_is_not_even_imported(tmp_path: Path) -> None:
    assert parse("mine.hook", tmp_path) == "refused False\n"


def test_environment_allows_a_module_of_the_working_directory(tmp_path: Path) -> None:
    assert parse("mine.hook", tmp_path, GPT_LIGHTNING_TRUST_MODULES="other, mine") == "taken True\n"


@pytest.mark.parametrize("name", ["mine.os.abort", "os.abort", "builtins.eval", "jsonargparse.set_loader"])
def test_trusting_a_module_does_not_trust_what_it_imports(name: str, tmp_path: Path) -> None:
    assert parse(name, tmp_path, GPT_LIGHTNING_TRUST_MODULES="mine").startswith("refused ")

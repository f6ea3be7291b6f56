"""The notebooks run from their first cell to the last, and what is committed is what they give."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.docs.notebooks import SOURCES, execute, kinds, texts
from tests.docs.pages import ROOT

_ESCAPE = "\x1b["


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebooks_give_what_is_committed(source: Path, tmp_path: Path) -> None:
    jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
    committed = jupytext.read(source.with_suffix(".ipynb"))
    assert [cell["source"] for cell in committed.cells] == [cell["source"] for cell in jupytext.read(source).cells]
    executed = execute(source, tmp_path)
    assert kinds(executed) == kinds(committed)
    for notebook in (executed, committed):
        assert _ESCAPE not in texts(notebook)
        assert "Warning" not in texts(notebook)


@pytest.mark.slow
def test_an_interrupt_saves_and_the_kernel_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager_room = pytest.importorskip("jupyter_client.manager", reason="needs the extra 'notebooks'")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    manager, client = manager_room.start_new_kernel(kernel_name="python3")
    try:
        _ask(client, "import gpt_lightning as gl; open('t.txt', 'w').write('some words to learn, again. ' * 400)")
        settings = {
            "data.source": "t.txt",
            "data.tokenizer": "bytes",
            "data.block_size": 32,
            "model.config.n_layer": 1,
            "model.config.n_head": 2,
            "model.config.n_embd": 16,
            "trainer.max_steps": 100000,
            "trainer.accelerator": "cpu",
            "run.validate_every": 100,
            "run.name": "a",
            "run.sample_tokens": 0,
            "monitor.details": False,
        }
        client.execute(f"r = gl.build({settings!r}).fit()")
        _wait_for(client, "step ")
        manager.interrupt_kernel()
        assert client.get_shell_msg(timeout=120)["content"]["status"] == "ok"
        said = _ask(client, "print(r.step, r.ended.state, gl.load_model(r.folder).path.name)")
    finally:
        manager.shutdown_kernel(now=True)
        client.stop_channels()
    step, state, checkpoint = said.split()
    assert int(step) > 0
    assert state == "stopped"
    assert checkpoint.startswith("step-")


def _ask(client: Any, code: str) -> str:
    """What a cell prints."""
    printed: list[str] = []
    reply = client.execute_interactive(
        code, timeout=120, output_hook=lambda message: printed.append(message["content"].get("text", ""))
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)


def _wait_for(client: Any, text: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if text in client.get_iopub_msg(timeout=120)["content"].get("text", ""):
            return
    raise AssertionError(f"no {text!r} in two minutes")


@pytest.mark.slow
def test_an_install_leaves_the_torch_that_is_there(tmp_path: Path) -> None:
    """As in Colab: torch and numpy are there and fixed; the package must be content with them."""
    versions = {name: __import__(name).__version__ for name in ("torch", "numpy")}
    fixed = tmp_path / "colab.txt"
    fixed.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
    report = tmp_path / "report.json"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-index", "--report", str(report)]
    done = subprocess.run([*command, "--constraint", str(fixed), *wanted], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text(encoding="utf-8"))["install"] == []
    other = subprocess.run([*command, "--constraint", str(fixed), *wanted, "torch<2"], capture_output=True, text=True)
    assert other.returncode != 0

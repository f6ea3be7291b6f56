"""``import gpt_lightning as gl``: a handful of names, each loaded when it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gpt_lightning as gl
from gpt_lightning._version import __version__
from tests.training.forked import TINY, write_corpus


@pytest.mark.parametrize("name", [name for name in gl.__all__ if name != "__version__"])
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(gl, name)
    assert value.__name__ == name
    assert value.__module__.startswith("gpt_lightning.")
    assert inspect.getdoc(value)


def test_names_are_listed() -> None:
    assert dir(gl) == sorted(gl.__all__)
    assert gl.__version__ == __version__


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'biuld'; it has .*build"):
        _ = gl.biuld


def test_a_name_loads_its_own_room_only() -> None:
    code = "import sys, gpt_lightning as gl; gl.PrepareSettings; print(*({'torch', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_from_text_to_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, load and continue a prompt with the facade alone."""
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {
        "trainer.max_steps": 2,
        "trainer.enable_progress_bar": False,
        "data.source": str(write_corpus(tmp_path)),
    }
    result = gl.build(TINY, settings).fit()
    loaded = gl.load_model(result.folder)
    assert isinstance(loaded.model, gl.GPT)
    assert loaded.model.config == gl.GPTConfig(2, 2, 16, block_size=16, vocab_size=257, dropout=0.1)
    pieces = gl.generate_text(
        loaded.model, loaded.tokenizer, "word", max_tokens=5, sampling=gl.Sampling(temperature=0.0)
    )
    assert len("".join(pieces).encode("utf-8", errors="replace")) >= 1
    store = gl.find_or_prepare(gl.PrepareSettings(source=settings["data.source"], tokenizer="bytes", val_fraction=0.1))
    assert store.fingerprint == loaded.card["data_fingerprint"]

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from gpt_lightning.data.live import background
from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.errors import DataError


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_an_answer_of_any_length_arrives(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe holds 64 KB, and whoever waits for the end before reading waits for ever."""
    code = (
        f"import pickle, sys; pickle.load(sys.stdin.buffer); pickle.dump(('mistake', 'x' * {size}), sys.stdout.buffer)"
    )

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(background, "start_module", start)
    preparation = background.Preparation(PrepareSettings("text.txt"), None)

    def wait() -> None:
        while not preparation.is_over():
            time.sleep(0.01)

    with pytest.raises(DataError, match="x" * 10):
        wait()
    assert preparation.is_over()
    preparation.end()

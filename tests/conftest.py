"""Rules for every test: a cache of its own (and no network: see --allow-hosts in pyproject), shapes checked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# One thread for each of several test processes, and for those they start: two with two threads each on two cores slow
# each other down twentyfold. Before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before anything of ours is imported: public tensor functions then check their axes.
install_import_hook("gpt_lightning", "beartype.beartype")


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores go to the test's folder, runs to its working folder."""
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

"""Rules for every test: a cache of its own (and no network: see --allow-hosts in pyproject), shapes checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything of ours is imported: public tensor functions then check their axes.
install_import_hook("gpt_lightning", "beartype.beartype")


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores go to the test's folder, runs to its working folder."""
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

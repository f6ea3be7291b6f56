"""Rules for every test: a cache of its own (and no network: see --allow-hosts in pyproject), shapes checked."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests.disk import never_wait
from tests.selections import NO_PROCESSES

# One thread for each of several test processes, and for those they start: two with two threads each on two cores slow
# each other down twentyfold. Before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell has programs in its background ignore Ctrl-C, and those that they start: tests send it to theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Until everything is imported, two thirds of the time of importing would be the garbage collector's.
gc.disable()

# Before anything of ours is imported: tensor functions then check their axes. Not those of other modules as well: there
# mypy knows the types, and wrapping six thousand functions takes seconds in every test process.
_PACKAGE = Path(__file__).parents[1] / "gpt_lightning"
_WITH_AXES = [
    ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)
    for path in _PACKAGE.rglob("*.py")
    if "from jaxtyping import" in path.read_text(encoding="utf-8")
]
install_import_hook(_WITH_AXES, "beartype.beartype")

never_wait()


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector need not go through its million objects again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores go to the test's folder, runs to its working folder."""
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def _nothing_slow() -> Iterator[None]:
    """``make test-fast``: what starts a process or a Trainer is skipped where it does."""
    if NO_PROCESSES not in os.environ:
        yield
        return
    import lightning.pytorch

    def skip(*_: object, **__: object) -> None:
        pytest.skip("starts a process or a Trainer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", skip)
        patch.setattr(BaseProcess, "start", skip)
        patch.setattr(lightning.pytorch.Trainer, "__init__", skip)
        yield


@pytest.fixture(scope="session")
def prose_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of all test processes for those who train on the built-in prose: the store is made once, under a lock."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prose-cache"
    folder.mkdir(exist_ok=True)
    return folder

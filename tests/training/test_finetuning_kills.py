"""A hundred kills at random points of fine-tuning: every run ends as the one that nobody disturbed."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.training.forked import run_child, train, write_corpus
from tests.training.test_finetuning import RECORDS
from tests.training.test_resume_exact import assert_equal, outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 20
"""Of each run."""
POINTS = ["batch_start", "before_update", "validation", "fsync", "rename"]
_LORA = {"class_path": "LoRA", "init_args": {"r": 2, "dropout": 0.1}}
_ADALORA = {
    "class_path": "AdaLoRA",
    "init_args": {"r": 1, "initial_r": 2, "warmup": 4, "final": 6, "every": 2, "dropout": 0.1},
}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "SFT": ("Conversation", {"objective": "SFT"}),
    "classify": ("Labelled", {"objective": "Classify", "ema_decay": 0.9}),
    "DPO": ("Preference", {"objective": "DPO"}),
    "LoRA": ("Conversation", {"objective": "SFT", "adaptation": _LORA}),
    "AdaLoRA": ("Labelled", {"objective": "Classify", "adaptation": _ADALORA}),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and records of every layout."""
    folder = tmp_path_factory.mktemp("kills")
    write_corpus(folder)
    for name, records in RECORDS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = {"data": {"block_size": 32}, "trainer": {"max_steps": 3}}
    assert run_child(folder, train, folder / "base", settings, None) == 0
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_killed_often_ends_the_same(place: Path, name: str) -> None:
    layout, model = RUNS[name]
    data = {
        "source": str(place / f"{layout}.jsonl"),
        "layout": layout,
        "packing": "Document",
        "block_size": 32,
        "val_fraction": 0.2,
    }
    settings = {"data": data, "model": model, "init_from": "base"}
    whole, folder = place / f"{name}-whole", place / f"{name}-killed"
    assert run_child(place, train, whole, settings, None) == 0
    generator = random.Random(name)
    # In order, so that every run comes past its own from the checkpoint before it.
    for step, point in sorted((generator.randrange(1, 24), generator.choice(POINTS)) for _ in range(KILLS)):
        assert run_child(place, train, folder, settings, (point, step)) == -signal.SIGKILL, (point, step)
    assert run_child(place, train, folder, settings, None) == 0
    assert_equal(outcome(folder), outcome(whole))

"""What a trial reports without a step of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt_lightning.training.runs.run_folder import METRICS_FILE
from gpt_lightning.tuning.trial.mailbox import Mailbox
from gpt_lightning.tuning.trial.reporting import Reporting
from tests.training.forked import write_corpus
from tests.training.runs import tiny_run


def test_a_trial_whose_steps_are_all_taken_over_has_the_size_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size of 0 would win every comparison of sizes, and meet every limit."""
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    mailbox = Mailbox(tmp_path / "trial")
    mailbox.clear()
    (mailbox.folder / METRICS_FILE).write_text(json.dumps({"step": 6, "time": 0, "val/loss": 2.5}) + "\n")
    reporting = Reporting(tiny_run({"model": {"config": {"n_layer": 2, "n_embd": 16}}}), mailbox, 0)
    reporting.catch_up(6, executed=0)
    assert reporting.last is not None
    # 256 bytes and end-of-text, 16 positions; each block 12 x 16 x 16 weights and 13 x 16 more; the last norm.
    assert reporting.last.metrics["model/parameters"] == (257 + 16) * 16 + 2 * (12 * 256 + 13 * 16) + 2 * 16

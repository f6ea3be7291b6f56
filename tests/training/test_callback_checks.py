"""Callbacks that would make our figures wrong, and a validation that would have no batch, are refused before a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch import Callback
from lightning.pytorch import callbacks as stock

from gpt_lightning.errors import ConfigError
from gpt_lightning.training.runs.trainer_checks import check_callbacks
from tests.training.forked import write_corpus
from tests.training.runs import tiny_run

MEASURED = ("val/loss", "val/perplexity")


@pytest.mark.parametrize(
    ("callback", "setting"),
    [
        (stock.GradientAccumulationScheduler({0: 2}), "batch_ramp"),
        (stock.StochasticWeightAveraging(1e-2), "ema_decay"),
        (stock.EMAWeightAveraging(), "ema_decay"),
        (stock.ModelCheckpoint(), "save_every"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_changes_our_counts_is_refused_with_our_setting(callback: Callback, setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{type(callback).__name__}.*{setting}"):
        check_callbacks([callback], None)


def test_early_stopping_waits_for_what_is_measured() -> None:
    for monitor in ("val/loss", "eval/cloze"):
        check_callbacks([stock.EarlyStopping(monitor)], MEASURED)
    check_callbacks([stock.EarlyStopping("val_loss", strict=False)], MEASURED)
    with pytest.raises(ConfigError, match="EarlyStopping monitors what no validation measures: got 'val_loss'"):
        check_callbacks([stock.EarlyStopping("val_loss")], MEASURED)

    class Theirs(Callback):
        """May log anything."""

    check_callbacks([stock.EarlyStopping("val_loss"), Theirs()], MEASURED)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainer.limit_val_batches": 0.001}, r"limit_val_batches is a share of \d+ batches"),
        ({"trainer.callbacks": "EarlyStopping", "trainer.callbacks.monitor": "val_loss"}, "EarlyStopping monitors"),
    ],
    ids=["share", "monitor"],
)
def test_no_run_folder_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    with pytest.raises(ConfigError, match=message):
        tiny_run(settings, {"run.dir": "run"})
    assert not (tmp_path / "run").exists()

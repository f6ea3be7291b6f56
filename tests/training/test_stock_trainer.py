"""The LightningModule and the DataModule under a Trainer that knows nothing of us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.training.loading.datamodule import TokenDataModule
from gpt_lightning.training.modules.module import GPTModule
from tests.training.forked import write_corpus

_QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "devices": 1,
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenDataModule:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    return TokenDataModule(source="corpus.txt", tokenizer="bytes", block_size=16, batch_size=4, val_fraction=0.1)


def _module(**sizes: Any) -> GPTModule:
    return GPTModule(GPTConfig(n_layer=1, n_head=2, n_embd=16, **sizes))


# Lightning's own use of torch. The loaders read memory maps in this process; Lightning would rather have workers.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_it_trains_validates_and_predicts(data: TokenDataModule) -> None:
    module = _module()
    trainer = lightning.Trainer(max_steps=10, limit_val_batches=2, **_QUIET)
    trainer.fit(module, data)
    assert trainer.global_step == 10
    assert module.horizon is not None
    assert (module.horizon.total_steps, module.horizon.tokens_per_step) == (10, 64)
    assert module.config.data_sizes() == (257, 16)
    trainer.validate(module, data, verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert 0 < found["val/loss"] < 5.6
    assert found["val/bits_per_byte"] == pytest.approx(found["val/loss"] / 0.6931, rel=0.01)
    predicted = trainer.predict(module, data)
    assert predicted is not None
    assert all(torch.isfinite(each["log_probabilities"]).all() for each in predicted)  # type: ignore[call-overload]


def test_what_does_not_fit_is_one_line(data: TokenDataModule) -> None:
    trainer = lightning.Trainer(max_steps=10, **_QUIET)
    with pytest.raises(DataError, match="the model's vocabulary ends before it: got 100"):
        trainer.fit(_module(vocab_size=100), data)
    with pytest.raises(ConfigError, match="longer than the model has positions: got 16"):
        trainer.fit(_module(block_size=8), data)
    with pytest.raises(ConfigError, match="Training would never end"):
        lightning.Trainer(max_epochs=-1, **_QUIET).fit(_module(), data)

"""``fit --init_from`` a folder of another library: what is taken from it, and what is refused before a run begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.errors import CheckpointError, ConfigError, DataError
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.weights.command import export_checkpoint, import_model
from gpt_lightning.weights.loading import load_model
from tests.training.forked import write_corpus
from tests.training.runs import weights_of
from tests.weights.models import QWEN3, small_tokenizer, write_run

SHORT: dict[str, Any] = {
    "data": {"source": "corpus.txt", "block_size": 16, "batch_size": 2},
    "trainer": {"accelerator": "cpu", "max_steps": 1, "enable_progress_bar": False, "limit_val_batches": 1},
    "model": {"optimizer": {"lr": 0.0}},
    "run": {"dir": "tuned", "sample_tokens": 0},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    write_run(Path("run"), QWEN3)
    export_checkpoint("run", "theirs")
    return tmp_path


def start(*args: str, source: str = "theirs") -> Run:
    return build(SHORT, args=[f"--init_from={source}", *args])


@pytest.mark.parametrize("source", ["theirs", "imported"])
def test_architecture_tokenizer_and_weights_come_from_the_folder(place: Path, source: str) -> None:
    if source == "imported":
        import_model("theirs", "imported")
    run = start(source=source)
    assert run.module.config == QWEN3
    assert run.datamodule.open_store().tokenizer.fingerprint == small_tokenizer().fingerprint
    assert run.config["data"]["tokenizer"] == f"{source}/tokenizer.json"
    run.fit()
    expected = load_model("theirs").model.state_dict()
    found = weights_of(place / "tuned")
    assert all(torch.equal(found[f"model.{name}"], tensor) for name, tensor in expected.items())


def test_single_settings_can_still_be_set() -> None:
    run = start("--model.config.dropout=0.2", "--model.config.vocab_size=310", "--model.config.block_size=null")
    config = run.module.config
    assert (config.dropout, config.vocab_size, config.block_size, config.qk_norm) == (0.2, 310, 16, True)
    run.datamodule.close()


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (["--model.config.n_layer=3"], CheckpointError, r"theirs holds another architecture: blocks\.2\..* is missing"),
        (["--preset=gpt2"], ConfigError, "--preset and --init_from"),
        (
            ["--data.tokenizer=bytes"],
            DataError,
            r"tokenizer bpe-300.*and the data are in bytes.*theirs/tokenizer\.json",
        ),
        (["--data.block_size=49"], ConfigError, "longer than the model has positions"),
    ],
    ids=str,
)
def test_what_does_not_fit_leaves_no_run(args: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        start(*args)
    assert not Path("tuned").exists()

"""The validation loss: every token of the split once, whatever the batch size and the number of processes.

The oracle reads the whole split as one list of ids and scores every window by itself, in float64, without our
loaders, objective or metrics.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gpt_lightning import cli
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.data.stream.stream import EvaluationWindows
from gpt_lightning.errors import DataError
from gpt_lightning.metrics.language import TokenLoss
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.training.commands import _headline
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.fitting.summary import describe_result
from gpt_lightning.training.loading.datamodule import EvaluationLoader, Share
from gpt_lightning.weights.loading import load_model
from tests.objectives.applying import apply
from tests.training.forked import write_corpus
from tests.training.runs import STEPS, tiny_run

BATCH_SIZES = [1, 3, 4, 64]
Oracle = tuple[float, int, int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("validation")
    write_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        tiny_run({"run.dir": "run"}).fit()
    return folder


@pytest.fixture(autouse=True)
def _work_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))


def validated(settings: dict[str, Any]) -> dict[str, float]:
    return tiny_run(settings).validate("run")


@pytest.fixture(scope="module")
def oracle(place: Path) -> tuple[float, int, int]:
    """Nats, targets and bytes of text of the validation split, under the best checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
        patch.chdir(place)
        return score_split()


def score_split() -> tuple[float, int, int]:
    split = tiny_run().datamodule.open_store().split("val")
    ids = torch.from_numpy(split.gather(np.zeros(1, dtype=np.int64), split.num_tokens)[0]).long()
    model = load_model("run").model.double()
    nats = 0.0
    with torch.no_grad():
        for start in range(0, len(ids) - 1, 16):
            window = ids[start : start + 17]
            scores = model(window[None, :-1])[0] @ model.token_embedding.weight.T
            nats -= float(scores.log_softmax(-1).gather(1, window[1:, None]).sum())
    return nats, len(ids) - 1, split.num_bytes


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_any_batch_size_gives_the_same_numbers(oracle: Oracle, batch_size: int) -> None:
    found = validated({"data.eval_batch_size": batch_size})
    nats, targets, _ = oracle
    assert targets % 16 != 0, "the last window should be a short one"
    assert found["val/loss"] == pytest.approx(nats / targets, rel=1e-6)
    assert found["val/perplexity"] == pytest.approx(math.exp(nats / targets), rel=1e-5)


@pytest.mark.parametrize("objective", ["PrefixLM", "FillInTheMiddle"])
def test_the_causal_loss_of_an_objective_is_the_one_that_evaluate_ppl_finds(tmp_path: Path, objective: str) -> None:
    run = tiny_run({"run.dir": str(tmp_path / "run"), "model.objective": objective, "trainer.max_steps": 2})
    metrics = run.fit().metrics
    store = run.datamodule.open_store()
    split = store.split("val")
    ids = split.gather(np.zeros(1, dtype=np.int64), split.num_tokens)[0]
    assert ids[0] == split.eot_id
    text, out = tmp_path / "held_out.txt", tmp_path / "ppl.json"
    text.write_bytes(store.tokenizer.decode_bytes([int(token) for token in ids[1:]]))
    asked = ["--window", "16", "--stride", "16", "--prefer", "last", "--output", str(out)]
    assert cli.main(["evaluate", "ppl", str(tmp_path / "run"), str(text), *asked]) == 0
    found = json.loads(out.read_text())["scores"]["loss"]
    assert found == pytest.approx(metrics["val/clm_loss"], rel=1e-6)
    assert found != pytest.approx(metrics["val/loss"], rel=1e-5)
    assert load_model(tmp_path / "run").model.sights == {"open" if objective == "PrefixLM" else "causal"}


def test_bits_per_byte_counts_the_text_alone(oracle: Oracle) -> None:
    """One token a byte: all targets but the document borders are text; the first byte has no prediction to score."""
    run = tiny_run()
    split = run.datamodule.open_store().split("val")
    assert split.num_documents == 1, "else borders would have to be taken out of the oracle"
    nats, targets, num_bytes = oracle
    assert targets == num_bytes
    assert validated({})["val/bits_per_byte"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-6)


def shares(run: Run, world: int, batch_size: int) -> list[TokenLoss]:
    """The metric of every process of ``world``, each having seen its own share."""
    model, split = load_model("run").model, run.datamodule.open_store().split("val")
    metrics = []
    for rank in range(world):
        metric = TokenLoss()
        with torch.no_grad():
            for batch in EvaluationLoader(EvaluationWindows(split, 16), Share(batch_size, rank=rank, world=world)):
                batch.tokens = batch.tokens.long()
                metric.update(apply(CausalLM(), model, batch))
        metrics.append(metric)
    return metrics


@pytest.mark.parametrize("world", [1, 2, 3, 12])
def test_any_number_of_processes_adds_up_to_the_same(oracle: Oracle, world: int) -> None:
    """12 processes are more than there are windows: some get padding alone."""
    run = tiny_run()
    metrics = shares(run, world, batch_size=2)
    nats, targets, _ = oracle
    total: Tensor = torch.stack([metric.nats for metric in metrics]).sum()
    assert float(torch.stack([metric.count for metric in metrics]).sum()) == targets
    assert float(total) == pytest.approx(nats, rel=1e-6)


@pytest.mark.parametrize("world", [1, 2, 3, 12])
def test_every_process_has_as_many_batches(world: int) -> None:
    """One more on any of them and the others would wait forever."""
    split = tiny_run().datamodule.open_store().split("val")
    loaders = [
        EvaluationLoader(EvaluationWindows(split, 16), Share(2, rank=rank, world=world)) for rank in range(world)
    ]
    lengths = {len(loader) for loader in loaders}
    assert lengths == {len(list(loader)) for loader in loaders}
    assert len(lengths) == 1


def test_dropout_is_off_in_validation() -> None:
    assert validated({}) == validated({"model.config.dropout": 0.5})


def test_without_a_validation_split_everything_works_but_validating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    run = tiny_run({"data.val_fraction": 0, "run.dir": "run"})
    assert "no validation tokens" in _headline(run)
    result = run.fit()
    assert result.step == STEPS
    assert "val/loss" not in result.metrics
    assert "Not validated (data.val_fraction is 0)." in describe_result(run, result, [])
    assert [path.name for path in list_checkpoints(Path("run/checkpoints"))][-1] == f"step-{STEPS:09d}"
    store = run.datamodule.open_store()
    assert list(store.manifest.splits) == ["train"]
    with pytest.raises(DataError, match=r"has no split: got 'val'.*Set --data\.val_fraction above 0"):
        run.validate()


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8 cannot exist elsewhere")
def test_a_file_whose_name_is_not_utf8_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    name = os.fsdecode(b"caf\xe9.txt")
    Path("text").mkdir()
    Path("corpus.txt").rename(f"text/{name}")
    for command in (["fit", "--data.source"], ["prepare", "--source"]):
        assert cli.main([*command, f"text/{name}"]) == 2
        assert "a name that is not UTF-8, which no config file can hold" in capsys.readouterr().err
    result = tiny_run({"data.source": "text", "run.dir": "run", "trainer.max_steps": 2}).fit()
    assert result.step == 2
    resumed = tiny_run({"data.source": "text", "run.dir": "run", "trainer.max_steps": 2}).fit("auto")
    assert resumed.resumed_step == 2
    assert read_yaml(Path("run/config.yaml"))["data"]["source"] == "text"

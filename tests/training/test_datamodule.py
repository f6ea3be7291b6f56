from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from gpt_lightning.batch import Batch
from gpt_lightning.data.layouts.base import Layout
from gpt_lightning.data.layouts.conversations import Preference
from gpt_lightning.data.layouts.labelled import Labelled
from gpt_lightning.data.stream.mixture import Mixture, MixtureSource
from gpt_lightning.data.stream.packing import Concat, Document, Pack, Packing
from gpt_lightning.data.stream.packing_plan import Rows
from gpt_lightning.data.stream.stream import EvaluationWindows
from gpt_lightning.errors import CheckpointError, ConfigError, DataError
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.loading.datamodule import TokenDataModule
from gpt_lightning.training.loading.loaders import make_batch
from tests.data.labelled import make_preferences, make_reviews, write_jsonl
from tests.training.forked import write_corpus
from tests.training.runs import crash_at, tiny_run, weights_of
from tests.training.test_resume_exact import assert_equal, outcome


def mixed(**changes: Any) -> dict[str, Any]:
    """Two packed sources with attention inside documents; ``changes`` are settings of both."""
    mixture = {
        "sources": {
            "main": {"source": "corpus.txt", "weight": 3.0, **changes},
            "other": {"source": "other.txt", "max_epochs": 30.0, **changes},
        },
        "schedule": [{"from_tokens": 128, "weights": {"other": 3.0}}],
    }
    return {"data.packing": "Pack", "data.document_mask": True, "data.mixture": json.dumps(mixture)}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Two threads on tensors of this size wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    (tmp_path / "other.txt").write_text("Other text about nothing at all.\n\n" * 40)


def batches_of(run: Run) -> list[Batch]:
    run.datamodule.trainer = run.trainer
    return list(run.datamodule.train_dataloader())


def test_a_packed_masked_mixture_resumes_bit_for_bit(tmp_path: Path) -> None:
    """The crash is after the change of weights, in the middle of a block of the mixture."""
    tiny_run(mixed(), {"run.dir": "whole"}).fit()
    run = tiny_run(mixed(), {"run.dir": "cut"})
    with pytest.raises(Exception, match=r"^$"):
        crash_at(run, 5).fit()
    result = tiny_run(mixed(), {"run.dir": "cut"}).fit(resume="auto")
    assert result.resumed_step == 5
    assert_equal(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_each_source_is_validated_as_if_it_were_alone() -> None:
    result = tiny_run(mixed(), {"run.dir": "run"}).fit()
    found = tiny_run(mixed()).validate("run")
    assert found["val/loss"] == pytest.approx(result.metrics["val/loss"], rel=1e-6)
    targets, nats = 0.0, 0.0
    for name, source in (("main", "corpus.txt"), ("other", "other.txt")):
        alone = tiny_run({"data": {"packing": "Pack", "document_mask": True, "source": source}})
        loss = alone.validate("run")["val/loss"]
        assert found[f"val/loss/{name}"] == pytest.approx(loss, rel=1e-6)
        # Every token but the first of a document, and every document's end.
        count = alone.datamodule.open_store().split("val").num_tokens
        targets, nats = targets + count, nats + count * loss
    assert found["val/loss"] == pytest.approx(nats / targets, rel=1e-6)
    assert found["val/loss/main"] != pytest.approx(found["val/loss/other"], rel=1e-3)


@pytest.mark.slow
def test_test_and_predict_go_through_every_source(tmp_path: Path) -> None:
    settings = mixed() | {"data.test_fraction": 0.2}
    tiny_run(settings, {"run.dir": "run"}).fit()
    found = tiny_run(settings).test("run")
    assert {"test/loss", "test/loss/main", "test/loss/other"} <= found.keys()
    lines = tiny_run(settings).predict("run", tmp_path / "p.jsonl").read_text().splitlines()
    texts = "".join(json.loads(line)["text"] for line in lines)
    assert "Paragraph" in texts
    assert "Other text" in texts


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return Trainer(accelerator="cpu", logger=False, max_steps=6, enable_checkpointing=False, enable_progress_bar=False)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"packing": Concat()}, "would see each other"),
        ({"packing": Concat(), "document_mask": True}, "Concat cuts documents anywhere"),
        ({"packing": Pack(), "layout": Preference()}, "would see each other"),
        ({"packing": Pack(), "layout": Preference(), "document_mask": True}, "Pack would part what belongs together"),
        ({"packing": Document(), "layout": Preference(), "batch_size": 3}, "batch_size would part what belongs"),
    ],
)
def test_what_would_mix_documents_up_is_refused_before_a_text_is_read(settings: dict[str, Any], told: str) -> None:
    """Minutes before its tokens: the source does not even exist."""
    common: dict[str, Any] = {"source": "nothing.jsonl", "layout": Labelled(), "batch_size": 4}
    TokenDataModule(**common, packing=Document())
    with pytest.raises(ConfigError, match=told):
        TokenDataModule(**{**common, **settings})


@pytest.mark.parametrize("packing", [Concat(), Pack(), Document()], ids=lambda packing: type(packing).__name__)
@pytest.mark.parametrize("mask", [False, True])
def test_batches_carry_what_was_asked_for(packing: Packing, mask: bool, trainer: Trainer) -> None:
    data = TokenDataModule(16, 4, packing=packing, document_mask=mask, source="corpus.txt", tokenizer="bytes")
    data.trainer = trainer
    batches = list(data.train_dataloader())
    assert [batch.position for batch in batches] == [4 * number for number in range(6)]
    for batch in batches:
        assert batch.tokens.shape == (4, 17)
        assert batch.tokens.dtype == torch.uint16
        assert (batch.documents is None) is not mask
        assert (batch.weights is None) is (isinstance(packing, Concat) and not mask)


def test_batches_share_the_memory_of_the_arrays() -> None:
    rows = Rows(np.zeros((2, 3), np.uint16), np.ones((2, 2), np.float32), position=7)
    batch = make_batch(rows)
    rows.tokens[1, 2] = 9
    assert batch.tokens[1, 2] == 9
    assert (batch.position, batch.documents) == (7, None)


def test_token_files_of_another_program_train(tmp_path: Path) -> None:
    """The same tokens as in our store, so the same batches but for the split of the validation tail."""
    own = tiny_run({"data.val_fraction": 0.1})
    (tmp_path / "theirs").mkdir()
    for split in ("train", "val"):
        path = own.datamodule.open_store().path / f"tokens-{split}-00000.bin"
        shutil.copy(path, tmp_path / "theirs" / f"text_{split}_000000.bin")
    theirs = tiny_run({"data.store": "theirs"})
    for one, other in zip(batches_of(own), batches_of(theirs), strict=True):
        assert torch.equal(one.tokens, other.tokens)
    result = theirs.fit()
    assert result.step == 6


@pytest.fixture
def url() -> Iterator[str]:
    store = tiny_run().datamodule.open_store()
    files = fsspec.filesystem("memory")
    files.put(str(store.path), "/far/store", recursive=True)
    yield "memory://far/store"
    files.rm("/far", recursive=True)


@pytest.mark.slow
def test_a_store_behind_a_url_trains_to_the_same_weights(url: str, tmp_path: Path) -> None:
    tiny_run({"run.dir": "near"}).fit()
    tiny_run({"run.dir": "far", "data.store": url}).fit()
    assert_equal(weights_of(tmp_path / "near"), weights_of(tmp_path / "far"))


def test_the_state_names_the_stream_and_refuses_another() -> None:
    run = tiny_run({"run.dir": "run"})
    run.fit()
    state = run.datamodule.state_dict()
    assert state["consumed_samples"] == 24
    same = TokenDataModule(block_size=16, batch_size=2, source="corpus.txt", tokenizer="bytes", val_fraction=0.1)
    same.seed = 1337
    same.load_state_dict(state)
    other = TokenDataModule(block_size=8, source="other.txt", tokenizer="bytes", document_mask=True)
    with pytest.raises(CheckpointError) as caught:
        other.load_state_dict(state)
    message = str(caught.value)
    assert "data.block_size: 16 -> 8; data.document_mask: False -> True; " in message
    assert f"data_fingerprint: '{state['stream']['data_fingerprint']}' -> " in message
    assert "seed_everything: 1337 -> 0" in message
    assert "data.packing" not in message
    other.allow_changes = ["data", "data_fingerprint", "seed_everything"]
    other.load_state_dict(state)


def test_windows_of_before_documents_ended_are_not_gone_on_with() -> None:
    run = tiny_run({"data.packing": "Pack", "run.dir": "run"})
    run.fit()
    state = run.datamodule.state_dict()
    run.datamodule.load_state_dict(state)
    del state["stream"]["data.packing.targets"]  # as version 0.1.0 wrote it
    with pytest.raises(CheckpointError, match=r"packing\.targets: None -> 'with the end of each document'.*init_from"):
        run.datamodule.load_state_dict(state)


def test_other_data_may_be_measured() -> None:
    tiny_run({"run.dir": "run"}).fit()
    tiny_run({"data.source": "other.txt", "data.packing": "Document"}).validate("run")


def test_a_source_that_repeats_is_told_and_one_that_ends_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="gpt_lightning"):
        batches_of(tiny_run(mixed(), {"trainer.max_steps": 400}))
    assert [record for record in caplog.records if "the run reads main" in record.getMessage()]
    with pytest.raises(DataError, match=r"asks for 1600 windows.*used up after \d+"):
        batches_of(tiny_run(mixed(max_epochs=1.0), {"trainer.max_steps": 400}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"packing": Pack(), "shuffle_tokens": 100},
            r"data\.shuffle_tokens keeps to neighbouring text.*got 100",
        ),
        (
            {"mixture": Mixture({"a": MixtureSource("a.txt")}), "store": "x"},
            r"data\.store and data\.mixture both say where the data are: got 'x'",
        ),
        ({"shuffle_tokens": 0}, r"data\.shuffle_tokens is a count: got 0"),
        ({"predict_split": "dev"}, r"data\.predict_split names a split: got 'dev'"),
    ],
)
def test_mistakes_are_explained(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenDataModule(**settings)


def test_a_source_beside_a_mixture_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="gpt_lightning"):
        tiny_run(mixed())
    assert [record for record in caplog.records if "data.source corpus.txt is not read" in record.getMessage()]


def test_a_wrong_policy_is_told_the_right_ones() -> None:
    with pytest.raises(ConfigError, match=r"data\.packing .* got 'Best' \(allowed: Concat, Document, Pack"):
        tiny_run({"data.packing": "Best"})


@pytest.mark.parametrize(
    ("layout", "make", "names"),
    [
        (Labelled(), make_reviews, {"label": torch.int32}),
        (Preference(), make_preferences, {"marks": torch.uint8}),
    ],
    ids=["labels", "pairs"],
)
def test_what_stands_beside_the_tokens_reaches_the_batch_and_a_killed_run_reads_on(
    layout: Layout, make: Callable[[int], list[dict[str, Any]]], names: dict[str, torch.dtype], tmp_path: Path
) -> None:
    data = TokenDataModule(
        block_size=96, batch_size=4, packing=Document(), tokenizer="bytes", val_fraction=0.2, layout=layout,
        source=str(write_jsonl(tmp_path / "x.jsonl", make(40))), store=str(tmp_path / "store"),
    )  # fmt: skip
    assert data.open_store().manifest.settings["layout"]["max_tokens"] == 96, "of the run's windows"
    stream = data._stream()
    read = [make_batch(rows) for part in stream.super_batches(0, 6, batch_size=4) for rows in part]
    rest = [make_batch(rows) for part in stream.super_batches(4, 2, batch_size=4) for rows in part]
    for batch, again in zip(read[4:], rest, strict=True):
        assert set(batch.columns) == {*names, "ends"}
        for name, values in batch.columns.items():
            assert values.shape[0] == 4
            assert torch.equal(values, again.columns[name])
        assert batch.samples is not None
        assert again.samples is not None
        assert torch.equal(batch.samples, again.samples)
    assert {name: read[0].columns[name].dtype for name in names} == names
    moved = read[0].to("cpu").part(slice(2, 4))
    assert torch.equal(moved.columns["ends"], read[0].columns["ends"][2:])
    windows = EvaluationWindows(data.open_store().split("val"), 96, packing=Document())
    val = make_batch(next(windows.batches(batch_size=4)))
    assert set(val.columns) == {*names, "ends"}

"""ONNX graphs give what the model gives, for every number of rows, tokens and cached positions; the must-fail twins."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.weights import onnx_graphs
from gpt_lightning.weights.command import export_checkpoint
from gpt_lightning.weights.loading import LoadedModel
from gpt_lightning.weights.onnx_graphs import CONTINUED, WHOLE, past_names, verify_graphs, write_graphs
from tests.weights.models import CONFIGS, loud_model, small_tokenizer, write_run
from tests.weights.test_labelling import _labeller

_BLOCK = 128
_SHAPES = ("gpt2", "llama-untied-gqa", "qwen3")


@pytest.fixture
def symbols() -> Iterator[None]:
    """Sizes of an export are symbols, which the check of axes in tests takes for no numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _loaded(config: GPTConfig) -> LoadedModel:
    return LoadedModel(loud_model(config), small_tokenizer(), {}, Path("run"))


def _named(name: str) -> GPTConfig:
    return dataclasses.replace(CONFIGS[name], block_size=_BLOCK)


@pytest.mark.parametrize("name", [*_SHAPES, "gpt2-no-bias"])
@torch.inference_mode()
def test_what_becomes_the_graph_continues_like_the_model(name: str) -> None:
    config = _named(name)
    model = loud_model(config)
    tokens = torch.randint(0, 300, (3, 20), generator=torch.Generator().manual_seed(0))
    expected = model.logits(model(tokens))
    past: list[Tensor] = [torch.zeros(3, config.key_value_heads, 0, config.head_size) for _ in past_names(2)]
    graph = onnx_graphs._Continued(model)
    for start, end in ((0, 7), (7, 8), (8, 20)):
        logits, *past = graph(tokens[:, start:end], *past)
        torch.testing.assert_close(logits, expected[:, start:end], rtol=0, atol=1e-4)


def test_what_graphs_do_not_hold_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run", CONFIGS["gpt2"])
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"No such format .* got 'onx' \(allowed: transformers, onnx\)"):
        export_checkpoint(run, out, format="onx")
    with pytest.raises(ConfigError, match="float32 and no model card: got '--dtype, --license'"):
        export_checkpoint(run, out, format="onnx", dtype="bfloat16", license="mit")
    assert not Path(out).exists()


@pytest.mark.slow
@pytest.mark.usefixtures("symbols")
@pytest.mark.parametrize("name", _SHAPES)
def test_graphs_agree_over_shapes_that_no_export_has_seen(name: str, tmp_path: Path) -> None:
    loaded = _loaded(_named(name))
    assert write_graphs(loaded, tmp_path) == []
    verdict = verify_graphs(loaded, tmp_path)
    assert verdict.startswith("model.onnx, model_with_past.onnx agree with the model in onnxruntime")
    assert "batches of 1 and 3 and 1, 7, 64 tokens" in verdict
    ids = _continue(loaded, tmp_path / CONTINUED, [5, 17, 3], 50)
    assert ids == _continue_here(loaded, [5, 17, 3], 50)
    assert len(set(ids)) > 2


def _continue(loaded: LoadedModel, graph: Path, prompt: list[int], count: int) -> list[int]:
    """The likeliest tokens one after the other, as a program without torch would find them."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph))
    facts = json.loads((graph.parent / "config.json").read_text(encoding="utf-8"))
    empty = np.zeros((1, facts["key_value_heads"], 0, facts["head_size"]), dtype=np.float32)
    past: dict[str, Any] = dict.fromkeys(past_names(facts["n_layer"]), empty)
    given, ids = np.array([prompt]), []
    for _ in range(count):
        logits, *present = session.run(None, {"input_ids": given, **past})
        past = dict(zip(past, present, strict=True))
        ids.append(int(logits[0, -1].argmax()))
        given = np.array([ids[-1:]])
    return ids


@torch.inference_mode()
def _continue_here(loaded: LoadedModel, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(loaded.model.logits(loaded.model(torch.tensor([ids])))[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.slow
@pytest.mark.usefixtures("symbols")
def test_a_graph_of_fixed_sizes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, export = _loaded(_named("gpt2")), torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *args, dynamic_shapes, **more: export(*args, **more))
    write_graphs(loaded, tmp_path)
    with pytest.raises(CheckpointError, match=r"does not take tokens of the shape \(1, 1\)"):
        verify_graphs(loaded, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("symbols")
def test_a_graph_of_other_weights_is_refused(tmp_path: Path) -> None:
    write_graphs(_loaded(_named("gpt2")), tmp_path)
    with pytest.raises(CheckpointError, match="differ from the model: logits by"):
        verify_graphs(LoadedModel(loud_model(_named("gpt2"), seed=9), small_tokenizer(), {}, Path("run")), tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("symbols")
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_head_of_a_labeller_is_a_graph(pooling: str, tmp_path: Path) -> None:
    loaded = _labeller(_named("llama"), pooling=pooling)
    write_graphs(loaded, tmp_path)
    assert verify_graphs(loaded, tmp_path).startswith("model.onnx agree")
    assert json.loads((tmp_path / "config.json").read_text())["use"]["pooling"] == pooling


@pytest.mark.slow
@pytest.mark.usefixtures("symbols")
def test_a_model_that_looks_back_has_no_graph_with_a_past(tmp_path: Path) -> None:
    loaded = _loaded(dataclasses.replace(_named("llama"), smear=True, bigram_rows=64))
    (note,) = write_graphs(loaded, tmp_path)
    assert note.startswith(f"No {CONTINUED}")
    assert [path.name for path in tmp_path.glob("*.onnx")] == [WHOLE]
    assert "model.onnx agree" in verify_graphs(loaded, tmp_path)

"""Heads that label texts, exported: loaded by transformers, padded on either side, and taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.classifier import classifier_of, keep_calibration, load_classifier
from gpt_lightning.objectives.readouts import Calibration
from gpt_lightning.weights.exporting import prepare_export, write_export
from gpt_lightning.weights.loading import LoadedModel
from gpt_lightning.weights.model_card import write_card
from gpt_lightning.weights.verifying import verify_export
from tests.weights.models import CONFIGS, loud_model, small_tokenizer

_LABELS = ["bad", "good", "odd"]
_TEXTS = ["hello world", "你好", " ", "it's 1234 and more of the same hello", "a", "b 2", "hello 你好 12", "the end"]


def _labeller(config: GPTConfig, objective: str = "Classify", pooling: str = "last") -> LoadedModel:
    labels = [] if objective == "Regress" else _LABELS
    use = {"objective": objective, "labels": labels, "pooling": pooling, "max_tokens": 48}
    head = torch.randn(len(labels) or 1, config.n_embd, generator=torch.Generator().manual_seed(7))
    return LoadedModel(loud_model(config), small_tokenizer(), {"use": use}, Path("step-000000005"), head)


def _write(loaded: LoadedModel, folder: Path) -> Any:
    folder.mkdir()
    export = prepare_export(loaded)
    write_export(export, folder)
    return export


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("gpt2", "llama-untied-gqa", "qwen3") else pytest.param(name, marks=pytest.mark.slow)
        for name in CONFIGS
    ],
)
def test_theirs_give_our_logits_padded_on_either_side(name: str, tmp_path: Path) -> None:
    loaded = _labeller(CONFIGS[name])
    export = _write(loaded, tmp_path / "out")
    assert "through transformers" in verify_export(export, tmp_path / "out", loaded)
    ours = classifier_of(loaded)
    expected = torch.cat(ours.score([ours.encode([text]) for text in _TEXTS]))
    auto: Any = transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(tmp_path / "out").eval()
    assert type(model).__name__ == export.class_name
    assert model.config.id2label == dict(enumerate(_LABELS))
    for side in ("right", "left"):
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", padding_side=side)
        for size in (1, 8):
            parts = [_TEXTS[start : start + size] for start in range(0, len(_TEXTS), size)]
            found = torch.cat([_ask(model, tokenizer(part, return_tensors="pt", padding=True)) for part in parts])
            assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-6


@torch.no_grad()
def _ask(model: Any, inputs: Any) -> Tensor:
    # transformers counts positions from the padding on, unless it is told; rotary ones do not mind.
    positions = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp_min(0)
    logits: Tensor = model(**inputs, position_ids=positions).logits
    return logits


def test_a_pair_is_framed_as_in_training(tmp_path: Path) -> None:
    _write(_labeller(CONFIGS["gpt2"]), tmp_path / "out")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ours = small_tokenizer()
    first, second = (ours.encode(text).tolist() for text in ("hello", "world"))
    assert tokenizer("hello", "world")["input_ids"] == [ours.eot_id, *first, ours.eot_id, *second]


@pytest.mark.parametrize("objective", ["Classify", "MultiLabel", "Regress"])
def test_a_folder_comes_back_as_a_classifier(objective: str, tmp_path: Path) -> None:
    loaded = _labeller(CONFIGS["gpt2-untied"], objective)
    # As of a run that was calibrated: it travels with what is written.
    thresholds = [0.2, 0.5, 0.9] if objective == "MultiLabel" else []
    loaded.card["use"]["calibration"] = {"temperature": 1.7, "thresholds": thresholds}
    export = _write(loaded, tmp_path / "out")
    before, after = classifier_of(loaded), load_classifier(tmp_path / "out")
    assert after.calibration == Calibration(1.7, tuple(thresholds))
    with pytest.raises(ConfigError, match="Calibrate the run, and export it again"):
        keep_calibration(after, Calibration())
    assert list(after.label([[text] for text in _TEXTS])) == list(before.label([[text] for text in _TEXTS]))
    assert "text-classification" in write_card(export, loaded, name="x")
    settings = json.loads((tmp_path / "out" / "config.json").read_text())
    assert settings["problem_type"].split("_")[0] == {"Classify": "single", "MultiLabel": "multi"}.get(
        objective, "regression"
    )
    settings["id2label"]["0"] = "other"
    (tmp_path / "out" / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="names its labels in two ways"):
        load_classifier(tmp_path / "out")


def test_what_theirs_cannot_compute_is_refused() -> None:
    with pytest.raises(ConfigError, match="trained on a mean"):
        prepare_export(_labeller(CONFIGS["gpt2"], pooling="mean"))
    with pytest.raises(ConfigError, match="labels words"):
        prepare_export(_labeller(CONFIGS["gpt2"], "TokenClassify"))

"""``/v1/classify``: the labels that ``objectives.classifier`` gives, beside a model that writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.classifier import classifier_of
from gpt_lightning.serving.versions import Versions, build_versions
from gpt_lightning.weights.loading import LoadedModel
from tests.serving.servers import CONFIG, SETTINGS, load_seed, serve

_PATH = "/v1/classify"


def _labeller() -> LoadedModel:
    use = {"objective": "Classify", "labels": ["bad", "good"], "pooling": "last", "max_tokens": 64}
    model = GPT(CONFIG, torch.Generator().manual_seed(1)).eval()
    head = torch.randn(2, CONFIG.n_embd, generator=torch.Generator().manual_seed(2))
    return LoadedModel(model, ByteTokenizer(), {"use": use}, Path("runs/mood/checkpoints/step-000000001"), head)


def _load(base: str, adapters: Sequence[str]) -> Versions:
    return build_versions(_labeller(), adapters, SETTINGS) if base == "mood" else load_seed(1, Path(base), adapters)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serve({"mood": "mood", "tiny": "1"}, loader=_load) as (client, _):
        yield client


def _ask(client: TestClient, given: Any, model: str = "mood") -> Any:
    return client.post(_PATH, json={"model": model, "input": given})


def test_texts_are_labelled_as_in_process(client: TestClient) -> None:
    texts = ["what a lovely room", "cold soup", "好 " * 80]
    body = _ask(client, texts).json()
    expected = list(classifier_of(_labeller()).label([[text] for text in texts]))
    assert [each["index"] for each in body["data"]] == [0, 1, 2]
    assert [each["label"] for each in body["data"]] == [each["label"] for each in expected]
    for each, wanted in zip(body["data"], expected, strict=True):
        assert each["probabilities"] == pytest.approx(wanted["probabilities"], abs=2e-6)
    assert body["system_fingerprint"].startswith("fp_")
    assert _ask(client, texts[0]).json()["data"][0]["text"] == texts[0]


@pytest.mark.parametrize(
    ("given", "model", "param"),
    [
        (["x"], "tiny", "model"),
        ([["one", "two"]], "mood", "input"),
        ([], "mood", "input"),
        ([[]], "mood", "input"),
        (7, "mood", "input"),
        (["x"] * 1025, "mood", "input"),
    ],
)
def test_what_cannot_be_labelled_is_refused(client: TestClient, given: Any, model: str, param: str) -> None:
    response = _ask(client, given, model)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_a_model_that_labels_writes_as_well(client: TestClient) -> None:
    asked = {"model": "mood", "prompt": "a", "max_tokens": 2, "seed": 1}
    assert client.post("/v1/completions", json=asked).json()["usage"]["completion_tokens"] == 2

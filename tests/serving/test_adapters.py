"""Many adapters of one base in one batch: each as if it were alone, and none that is missing or wrong."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.adapters.base import trained_names
from gpt_lightning.adapters.lora import LoRA
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.serving.settings import Source
from gpt_lightning.weights.checking import hash_weights
from tests.serving.servers import CONFIG, completion, load, serve

TEXT = "/v1/completions"


def write_adapter(folder: Path, seed: int, base: str = "1") -> str:
    """A run folder of an adapter of ``tests.serving.servers.load(base)``, without training."""
    model = GPT(CONFIG, torch.Generator().manual_seed(int(base)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    sha256 = hash_weights(model.state_dict())
    LoRA(r=2).attach(model, torch.Generator().manual_seed(0))
    names, generator = trained_names(model), torch.Generator().manual_seed(seed)
    state = {f"model.{name}": torch.randn(model.state_dict()[name].shape, generator=generator) for name in names}
    card = {
        "model": CONFIG.to_dict(),
        "adaptation": {"class_path": "LoRA", "init_args": {"r": 2}},
        "base": {"sha256": sha256, "path": base},
    }
    write_checkpoint(folder / CHECKPOINTS_DIR, step=1, state={"state_dict": state, "gpt_lightning": card})
    return str(folder)


@pytest.mark.parametrize(
    ("adapters", "each"), [(2, 2), pytest.param(8, 8, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_rows_of_many_adapters_are_what_each_is_alone(tmp_path: Path, adapters: int, each: int) -> None:
    folders = {f"a{number}": write_adapter(tmp_path / f"a{number}", number) for number in range(adapters)}
    models = {"tiny": Source("1"), **{name: Source("1", folder) for name, folder in folders.items()}}
    asked = [completion(f"prompt {seed}", model=name, seed=seed, logprobs=0) for name in models for seed in range(each)]

    def ask(client: Any, body: Any) -> Any:
        answer = client.post(TEXT, json=body).json()
        return answer["choices"], answer["system_fingerprint"]

    alone = []
    for body in asked:
        with serve({body["model"]: models[body["model"]]}) as (client, _):
            alone.append(ask(client, body))
    order = random.Random(0).sample(range(len(asked)), len(asked))
    with serve(models) as (client, service), ThreadPoolExecutor(16) as pool:
        engines = {id(service.aliases.find(name).engine) for name in models}
        found = dict(zip(order, pool.map(lambda number: ask(client, asked[number]), order), strict=True))
        again = [ask(client, body) for body in asked]  # from a warm prompt cache
        listed = [entry["system_fingerprint"] for entry in client.get("/v1/models").json()["data"]]
        assert client.post(TEXT, json=completion(model="a99")).json()["error"]["code"] == "model_not_found"
    assert len(engines) == 1
    assert [found[number] for number in range(len(asked))] == again == alone
    assert len(set(listed)) == len(models) == len({fingerprint for _, fingerprint in alone})
    # The base answers as a server without adapters does; the adapters do not.
    assert len({str(choices) for choices, _ in alone}) == len(alone)


def test_a_name_that_gets_another_adapter_answers_with_it_at_once(tmp_path: Path) -> None:
    first, second = (write_adapter(tmp_path / name, seed) for seed, name in enumerate(("first", "second")))
    names = tmp_path / "models.yaml"
    names.write_text(f"poems: {{base: '1', adapter: {first}}}\n")
    body = completion("a prompt of more than one piece of tokens", model="poems", logprobs=0)
    with serve(names) as (client, service):
        before = [client.post(TEXT, json=body).json()["choices"] for _ in range(2)]
        names.write_text(f"poems: {{base: '1', adapter: {second}}}\n")
        assert client.portal is not None
        assert client.portal.call(service.aliases.refresh)
        after = client.post(TEXT, json=body).json()["choices"]
        # One of another base, and one that is not there, change nothing.
        for wrong in (write_adapter(tmp_path / "other", 1, base="2"), str(tmp_path / "nowhere")):
            names.write_text(f"poems: {{base: '1', adapter: {wrong}}}\n")
            assert not client.portal.call(service.aliases.refresh)
            assert client.post(TEXT, json=body).json()["choices"] == after
    with serve({"poems": Source("1", second)}) as (client, _):
        assert client.post(TEXT, json=body).json()["choices"] == after
    assert before[0] == before[1] != after
    with pytest.raises(CheckpointError):
        load_wrong(tmp_path)


def load_wrong(place: Path) -> None:
    """A server does not begin with an adapter of another base."""
    with serve({"poems": Source("1", write_adapter(place / "wrong", 1, base="2"))}):
        pass


def test_scores_and_embeddings_are_the_adapter_s(tmp_path: Path) -> None:
    models = {"tiny": Source("1"), "a": Source("1", write_adapter(tmp_path / "a", 3))}
    with serve(models) as (client, _):
        for path, body in (
            ("/v1/embeddings", {"input": "a text"}),
            ("/v1/score", {"prompt": "a", "continuations": ["b"]}),
        ):
            found = [client.post(path, json={"model": name, **body}).json()["data"] for name in models]
            assert found[0] != found[1]
    assert load("1").adapter is None

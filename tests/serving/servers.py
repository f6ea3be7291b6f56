"""Servers in process, with tiny models of random weights."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.testclient import TestClient

from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.serving.app import build_app
from gpt_lightning.serving.feedback import Desk
from gpt_lightning.serving.request_log import RequestLog
from gpt_lightning.serving.server import bind, build_service
from gpt_lightning.serving.service import Service
from gpt_lightning.serving.settings import EngineSettings, Limits, Source
from gpt_lightning.serving.versions import Loader, Version, Versions, build_versions
from gpt_lightning.weights.loading import LoadedModel

CONFIG = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=128, vocab_size=257)
SETTINGS = EngineSettings(slots=4, piece_tokens=16, prompt_cache_mb=1)


def load(source: str, settings: EngineSettings = SETTINGS) -> Version:
    """Weights that are a function of the source, a number."""
    return load_all(source, (), settings)[None]


def load_all(base: str, adapters: Sequence[str] = (), settings: EngineSettings = SETTINGS) -> Versions:
    """The same with adapters, folders of runs."""
    return load_seed(int(base), Path(base), adapters, settings)


def load_seed(seed: int, path: Path, adapters: Sequence[str] = (), settings: EngineSettings = SETTINGS) -> Versions:
    """Weights that are a function of a seed, as if they had been found at a path."""
    model = GPT(CONFIG, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # so that some tokens are likelier than others
    return build_versions(LoadedModel(model.eval(), ByteTokenizer(), {}, path), adapters, settings)


@contextlib.contextmanager
def serve(
    models: dict[str, str] | Mapping[str, Source] | Path | None = None,
    *,
    settings: EngineSettings = SETTINGS,
    queue: int = 64,
    limits: Limits = Limits(),
    log: Path | None = None,
    desk: Desk | None = None,
    loader: Loader | None = None,
    **gate: Any,
) -> Iterator[tuple[TestClient, Service]]:
    """A client of a server that runs as long as the block."""
    found = {"tiny": "1"} if models is None else models
    if isinstance(found, dict):
        found = {name: Source(each) if isinstance(each, str) else each for name, each in found.items()}
    service, metrics = build_service(
        found,
        loader or (lambda base, adapters: load_all(base, adapters, settings)),
        queue=queue,
        limits=limits,
        log=None if log is None else RequestLog(log),
        desk=desk,
    )
    with TestClient(build_app(service, metrics, **gate)) as client:
        yield client, service


@contextlib.contextmanager
def listen(models: Mapping[str, str], settings: EngineSettings = SETTINGS, **gate: Any) -> Iterator[str]:
    """The address of a server at a real socket of this machine, in a thread."""
    sources = {name: Source(base) for name, base in models.items()}
    service, metrics = build_service(sources, lambda base, adapters: load_all(base, adapters, settings))
    config = uvicorn.Config(build_app(service, metrics, **gate), log_config=None, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    with bind("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


def chat(text: str = "Hi", **changes: Any) -> dict[str, Any]:
    """A request of a chat."""
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], "seed": 7, "max_tokens": 8, **changes}


def completion(prompt: Any = "Once", **changes: Any) -> dict[str, Any]:
    """A request of a completion."""
    return {"model": "tiny", "prompt": prompt, "seed": 7, "max_tokens": 8, **changes}


def read_events(text: str) -> list[dict[str, Any]]:
    """The objects of a stream that ended as it should."""
    parts = text.split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    assert all(part.startswith("data: ") and "\n" not in part for part in parts[:-1])
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]

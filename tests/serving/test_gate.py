"""Keys, rates, hosts, full queues, time limits, disconnects, failures, the end: who is let in, and who is let out."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from typing import Any

import pytest
import torch

from gpt_lightning.generation.engine import Engine
from gpt_lightning.serving.api_errors import ApiError
from gpt_lightning.serving.calls import read_completion
from gpt_lightning.serving.delivery import EventStream
from gpt_lightning.serving.gate import Keys, RateLimit
from gpt_lightning.serving.metrics import Metrics
from gpt_lightning.serving.server import JsonLines
from gpt_lightning.serving.settings import EngineSettings, Limits
from gpt_lightning.serving.worker import Worker
from tests.serving.servers import chat, completion, load, serve

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
LONG = completion(max_tokens=100, logit_bias={"256": -100})


def test_keys_open_all_but_the_page_and_the_health() -> None:
    with serve(keys=Keys(["right-key-1", "right-key-2"]), any_host=True) as (client, _):
        for header in (
            None,
            "Bearer wrong",
            "Bearer",
            "Basic right-key-1",
            "right-key-1",
            "Bearer right-key-1x",
            "Bearer é",
        ):
            headers = {} if header is None else {b"authorization": header.encode("utf-8")}
            for path in ("/v1/models", "/metrics", "/nowhere"):
                response = client.get(path, headers=headers)
                assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
                assert response.headers["www-authenticate"] == "Bearer"
        for path in ("/", "/health", "/ready"):
            assert client.get(path).status_code == 200
        for key in ("right-key-1", "right-key-2"):
            assert client.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_a_key_has_so_many_requests_a_minute() -> None:
    now = [0.0]
    limit = RateLimit(6, clock=lambda: now[0])
    for _ in range(6):
        limit.take("a")
    with pytest.raises(ApiError) as caught:
        limit.take("a")
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "11"})
    limit.take("b")
    now[0] = 10.0
    limit.take("a")
    with pytest.raises(ApiError):
        limit.take("a")


def test_without_keys_only_local_names_are_answered() -> None:
    with serve() as (client, _):
        for host in ("evil.example", "localhost.evil.example:8000", "", "[::2]:80"):
            response = client.get("/v1/models", headers={"host": host})
            assert (response.status_code, response.json()["error"]["code"]) == (403, "wrong_host")
        for host in ("localhost:8000", "127.0.0.1", "[::1]:80"):
            assert client.get("/v1/models", headers={"host": host}).status_code == 200
        # No other site's script may read an answer.
        asked = client.options(
            CHAT, headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
        )
        assert "access-control-allow-origin" not in asked.headers
        assert asked.status_code == 405


def test_a_full_queue_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, step = threading.Event(), Engine.step

    def held(self: Engine) -> Any:
        gate.wait(30)
        return step(self)

    monkeypatch.setattr(Engine, "step", held)
    with serve(queue=2) as (client, service):
        answers: list[Any] = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post(TEXT, json=completion(n=3)))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while service.worker.texts < 6:
            time.sleep(0.002)
        refused = client.post(TEXT, json=completion())
        gate.set()
        for thread in threads:
            thread.join()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert [answer.status_code for answer in answers] == [200, 200]
        assert client.post(TEXT, json=completion()).status_code == 200


def test_what_takes_too_long_is_given_up() -> None:
    with serve(limits=Limits(request_seconds=0.0)) as (client, service):
        whole = client.post(TEXT, json=LONG)
        assert (whole.status_code, whole.json()["error"]["code"]) == (408, "request_timeout")
        streamed = client.post(TEXT, json={**LONG, "stream": True}).text.split("\n\n")
        assert json.loads(streamed[-2].removeprefix("data: "))["error"]["code"] == "request_timeout"
        assert service.worker.texts == 0


def test_an_engine_that_fails_fails_its_requests_and_goes_on() -> None:
    with serve({"tiny": "1", "other": "2"}) as (client, service):
        weight = service.aliases.find("tiny").loaded.model.token_embedding.weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.fill_(float("nan"))
        broken = client.post(TEXT, json=completion())
        assert (broken.status_code, broken.json()["error"]["code"]) == (500, "engine_failed")
        assert client.post(TEXT, json=completion(model="other")).status_code == 200
        with torch.no_grad():
            weight.copy_(kept)
        assert client.post(TEXT, json=completion()).status_code == 200
        assert service.worker.texts == 0


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_who_goes_away_leaves_a_free_slot_within_a_step(count: int) -> None:
    """One slot: the next request begins at once, or this would take as long as all answers together."""
    version = load("1", EngineSettings(slots=1, piece_tokens=16, prompt_cache_mb=0))
    call = read_completion({**LONG, "stream": True}, version)

    async def leave(worker: Worker, after: int) -> None:
        job = worker.submit(version, call)
        news = job.news()
        async for _ in news:
            after -= 1
            if after < 0:
                break
        await news.aclose()
        worker.release(job)

    async def run() -> int:
        worker = Worker(4, Metrics())
        worker.start()
        steps, step = 0, version.engine.step

        def counted() -> Any:
            nonlocal steps
            steps += 1
            return step()

        version.engine.step = counted  # type: ignore[method-assign]
        wanted = 0
        for number in range(count):
            before = steps
            await leave(worker, number % 7)
            while version.engine.load != (0, 0):
                await asyncio.sleep(0)
            wanted += number % 7 + 1
            # Steps that ran before the event loop took up the news count as unsent; after the release at most one.
            assert steps - before < 100
        await worker.stop()
        assert worker.texts == 0
        return steps

    assert asyncio.run(run()) < count * 50


def test_the_thread_rests_while_callers_read_their_last_event() -> None:
    """Else a slow reader would keep a core busy, and the event loop from the interpreter."""
    version = load("1", EngineSettings(slots=1, piece_tokens=16, prompt_cache_mb=0))
    call = read_completion(completion("a", max_tokens=3), version)

    async def run() -> int:
        worker = Worker(4, Metrics())
        worker.start()
        job = worker.submit(version, call)
        await job.complete()
        steps, step = 0, version.engine.step

        def counted() -> Any:
            nonlocal steps
            steps += 1
            return step()

        version.engine.step = counted  # type: ignore[method-assign]
        await asyncio.sleep(0.2)
        worker.release(job)
        again = worker.submit(version, call)
        assert await again.complete()
        worker.release(again)
        await worker.stop()
        return steps

    # Those of the second call, and of the first what began before the count.
    assert asyncio.run(run()) <= 6


def test_a_stream_that_nobody_reads_is_cancelled() -> None:
    closed, sent = [], []

    async def events() -> Any:
        while True:
            await asyncio.sleep(0)
            yield {"a": 1}

    async def receive() -> Any:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(EventStream(events(), lambda: closed.append(1))({"type": "http"}, receive, send))
    assert closed == [1]
    assert sent[0]["type"] == "http.response.start"


def test_a_draining_server_ends_what_runs_and_takes_nothing_new() -> None:
    with serve() as (client, service):
        service.drain()
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        refused = client.post(CHAT, json=chat())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_shutdown")
        assert refused.headers["retry-after"] == "5"


def test_the_log_has_facts_and_no_texts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gpt_lightning.serving.requests"), serve() as (client, _):
        answer = client.post(TEXT, json=completion("a secret", user="somebody"))
    (record,) = caplog.records
    line = JsonLines().format(record)
    facts = json.loads(line)
    assert facts["id"] == answer.headers["x-request-id"]
    assert (facts["path"], facts["status"], facts["prompt_tokens"], facts["completion_tokens"]) == (TEXT, 200, 9, 8)
    assert facts["user"] == "somebody"
    assert "secret" not in line
    assert answer.json()["choices"][0]["text"] not in line

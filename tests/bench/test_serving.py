"""A server under load on this machine alone: tokens per second beside the engine in process, gaps, overhead.

Bounded: so many clients, each so many streams, one after the other. Figures are of the machine and the hour; what must
hold on any is asserted: no error, every stream complete.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.serving.settings import EngineSettings
from gpt_lightning.serving.versions import load_versions
from tests.serving.servers import completion
from tests.serving.test_process import start, write_model

CLIENTS, STREAMS, TOKENS = 32, int(os.environ.get("SERVING_STREAMS", "4")), 48
_BIAS = {"256": -100}


def body(number: int, tokens: int = TOKENS) -> dict[str, Any]:
    return completion(f"prompt number {number}", seed=number, max_tokens=tokens, logit_bias=_BIAS, stream=True)


async def read(client: httpx2.AsyncClient, asked: dict[str, Any]) -> list[float]:
    """Seconds of every event, the first since the request."""
    times = [time.perf_counter()]
    async with client.stream("POST", "/v1/completions", json=asked) as response:
        assert response.status_code == 200
        last = ""
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                times.append(time.perf_counter())
                last, before = line, last
    assert last == "data: [DONE]"
    assert json.loads(before.removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    return [later - earlier for earlier, later in itertools.pairwise(times)]


async def drive(url: str) -> tuple[list[float], list[float], float]:
    """Gaps between events of all streams, time to the first one, and seconds of all."""
    gaps: list[float] = []
    firsts: list[float] = []

    async def one(client: httpx2.AsyncClient, number: int) -> None:
        for stream in range(STREAMS):
            first, *rest = await read(client, body(number * STREAMS + stream))
            firsts.append(first)
            gaps.extend(rest)

    limits = httpx2.Limits(max_connections=CLIENTS)
    async with httpx2.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        await read(client, body(0, 1))
        started = time.perf_counter()
        await asyncio.gather(*(one(client, number) for number in range(CLIENTS)))
        return gaps, firsts, time.perf_counter() - started


async def answer_one_by_one(url: str, count: int = 50) -> float:
    """Median seconds of a request of one token by one client."""
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
        return statistics.median([sum(await read(client, body(number, 1))) for number in range(count)])


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_a_server_under_load(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "served")
    settings = EngineSettings(slots=16, piece_tokens=32, prompt_cache_mb=0)
    engine = load_versions(str(folder), (), settings)[None].engine
    sampling = Sampling(logit_bias={256: -100.0})
    asked = [
        Request([256, *f"prompt number {number}".encode()], max_tokens=TOKENS, sampling=sampling, seed=number)
        for number in range(CLIENTS * STREAMS)
    ]
    started = time.perf_counter()
    written = sum(len(each.ids) for answers in engine.generate(asked) for each in answers)
    alone = written / (time.perf_counter() - started)
    started = time.perf_counter()
    for request in asked[:50]:
        list(engine.stream(dataclasses.replace(request, max_tokens=1)))
    direct = (time.perf_counter() - started) / 50
    options = ["--slots", "16", "--piece_tokens", "32", "--prompt_cache_mb", "0", "--queue", "64"]
    # A process of its own: clients in this one would take turns with the engine.
    with start(folder, *options) as (_, url):
        gaps, firsts, seconds = asyncio.run(drive(url))
        single = asyncio.run(answer_one_by_one(url))
    gaps.sort()
    p50, p99 = (gaps[int(len(gaps) * share)] for share in (0.5, 0.99))
    print(
        f"\n{CLIENTS} clients x {STREAMS} streams x {TOKENS} tokens: {written / seconds:,.0f} tokens/s, in process "
        f"{alone:,.0f} ({written / seconds / alone:.2f}x); between tokens p50 {1e3 * p50:.1f} ms, p99 "
        f"{1e3 * p99:.1f} ms ({p99 / p50:.1f}x); first token p50 {1e3 * statistics.median(firsts):.0f} ms; one client "
        f"{1e3 * single:.1f} ms a request of one token, in process {1e3 * direct:.1f} ms"
    )

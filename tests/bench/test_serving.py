"""A server under load on this machine alone: tokens per second beside the engine in process, gaps, overhead.

Bounded: so many clients, each so many streams, one after the other. The model has the shape of configs/shakespeare_char
(10.6M parameters): on one of a few thousand only the protocol would be measured. Figures are of the machine and the
hour; what must hold on any is asserted: no error, every stream complete.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.serving.settings import EngineSettings
from gpt_lightning.serving.versions import load_versions
from tests.serving.servers import completion
from tests.serving.test_process import start, write_model

CLIENTS, STREAMS, TOKENS = 32, int(os.environ.get("SERVING_STREAMS", "4")), 48
_BIAS = {str(token): -100 for token in range(128, 257)}
"""ASCII alone: bytes of a letter that is not complete are held back, which would be counted as gaps between tokens."""
CONFIG = GPTConfig(n_layer=6, n_head=6, n_embd=384, block_size=256, vocab_size=257)
SETTINGS = EngineSettings(slots=16, piece_tokens=32, prompt_cache_mb=0)


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


def measure_engine(folder: str) -> dict[str, float]:
    """Tokens per second of all streams, and milliseconds of a request of one token, without a server."""
    engine = load_versions(folder, (), SETTINGS)[None].engine
    sampling = Sampling(logit_bias={int(token): float(bias) for token, bias in _BIAS.items()})
    asked = [
        Request([256, *f"prompt number {number}".encode()], max_tokens=TOKENS, sampling=sampling, seed=number)
        for number in range(CLIENTS * STREAMS)
    ]
    engine.generate(asked[:16])
    started = time.perf_counter()
    written = sum(len(each.ids) for answers in engine.generate(asked) for each in answers)
    rate = written / (time.perf_counter() - started)
    times = []
    for request in asked[:50]:
        started = time.perf_counter()
        list(engine.stream(dataclasses.replace(request, max_tokens=1)))
        times.append(time.perf_counter() - started)
    return {"tokens": written, "rate": rate, "one": 1e3 * statistics.median(times)}


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_a_server_under_load(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "served", CONFIG)
    # A process of its own, as the server's: the suite checks shapes at run time, which costs the engine two thirds.
    command = [sys.executable, "-m", "tests.bench.test_serving", str(folder)]
    alone = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    options = ["--slots", "16", "--piece_tokens", "32", "--prompt_cache_mb", "0", "--queue", "64"]
    with start(folder, *options) as (_, url):
        gaps, firsts, seconds = asyncio.run(drive(url))
        single = asyncio.run(answer_one_by_one(url))
    gaps.sort()
    p50, p99 = (gaps[int(len(gaps) * share)] for share in (0.5, 0.99))
    rate = alone["tokens"] / seconds
    print(
        f"\n{CLIENTS} clients x {STREAMS} streams x {TOKENS} tokens: {rate:,.0f} tokens/s, in process "
        f"{alone['rate']:,.0f} ({rate / alone['rate']:.2f}x); between tokens p50 {1e3 * p50:.1f} ms, p99 "
        f"{1e3 * p99:.1f} ms ({p99 / p50:.1f}x); first token p50 {1e3 * statistics.median(firsts):.0f} ms; one client "
        f"{1e3 * single:.1f} ms a request of one token, in process {alone['one']:.1f} ms"
    )


if __name__ == "__main__":
    print(json.dumps(measure_engine(sys.argv[1])))

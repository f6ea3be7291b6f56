"""The program as a process: it says where it listens, ends what runs at SIGTERM, leaves nothing, starts again."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.serving.server import bind

CONFIG = GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=1024, vocab_size=257)


def write_model(folder: Path, config: GPTConfig = CONFIG) -> Path:
    """A run folder of random weights."""
    weights = {f"model.{name}": value for name, value in GPT(config).state_dict().items()}
    card = {"model": config.to_dict(), "tokenizer": ByteTokenizer().describe()}
    write_checkpoint(folder / CHECKPOINTS_DIR, step=1, state={"state_dict": weights, "gpt_lightning": card})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("served"))


@contextlib.contextmanager
def start(run: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server, and its address once it says so."""
    command = [sys.executable, "-m", "gpt_lightning", "serve", str(run), "--name", "tiny", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"Serving tiny at (http://127\.0\.0\.1:\d+)  \(Ctrl-C ends it\)\n", line)
        assert found, line + process.stderr.read() if process.stderr else line
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def ask(url: str, tokens: int, **changes: Any) -> Any:
    bias = {"256": -100}
    body = {"model": "tiny", "prompt": "a", "max_tokens": tokens, "seed": 1, "logit_bias": bias, **changes}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=100)


def test_small_events_are_sent_at_once() -> None:
    """asyncio asks for that only where a socket says that it is TCP's; without it a stream waited 40 ms a request."""
    with bind("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def is_free(url: str) -> bool:
    with socket.socket() as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind(("127.0.0.1", int(url.rpartition(":")[2])))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("streams", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_sigterm_ends_what_runs_and_leaves_nothing(run: Path, streams: int) -> None:
    with start(run, "--drain_seconds", "60") as (process, url), ThreadPoolExecutor(streams) as pool:
        opened = [ask(url, 60, stream=True) for _ in range(streams)]
        firsts = [answer.readline() for answer in opened]
        process.send_signal(signal.SIGTERM)
        texts = list(pool.map(lambda answer: answer.read().decode(), opened))
        assert process.wait(60) == 0
        assert all(first.startswith(b"data: {") for first in firsts)
        assert all(text.endswith('"finish_reason":"length"}]}\n\ndata: [DONE]\n\n') for text in texts)
        assert is_free(url)
        assert psutil.Process().children(recursive=True) == []
        assert process.stderr is not None
        logged = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert [line["completion_tokens"] for line in logged if line.get("stream")] == [60] * streams


@pytest.mark.slow
def test_a_second_signal_ends_every_answer_now(run: Path) -> None:
    with start(run, "--drain_seconds", "60") as (process, url):
        answer = ask(url, 1000, stream=True)
        answer.readline()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)  # two of one kind that wait together are one
        events = answer.read().decode().split("\n\n")
        assert json.loads(events[-2].strip().removeprefix("data: "))["error"]["code"] == "server_shutdown"
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_what_takes_longer_than_the_end_is_told_so_and_a_killed_server_starts_again(run: Path) -> None:
    with start(run, "--drain_seconds", "0") as (process, url):
        answer = ask(url, 1000, stream=True)
        answer.readline()
        process.send_signal(signal.SIGTERM)
        events = answer.read().decode().split("\n\n")
        assert json.loads(events[-2].strip().removeprefix("data: "))["error"]["code"] == "server_shutdown"
        assert process.wait(60) == 0
    texts = []
    for _ in range(2):
        with start(run) as (process, url):
            texts.append(json.load(ask(url, 20))["choices"])
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            assert is_free(url)
    assert texts[0] == texts[1]

"""The same request, the same answer: alone, among others, after a restart, after other weights, cold and warm."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gpt_lightning.cli import main
from gpt_lightning.errors import ConfigError
from gpt_lightning.serving import replay as replaying
from gpt_lightning.serving.aliases import read_aliases
from gpt_lightning.serving.settings import EngineSettings
from tests.generation.models import write_run
from tests.serving.servers import SETTINGS, chat, completion, load_all, serve

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
Asked = list[tuple[str, dict[str, Any]]]


def requests(count: int) -> Asked:
    """Of both endpoints; prompts that begin alike, of one piece and of several; settings of all kinds."""
    draw = random.Random(0)
    shared = "The quick brown fox jumps over the lazy dog. " * 2
    found: Asked = []
    for seed in range(count):
        text = shared[: draw.randint(1, 80)]
        settings: dict[str, Any] = {
            "seed": seed,
            "max_tokens": draw.randint(1, 12),
            "temperature": draw.choice([0, 1.0]),
        }
        settings |= draw.choice([{}, {"top_p": 0.9}, {"frequency_penalty": 1.0}, {"top_k": 40, "n": 2}])
        if seed % 2:
            found.append((CHAT, chat(text[:60], logprobs=True, top_logprobs=2, **settings)))
        else:
            found.append((TEXT, completion(text, logprobs=1, echo=seed % 4 == 0, **settings)))
    return found


def ask(client: TestClient, asked: Asked, order: list[int] | None = None, at_once: int = 1) -> list[Any]:
    def one(number: int) -> Any:
        answer = client.post(asked[number][0], json=asked[number][1]).json()
        return answer["choices"], answer["usage"], answer["system_fingerprint"]

    numbers = list(range(len(asked))) if order is None else order
    with ThreadPoolExecutor(at_once) as pool:
        found = dict(zip(numbers, pool.map(one, numbers), strict=True))
    return [found[number] for number in range(len(asked))]


@pytest.mark.parametrize(
    ("count", "rounds"), [(8, 1), pytest.param(64, 5, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_answers_are_equal_to_the_bit(tmp_path: Path, count: int, rounds: int) -> None:
    asked, names = requests(count), tmp_path / "models.yaml"
    with serve() as (client, _):
        alone = ask(client, asked)
    assert len({str(each) for each in alone}) == count
    for number in range(rounds):
        order = random.Random(number).sample(range(count), count)
        names.write_text("tiny: '1'\n")
        settings = EngineSettings(slots=3 + number, piece_tokens=SETTINGS.piece_tokens, prompt_cache_mb=number % 2)
        with serve(names, settings=settings) as (client, service):
            assert ask(client, asked, order, at_once=16) == alone, "cold, among others, after a restart"
            assert ask(client, asked, order[::-1], at_once=16) == alone, "warm"
            names.write_text("tiny: '2'\n")
            assert client.portal is not None
            assert client.portal.call(service.aliases.refresh)
            others = ask(client, asked, at_once=16)
            assert all(one[0] != other[0] and one[2] != other[2] for one, other in zip(others, alone, strict=True))
            names.write_text("tiny: '1'\n")
            assert client.portal.call(service.aliases.refresh)
            assert ask(client, asked, at_once=16) == alone, "after other weights"


def test_a_running_answer_ends_on_the_version_it_began_with(tmp_path: Path) -> None:
    names = tmp_path / "models.yaml"
    names.write_text("tiny: '1'\nother: '1'\n")
    body = completion(max_tokens=30, logit_bias={"256": -100})
    with serve(names) as (client, service):
        expected = client.post(TEXT, json=body).json()["choices"][0]["text"]
        assert service.aliases.find("tiny") is service.aliases.find("other")
        old = service.aliases.find("tiny")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(client.post, TEXT, json=body)
            names.write_text("tiny: '2'\n")
            assert client.portal is not None
            client.portal.call(service.aliases.refresh)
            answer = running.result().json()
        assert answer["choices"][0]["text"] in (expected, client.post(TEXT, json=body).json()["choices"][0]["text"])
        assert service.aliases.find("tiny") is not old
        assert client.post(TEXT, json={**body, "model": "other"}).status_code == 404
        # What cannot be loaded leaves the names as they are.
        for wrong in ("tiny: nowhere\n", "- tiny\n", ": :"):
            names.write_text(wrong)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(service.aliases, "_load", _fail)
                assert not client.portal.call(service.aliases.refresh)
            assert client.post(TEXT, json=body).status_code == 200


def _fail(base: str, adapters: Any) -> Any:
    raise ConfigError(f"There is nothing at {base}")


def test_a_log_is_answered_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "requests.jsonl"
    with serve(log=log) as (client, _):
        for path, body in requests(4):
            client.post(path, json={**body, "seed": None})  # drawn by the server, and written down
            streamed = {key: value for key, value in body.items() if key not in ("echo", "stream_options")}
            client.post(path, json={**streamed, "stream": True})
        client.post(TEXT, json=completion(n=0))
    assert len(log.read_text().splitlines()) == 8
    assert log.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(replaying, "loader", lambda _: load_all)
    arguments = ["serve", "replay", str(log), "--checkpoint"]
    assert main([*arguments, "1"]) == 0
    assert capsys.readouterr().out == "8 answers, 8 the same\n"
    assert main([*arguments, "2"]) == 3
    found = capsys.readouterr()
    assert "8 answers, 0 the same, 8 of other weights or settings" in found.out
    assert "8 of 8 answers differ, the first in line 1" in found.err


def test_a_file_of_models_is_a_table(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    for text in ("", "[]", "a: 1", "a: {b: c}", "a: b: c", "a: {base: b, adapter: 3}", "1: b"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            read_aliases(file)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--host", "0.0.0.0"], "nobody would be asked for a key: got '0.0.0.0'"),
        (["--port", "70000"], "port is out of range"),
        (["--slots", "0"], "slots is out of range: got 0"),
        (["--queue", "-1"], "queue is negative"),
        (["--requests_per_minute", "0"], "requests_per_minute is not positive"),
        (["--models", "models.yaml"], "one model or a file of models"),
        (["--name", "a", "--adapter", "x/a"], "Two models have one name"),
        (["--api_key", "short"], "A key is no key"),
        (["--api_keys", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--weights", "int3"], "no such weights: got 'int3'"),
        (["--request_log", "/nowhere/log"], "The log /nowhere/log cannot be written"),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = [] if "--port" in arguments else ["--port", "0"]
    assert main(["serve", str(write_run(tmp_path / "run")), *port, *arguments]) == 2
    assert part in capsys.readouterr().err

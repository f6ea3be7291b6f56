"""Every documented parameter is honoured or refused by name; what is malformed is refused and nothing breaks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

from gpt_lightning.serving import calls
from gpt_lightning.serving.service import Service
from gpt_lightning.serving.settings import Limits
from tests.serving.servers import chat, completion, serve

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[TestClient, Service]]:
    with serve(limits=Limits(body_bytes=20_000)) as found:
        yield found


@pytest.fixture(scope="module")
def client(served: tuple[TestClient, Service]) -> TestClient:
    return served[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "rules", "refused"),
    [
        ("chat.completion_create_params", "CompletionCreateParamsBase", calls.CHAT_RULES, calls.CHAT_REFUSED),
        ("completion_create_params", "CompletionCreateParamsBase", calls.COMPLETION_RULES, calls.COMPLETION_REFUSED),
        ("embedding_create_params", "EmbeddingCreateParams", calls.EMBEDDING_RULES, calls.EMBEDDING_REFUSED),
    ],
)
def test_every_parameter_of_the_stock_client_is_known(
    module: str, name: str, rules: Mapping[str, Any], refused: Mapping[str, Any]
) -> None:
    """The list is the client's own type hints; ``stream`` stands in subclasses of them."""
    types = pytest.importorskip(f"openai.types.{module}")
    documented = set(getattr(types, name).__annotations__)
    assert documented
    assert documented - set(rules) - set(refused) == set()
    assert set(refused) <= documented
    assert not set(rules) & set(refused)


HONOURED: dict[str, Any] = {
    "frequency_penalty": 2.0, "presence_penalty": 2.0, "temperature": 0, "top_p": 0.01, "top_k": 1, "min_p": 1.0,
    "repetition_penalty": 50.0, "logit_bias": {"65": 100}, "max_completion_tokens": 3, "n": 2, "seed": 9,
    "stop": ["\x00"], "logprobs": True, "stream": True,
}  # fmt: skip
"""A value of each parameter that changes an answer; the rest below changes none and must be checked to be taken."""
_NEUTRAL = {"user", "safety_identifier", "draft_tokens", "response_format", "model", "messages"}
_ELSEWHERE = {"stream_options", "top_logprobs", "max_tokens"}
"""Tested with what they belong to (test_answers)."""


def test_honoured_parameters_change_the_answer(client: TestClient) -> None:
    assert set(HONOURED) | _NEUTRAL | _ELSEWHERE == set(calls.CHAT_RULES)
    body = chat(max_tokens=None, max_completion_tokens=12, logit_bias={"0": 60, "66": 59})
    plain = client.post(CHAT, json=body).json()["choices"]
    for name, value in HONOURED.items():
        response = client.post(CHAT, json={**body, name: value})
        assert response.status_code == 200, response.text
        assert name == "stream" or response.json()["choices"] != plain, name
    neutral = {"user": "u", "safety_identifier": "s", "draft_tokens": 4, "response_format": {"type": "text"}}
    assert client.post(CHAT, json={**body, **neutral}).json()["choices"] == plain
    neutral = {"tools": [], "store": False, "tool_choice": "none", "modalities": ["text"], "metadata": None}
    assert client.post(CHAT, json={**body, **neutral}).json()["choices"] == plain


@pytest.mark.parametrize("name", sorted(calls.CHAT_REFUSED))
def test_the_rest_is_refused_by_name(client: TestClient, name: str) -> None:
    response = client.post(CHAT, json={**chat(), name: {"anything": 1}})
    problem = response.json()["error"]
    assert (response.status_code, problem["param"], problem["code"]) == (400, name, "unsupported_parameter")
    assert problem["message"].startswith(f"{name} is not supported: ")


WRONG = [
    (CHAT, {"temperature": 5}, "temperature", "invalid_value"),
    (CHAT, {"temperature": True}, "temperature", "invalid_value"),
    (CHAT, {"top_p": 9}, "top_p", "invalid_value"),
    (CHAT, {"max_tokens": -3}, "max_tokens", "invalid_value"),
    (CHAT, {"max_tokens": 2, "max_completion_tokens": 2}, "max_tokens", "invalid_value"),
    (CHAT, {"n": 0}, "n", "invalid_value"),
    (CHAT, {"n": 128}, "n", None),
    (CHAT, {"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
    (CHAT, {"stop": ""}, "stop", "invalid_value"),
    (CHAT, {"logit_bias": {"a": 1}}, "logit_bias", "invalid_value"),
    (CHAT, {"logit_bias": {"257": 1}}, "logit_bias", "invalid_value"),
    (CHAT, {"top_logprobs": 3}, "top_logprobs", "invalid_value"),
    (CHAT, {"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    (CHAT, {"messages": []}, "messages", "invalid_value"),
    (CHAT, {"messages": [{"role": "user"}]}, "messages", "invalid_value"),
    (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, "messages", "invalid_value"),
    (CHAT, {"messages": [{"role": "user", "content": "\ud800"}]}, "messages", "invalid_value"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "invalid_value"),
    (CHAT, {"messages": [{"role": "user", "content": "x" * 200}]}, "messages", "context_length_exceeded"),
    (CHAT, {"max_tokens": 120}, "max_tokens", "context_length_exceeded"),
    (CHAT, {"response_format": {"type": "json_object"}}, "response_format", "invalid_value"),
    (CHAT, {"model": "gpt-4"}, "model", "model_not_found"),
    (CHAT, {"model": 4}, "model", "invalid_value"),
    (CHAT, {"model": None}, "model", "missing_required_parameter"),
    (CHAT, {"messages": None}, "messages", "missing_required_parameter"),
    (CHAT, {"temp_erature": 1}, "temp_erature", "unknown_parameter"),
    (TEXT, {"prompt": []}, "prompt", "invalid_value"),
    (TEXT, {"prompt": [[]]}, "prompt", "invalid_value"),
    (TEXT, {"prompt": [300]}, "prompt", "invalid_value"),
    (TEXT, {"prompt": [1, "a"]}, "prompt", "invalid_value"),
    (TEXT, {"best_of": 2, "n": 3}, "best_of", "invalid_value"),
    (TEXT, {"best_of": 2, "stream": True}, "best_of", "invalid_value"),
    (TEXT, {"echo": True, "logprobs": 1, "stream": True}, "stream", "invalid_value"),
    (TEXT, {"suffix": "end"}, "suffix", "unsupported_parameter"),
]


@pytest.mark.parametrize(("path", "changes", "param", "code"), WRONG)
def test_mistakes_are_named(
    client: TestClient, path: str, changes: dict[str, Any], param: str, code: str | None
) -> None:
    body = {**(chat() if path == CHAT else completion()), **changes}
    response = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    problem = response.json()["error"]
    assert (response.status_code, problem["param"], problem["code"]) == (
        404 if param == "model" and code == "model_not_found" else 400,
        param,
        code,
    )
    assert set(problem) == {"message", "type", "param", "code"}
    assert (len(problem["message"]), problem["type"]) <= (300, "invalid_request_error")


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_body"),
        (b"", "application/json", 400, "invalid_body"),
        (b"[]", "application/json", 400, "invalid_body"),
        (b"\xff{}", "application/json", 400, "invalid_body"),
        (b"[" * 10_000, "application/json", 400, "invalid_body"),
        (b'{"n": 1e999}', "application/json", 400, "invalid_body"),
        (b'{"n": NaN}', "application/json", 400, "invalid_body"),
        (b'{"n": ' + b"9" * 9000 + b"}", "application/json", 400, "invalid_body"),
        (b" " * 20_001, "application/json", 413, "body_too_large"),
        (b"{}", "text/plain", 415, "invalid_body"),
    ],
)
def test_bodies_that_are_no_requests(client: TestClient, content: bytes, kind: str, status: int, code: str) -> None:
    for path in (CHAT, TEXT, "/v1/embeddings", "/v1/score", "/v1/classify"):
        response = client.post(path, content=content, headers={"content-type": kind})
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def garble(draw: random.Random) -> bytes:
    """A request of which something is wrong, or almost."""
    body: dict[str, Any] = draw.choice([chat, completion])(max_tokens=draw.choice([0, 1, 2]))
    values: list[Any] = [
        None, True, 0, -1, 1, 3.5, 1e300, 10**40, "", "x", "\ud83d", "中🙂\0", [], {}, [None], {"a": {}}, [0, 256],
        [{"role": "user", "content": "x"}] * 3, [{"role": [], "content": {}}], {"1": 2}, "a" * 2000, {"type": "text"},
    ]  # fmt: skip
    names = [*calls.CHAT_RULES, *calls.CHAT_REFUSED, *calls.COMPLETION_RULES, "input", "continuations", "nonsense", ""]
    for _ in range(draw.randint(0, 3)):
        body[draw.choice(names)] = draw.choice(values)
    text = json.dumps(body).encode()
    if draw.random() < 0.2:
        place = draw.randrange(len(text))
        text = (
            text[:place] + draw.choice([b"", b"\x00", b"\xc3", b"NaN", b"]", b'"']) + text[place + draw.randint(0, 3) :]
        )
    return text if draw.random() < 0.9 else text[: draw.randrange(len(text))]


@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_garbage_never_breaks_the_server(served: tuple[TestClient, Service], count: int) -> None:
    client, service = served
    draw = random.Random(count)
    statuses: dict[int, int] = {}
    for _ in range(count):
        path = draw.choice([CHAT, TEXT, "/v1/embeddings", "/v1/score", "/v1/classify"])
        response = client.post(path, content=garble(draw), headers={"content-type": "application/json"})
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        if response.status_code != 200:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert max(statuses) < 500, statuses
    assert statuses[400] > count / 2
    assert statuses.get(200, 0) > count / 100
    assert service.worker.texts == 0
    assert client.post(CHAT, json=chat()).status_code == 200

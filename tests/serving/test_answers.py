"""What is answered: OpenAI's objects with exact contents, whole and streamed."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.generation.text import encode_prompt
from tests.serving.servers import chat, completion, load, read_events, serve

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serve() as (found, _):
        yield found


def post(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def stream(client: TestClient, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = client.post(path, json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    return read_events(response.text)


def test_a_chat_has_all_that_clients_read(client: TestClient) -> None:
    answer = post(client, CHAT, chat())
    (choice,) = answer["choices"]
    assert (answer["object"], answer["model"]) == ("chat.completion", "tiny")
    assert answer["id"].startswith("chatcmpl-")
    assert set(choice) == {"index", "message", "logprobs", "finish_reason"}
    assert choice["message"] == {
        "role": "assistant",
        "content": choice["message"]["content"],
        "refusal": None,
        "annotations": [],
    }
    assert choice["finish_reason"] == "length"
    # One end-of-text, "User: Hi", a line's end, "Assistant:".
    assert answer["usage"] == {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}


@pytest.mark.parametrize(("path", "body"), [(CHAT, chat(n=3)), (TEXT, completion(["ab", "c"], n=2, echo=True))])
def test_a_stream_joins_to_the_whole(client: TestClient, path: str, body: dict[str, Any]) -> None:
    body = {**body, "max_tokens": 40}
    whole = post(client, path, body)
    chunks = stream(client, path, {**body, "stream_options": {"include_usage": True}})
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["system_fingerprint"] for chunk in chunks} == {whole["system_fingerprint"]}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    for choice in whole["choices"]:
        mine = [each for chunk in chunks[:-1] for each in chunk["choices"] if each["index"] == choice["index"]]
        texts = [each["text"] if path == TEXT else each["delta"].get("content", "") for each in mine]
        assert "".join(texts) == (choice["text"] if path == TEXT else choice["message"]["content"])
        assert [each["finish_reason"] for each in mine if each["finish_reason"]] == [choice["finish_reason"]]
    assert len({str(choice) for choice in whole["choices"]}) == len(whole["choices"])


def test_streamed_log_probabilities_are_those_of_the_whole(client: TestClient) -> None:
    body = chat(logprobs=True, top_logprobs=2)
    whole = post(client, CHAT, body)["choices"][0]["logprobs"]["content"]
    found = [each["choices"][0]["logprobs"] for each in stream(client, CHAT, body)]
    assert [entry for each in found if each for entry in each["content"]] == whole
    assert len(whole) == 8
    for entry in whole:
        assert len(entry["top_logprobs"]) == 2
        assert set(entry) == {"token", "logprob", "bytes", "top_logprobs"}
    text = b"".join(bytes(entry["bytes"]) for entry in whole).decode(errors="replace")
    assert text.lstrip() == post(client, CHAT, body)["choices"][0]["message"]["content"]


def test_completions_tell_log_probabilities_of_prompt_and_text(client: TestClient) -> None:
    ids = [256, *b"abc"]
    answer = post(client, TEXT, completion(ids, echo=True, logprobs=2, max_tokens=2))["choices"][0]
    logs = answer["logprobs"]
    assert [len(each) for each in logs.values()] == [6, 6, 6, 6]
    assert (logs["tokens"][:4], logs["token_logprobs"][0], logs["top_logprobs"][0]) == (
        ["<|endoftext|>", "a", "b", "c"],
        None,
        None,
    )
    assert logs["text_offset"][:5] == [0, 13, 14, 15, 16]
    model = load("1").loaded.model
    with torch.no_grad():
        wanted = model.logits(model(torch.tensor([ids])))[0].log_softmax(-1)
    for place in (1, 2, 3):
        assert logs["token_logprobs"][place] == pytest.approx(float(wanted[place - 1, ids[place]]), abs=1e-5)
        # As lm-eval reads it: the token is the likeliest if its number is the largest.
        assert max(logs["top_logprobs"][place].values()) == pytest.approx(float(wanted[place - 1].max()), abs=1e-5)
        assert logs["tokens"][place] in logs["top_logprobs"][place]
    # A prompt that came as a string has no end-of-text in its text, and every token of it something before it.
    plain = post(client, TEXT, completion("abc", echo=True, logprobs=0, max_tokens=0))["choices"][0]
    assert (plain["text"], plain["logprobs"]["tokens"]) == ("abc", ["a", "b", "c"])
    assert plain["logprobs"]["token_logprobs"] == logs["token_logprobs"][1:4]
    assert plain["finish_reason"] == "length"


def test_stop_seed_bias_and_best_of(client: TestClient) -> None:
    whole = post(client, TEXT, completion(max_tokens=30))["choices"][0]["text"]
    stop = whole[3:5]
    stopped = post(client, TEXT, completion(max_tokens=30, stop=["never", stop]))["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == (whole[: whole.index(stop)], "stop")
    assert post(client, TEXT, completion(seed=8, max_tokens=30))["choices"][0]["text"] != whole
    biased = post(client, TEXT, completion(logit_bias={str(ord("z")): 100}, temperature=0))["choices"][0]["text"]
    assert biased == "zzzzzzzz"
    ended = post(client, TEXT, completion(logit_bias={"256": 100}, temperature=0))
    assert (ended["choices"][0]["finish_reason"], ended["usage"]["completion_tokens"]) == ("stop", 0)
    drawn = post(client, TEXT, completion(n=5, logprobs=0))["choices"]
    best = post(client, TEXT, completion(n=2, best_of=5))
    ranked = sorted(drawn, key=lambda each: -sum(each["logprobs"]["token_logprobs"]))
    assert [each["text"] for each in best["choices"]] == [each["text"] for each in ranked[:2]]
    assert [each["index"] for each in best["choices"]] == [0, 1]
    assert best["usage"]["completion_tokens"] == 40
    assert best["choices"][0]["logprobs"] is None


def test_without_a_seed_answers_differ(client: TestClient) -> None:
    texts = {post(client, TEXT, completion(seed=None, max_tokens=20))["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 3


def test_chinese_and_emoji_come_whole(client: TestClient) -> None:
    """Biased to the bytes of four characters, the model writes halves of them as well; nothing is lost or doubled."""
    letters = sorted(set("你好🙂é".encode()))
    bias = {str(byte): 100 for byte in letters}
    for seed in range(4):
        body = completion("中文🙂", logit_bias=bias, seed=seed, max_tokens=16, logprobs=0)
        whole = post(client, TEXT, body)["choices"][0]["text"]
        chunks = stream(client, TEXT, body)
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole
        request = {**body, "echo": True}
        assert post(client, TEXT, request)["choices"][0]["text"] == "中文🙂" + whole


def test_embeddings_are_mean_hidden_states_of_length_one(client: TestClient) -> None:
    answer = post(
        client, "/v1/embeddings", {"model": "tiny", "input": ["ab", "a longer text, over a border of pieces"]}
    )
    model = load("1").loaded.model
    for text, entry in zip(["ab", "a longer text, over a border of pieces"], answer["data"], strict=True):
        with torch.no_grad():
            mean = model(torch.tensor([encode_prompt(ByteTokenizer(), text)]))[0].mean(0)
        assert entry["embedding"] == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)
        assert math.hypot(*entry["embedding"]) == pytest.approx(1.0)
    packed = post(client, "/v1/embeddings", {"model": "tiny", "input": "ab", "encoding_format": "base64"})
    numbers = struct.unpack("<16f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(numbers) == pytest.approx(answer["data"][0]["embedding"], abs=1e-6)
    assert packed["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_scores_are_the_sums_that_completions_tell(client: TestClient) -> None:
    body = {"model": "tiny", "prompt": "The ", "continuations": ["cat", "d"]}
    cat, d = post(client, "/v1/score", body)["data"]
    echoed = post(client, TEXT, completion("The cat", echo=True, logprobs=1, max_tokens=0))
    assert cat["token_logprobs"] == echoed["choices"][0]["logprobs"]["token_logprobs"][4:]
    assert cat["logprob"] == pytest.approx(sum(cat["token_logprobs"]))
    assert (len(d["token_logprobs"]), d["is_greedy"]) == (1, False)


def test_models_health_metrics_and_paths_that_are_not(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert [each["id"] for each in listed["data"]] == ["tiny"]
    assert client.get("/v1/models/tiny").json() == listed["data"][0]
    assert client.get("/health").json() == client.get("/ready").json() == {"status": "ok"}
    assert "gpt_lightning_tokens_written_total" in client.get("/metrics").text
    for method, path, status, code in (
        ("GET", "/v1/models/other", 404, "model_not_found"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/feedback", 404, "not_found"),
        ("GET", CHAT, 405, "wrong_method"),
    ):
        response = client.request(method, path)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)

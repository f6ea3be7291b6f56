"""Other programs as clients: our own chat, the stock ``openai`` package, lm-evaluation-harness."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from gpt_lightning.cli import main
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.remote_chat import RemoteChat
from gpt_lightning.serving.gate import Keys
from tests.serving.servers import listen, load


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listen({"tiny": "1", "other": "2"}, keys=Keys(["sesame-1"])) as found:
        yield found


def talk(url: str, **changes: Any) -> RemoteChat:
    arguments = {"model": None, "key": "sesame-1", "settings": {"max_tokens": 10, "seed": 3}}
    return RemoteChat(url, **{**arguments, **changes})


def test_our_chat_talks_to_a_server(url: str) -> None:
    chat = talk(url + "/v1/", system="Be kind.")
    first = "".join(chat.ask("Hi"))
    assert [each.content for each in chat.messages] == ["Hi", first.rstrip()]
    assert "".join(chat.regenerate()) != first
    again = talk(url, system="Be kind.")
    assert "".join(again.ask("Hi")) == first
    assert "".join(talk(url, system="Be kind.", model="other").ask("Hi")) != first
    for number in range(6):
        list(chat.ask(f"Question number {number}"))
    assert chat.forgotten > 0
    with pytest.raises(DataError, match="too long for the model"):
        chat.ask("x" * 200)
    assert chat.messages[-1].role == "assistant"


@pytest.mark.parametrize(
    ("changes", "error", "part"),
    [
        ({"key": "wrong"}, DataError, "key is missing or wrong"),
        ({"model": "nobody"}, DataError, "There is no model 'nobody'"),
        ({"settings": {"temperature": 9}}, DataError, "temperature cannot be 9"),
        ({"url": "http://127.0.0.1:9"}, DataError, "does not answer"),
        ({"url": "localhost:80"}, ConfigError, "no address of a server"),
    ],
)
def test_what_a_server_refuses_is_one_line(
    url: str, changes: dict[str, Any], error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        list(talk(changes.pop("url", url), **changes).ask("Hi"))


def test_the_command_talks_to_a_server(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    monkeypatch.setenv("GPT_LIGHTNING_API_KEY", "sesame-1")
    assert (
        main(["chat", "--url", url, "--max_tokens", "10", "--seed", "3", "--temperature", "1", "--top_k", "null"]) == 0
    )
    assert capsys.readouterr().out == "".join(talk(url).ask("Hi")) + "\n"
    assert main(["chat"]) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixty_calls_of_the_stock_client(url: str) -> None:
    """What was wrong in a peer (research, LitServe's table): ids, reasons, usage, errors, parameters, streams."""
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="sesame-1", max_retries=0)
    said: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    calls = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(10):
            asked = {"model": "tiny", "messages": said, "seed": seed, "max_tokens": 6}
            whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
            chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
            text = client.completions.create(
                model="tiny", prompt="Once", max_tokens=6, seed=seed, logprobs=2, echo=True
            )
            several = client.chat.completions.create(**asked, n=3, stop=["a", "b"])
            vector = client.embeddings.create(model="tiny", input=["a", f"b{seed}"])
            parts = list(client.completions.create(model="tiny", prompt=["a", "b"], seed=seed, stream=True))
            calls += 6
            assert len({chunk.id for chunk in chunks}) == 1
            assert (
                "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
                == whole.choices[0].message.content
            )
            assert chunks[-1].usage == whole.usage
            assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
            assert whole.choices[0].finish_reason in ("length", "stop")
            assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
            assert text.choices[0].text.startswith("Once")
            assert len(text.choices[0].logprobs.tokens) == 4 + text.usage.completion_tokens
            assert [choice.index for choice in several.choices] == [0, 1, 2]
            assert [len(each.embedding) for each in vector.data] == [16, 16]
            assert {choice.index for part in parts for choice in part.choices} == {0, 1}
            for answer in (whole, text, several):
                assert answer.system_fingerprint.startswith("fp_")
                answer.model_validate(answer.model_dump(), strict=False)
    assert calls == 60
    assert [model.id for model in client.models.list()] == ["tiny", "other"]
    assert client.models.retrieve("tiny").id == "tiny"
    for wrong, kind in (
        ({"temperature": 5}, openai.BadRequestError),
        ({"max_tokens": -3}, openai.BadRequestError),
        ({"messages": []}, openai.BadRequestError),
        ({"n": 0}, openai.BadRequestError),
        ({"model": "no"}, openai.NotFoundError),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError),
    ):
        with pytest.raises(kind) as caught:
            client.chat.completions.create(**{"model": "tiny", "messages": said, **wrong})
        assert caught.value.param == next(iter(wrong))
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_lm_eval_through_the_server_is_lm_eval_in_process() -> None:
    api = pytest.importorskip("lm_eval.models.openai_completions")
    from gpt_lightning.evaluation.harness.harness import build_harness_model

    loaded = load("1").loaded
    own = build_harness_model(loaded)
    pairs = [("The cat", " sat"), ("A longer context of several words", " and"), ("x", "yz"), ("你好", "吗")]
    tokens = [(pair, own.tok_encode(pair[0]), own.tok_encode(pair[1])) for pair in pairs]

    class Api(api.LocalCompletionsAPI):  # type: ignore[misc, name-defined]
        """Without a download of a tokenizer: ids are ours."""

        tok_encode = staticmethod(own.tok_encode)
        eot_token_id = own.eot_token_id

    with listen({"tiny": "1"}) as url:
        remote = Api(model="tiny", base_url=f"{url}/v1/completions", tokenizer_backend=None)
        remote.tokenizer, remote.tokenized_requests = own, True  # only asked whether there is one
        found = remote._loglikelihood_tokens(tokens)
    expected = own._loglikelihood_tokens(tokens)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]

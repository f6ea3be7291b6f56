"""Requests of the API in the engine's terms, endpoint by endpoint: what is honoured, what is refused, what is meant."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpt_lightning.data.layouts.chat_formats import Message
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.errors import UserError
from gpt_lightning.generation.embedding import build_embedding_request
from gpt_lightning.generation.engine import check_request
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.generation.text import encode_prompt
from gpt_lightning.objectives.classifier import Classifier
from gpt_lightning.serving.api_errors import ApiError
from gpt_lightning.serving.fields import (
    SAMPLING,
    WRITING,
    Refused,
    flag,
    list_of,
    message_parts,
    one_of,
    read_fields,
    require,
    text,
    texts,
    token_lists,
    whole,
)
from gpt_lightning.serving.versions import Version

_MOST_PROMPTS, _MOST_MESSAGES, _MOST_TOP = 1024, 4096, 20
_COMPLETION_TOKENS = 16
"""OpenAI's own default for completions."""
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Echo:
    """A prompt that stands before its answer.

    Attributes:
        text: As text.
        hidden: Leading tokens that are no part of it: the end-of-text in front of a prompt that came as a string.
    """

    text: str
    hidden: int


@dataclass(frozen=True)
class Call:
    """What one request of the API asks.

    Attributes:
        requests: For the engine, one for each prompt.
        kept: Choices answered for each prompt; more may be drawn (``best_of``).
        stream: Whether the answer comes as it is written.
        include_usage: Whether a stream ends with the counts.
        echo: The prompts, where each is to stand before its answer.
        logprobs: Whether the answer tells log-probabilities.
        user: Whose request it is, for the log.
    """

    requests: tuple[Request, ...]
    kept: int = 1
    stream: bool = False
    include_usage: bool = False
    echo: tuple[Echo, ...] | None = None
    logprobs: bool = False
    user: str | None = None

    @property
    def num_texts(self) -> int:
        """Continuations that the engine writes."""
        return sum(request.n for request in self.requests)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(request.prompt) for request in self.requests)


def _message(value: Any) -> Message:
    allowed = '{"role": "system", "user" or "assistant", "content": "..."}'
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise ValueError(allowed)
    # Answers are sent back as they came, with fields of theirs that are empty here.
    more = {key for key, each in value.items() if key not in ("role", "content") and each not in (None, [], "")}
    if more or not isinstance(value["role"], str) or value["role"] not in _ROLES:
        raise ValueError(f"{allowed}; no {', '.join(sorted(more)) or 'other role'}")
    if value["content"] is None and value["role"] == "assistant":
        return Message("assistant", "")
    return Message(_ROLES[value["role"]], message_parts(value["content"]))


def _response_format(value: Any) -> Any:
    if value != {"type": "text"}:
        raise ValueError('{"type": "text"}; decoding is not constrained here')
    return value


_NO_TOOLS = "this model calls no tools"
CHAT_RULES = {
    **WRITING,
    "messages": list_of(_message, _MOST_MESSAGES, "messages"),
    "max_completion_tokens": WRITING["max_tokens"],
    "logprobs": flag,
    "top_logprobs": whole(0, _MOST_TOP),
    "response_format": _response_format,
    "safety_identifier": text,
}
CHAT_REFUSED = {
    "audio": Refused("text is all this model knows"),
    "function_call": Refused(_NO_TOOLS, ("none", "auto")),
    "functions": Refused(_NO_TOOLS, ([],)),
    "metadata": Refused("nothing is stored", ({},)),
    "modalities": Refused("text is all this model knows", (["text"],)),
    "moderation": Refused("nothing is moderated"),
    "parallel_tool_calls": Refused(_NO_TOOLS, (True, False)),
    "prediction": Refused("draft_tokens copies from the prompt instead"),
    "prompt_cache_key": Refused("the prompt cache needs no key"),
    "prompt_cache_options": Refused("the prompt cache is the server's setting"),
    "prompt_cache_retention": Refused("the prompt cache keeps what was used last", ("in_memory", "in-memory")),
    "reasoning_effort": Refused("this model does not reason apart from its answer", ("none",)),
    "service_tier": Refused("there is one tier", ("auto", "default")),
    "store": Refused("nothing is stored", (False,)),
    "tool_choice": Refused(_NO_TOOLS, ("none", "auto")),
    "tools": Refused(_NO_TOOLS, ([],)),
    "verbosity": Refused("the model was not trained for it", ("medium",)),
    "web_search_options": Refused("nothing is searched"),
}
COMPLETION_RULES = {
    **WRITING,
    "prompt": lambda value: token_lists(value, _MOST_PROMPTS),
    "best_of": whole(1, 128),
    "echo": flag,
    "logprobs": whole(0, _MOST_TOP),
}
COMPLETION_REFUSED = {"suffix": Refused("this server does not fill in the middle", ("",))}
EMBEDDING_RULES = {
    "model": text,
    "input": lambda value: token_lists(value, _MOST_PROMPTS),
    "encoding_format": one_of("float", "base64"),
    "user": text,
}
EMBEDDING_REFUSED = {"dimensions": Refused("embeddings have the model's width")}
SCORE_RULES = {
    "model": text,
    "prompt": text,
    "continuations": list_of(text, _MOST_PROMPTS, "strings"),
    "user": text,
}

CLASSIFY_RULES = {"model": text, "input": texts, "user": text}


def read_chat(body: Any, version: Version) -> Call:
    """``/v1/chat/completions``.

    Raises:
        ApiError: Something is missing, unknown, not supported or out of range; or does not fit the model.
    """
    values = read_fields(body, CHAT_RULES, CHAT_REFUSED)
    messages: list[Message] = require(values, "messages")
    if "top_logprobs" in values and not values.get("logprobs"):
        raise ApiError("top_logprobs needs logprobs: true.", param="top_logprobs", code="invalid_value")
    if {"max_tokens", "max_completion_tokens"} <= values.keys():
        raise ApiError(
            "max_tokens is the old name of max_completion_tokens: give one.", param="max_tokens", code="invalid_value"
        )
    transcript = Transcript(version.loaded.tokenizer)
    prompt = _encode("messages", lambda: transcript.encode(messages))
    request = Request(
        prompt,
        max_tokens=_choose_length(values, "messages", prompt, version),
        logprobs=values.get("top_logprobs", 0) if values.get("logprobs") else None,
        **_common(values, version),
    )
    request = replace(request, stop=(*request.stop, *transcript.stop), stop_ids=transcript.stop_ids)
    _check([request], "messages", version)
    return Call((request,), kept=request.n, logprobs=request.logprobs is not None, **_delivery(values))


def read_completion(body: Any, version: Version) -> Call:
    """``/v1/completions``.

    Raises:
        ApiError: As in ``read_chat``.
    """
    values = read_fields(body, COMPLETION_RULES, COMPLETION_REFUSED)
    given: list[str | list[int]] = require(values, "prompt")
    tokenizer = version.loaded.tokenizer
    kept, drawn = values.get("n", 1), values.get("best_of", values.get("n", 1))
    stream, echo, logprobs = values.get("stream", False), values.get("echo", False), values.get("logprobs")
    if drawn < kept:
        raise ApiError("best_of is fewer than n.", param="best_of", code="invalid_value")
    if stream and drawn > kept:
        raise ApiError("best_of cannot stream: the best is known at the end.", param="best_of", code="invalid_value")
    if stream and echo and logprobs is not None:
        raise ApiError("echo with logprobs cannot stream.", param="stream", code="invalid_value")
    requests = []
    for each in given:
        ids = _encode_text("prompt", each, version) if isinstance(each, str) else each
        request = Request(
            ids,
            max_tokens=_choose_length(values, "prompt", ids, version, default=_COMPLETION_TOKENS),
            logprobs=0 if logprobs is None and drawn > kept else logprobs,
            prompt_logprobs=logprobs if echo else None,
            **_common(values, version),
        )
        requests.append(replace(request, n=drawn))
    _check(requests, "prompt", version)
    echoes = [Echo(each, 1) if isinstance(each, str) else Echo(tokenizer.decode(each), 0) for each in given if echo]
    return Call(
        tuple(requests), kept=kept, echo=tuple(echoes) or None, logprobs=logprobs is not None, **_delivery(values)
    )


def read_embedding(body: Any, version: Version) -> tuple[Call, bool]:
    """``/v1/embeddings``: the call, and whether numbers are wanted in base64.

    Raises:
        ApiError: As in ``read_chat``.
    """
    values = read_fields(body, EMBEDDING_RULES, EMBEDDING_REFUSED)
    found = [_report(each, "input", version) for each in require(values, "input")]
    requests = [build_embedding_request(each.prompt, adapter=version.adapter) for each in found]
    _check(requests, "input", version)
    return Call(tuple(requests), user=values.get("user")), values.get("encoding_format") == "base64"


def read_classify(body: Any, version: Version) -> tuple[Classifier, list[list[str]]]:
    """``/v1/classify``: who labels, and the texts, each a list of one or two, or of words.

    Raises:
        ApiError: As in ``read_chat``; or the model has no head.
    """
    values = read_fields(body, CLASSIFY_RULES, {})
    given = require(values, "input")
    if version.classifier is None:
        raise ApiError(
            "This model writes texts and has no head that labels them.", param="model", code="unsupported_model"
        )
    if wrong := next((each for each in given if not version.classifier.takes(each)), None):
        raise ApiError(
            f"input has a text in {len(wrong)} parts, and this model was trained on others.",
            param="input",
            code="invalid_value",
        )
    return version.classifier, given


def read_score(body: Any, version: Version) -> tuple[Call, list[int]]:
    """``/v1/score``: the call, and how many tokens of each are its prompt.

    Raises:
        ApiError: As in ``read_chat``.
    """
    values = read_fields(body, SCORE_RULES, {})
    prompt: str = require(values, "prompt")
    before = _encode_text("prompt", prompt, version)
    requests, lengths = [], []
    for continuation in require(values, "continuations"):
        # Encoded as one text, cut where the shorter text ends: a token over the border belongs to the continuation.
        ids = _encode_text("continuations", prompt + continuation, version)
        same = sum(1 for _ in _common_prefix(before, ids))
        requests.append(Request(ids, max_tokens=0, prompt_logprobs=1, slide=False, adapter=version.adapter))
        lengths.append(min(same, len(ids)))
    _check(requests, "continuations", version)
    return Call(tuple(requests), user=values.get("user")), lengths


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> list[int]:
    found = []
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        found.append(one)
    return found


def _report(given: str | list[int], param: str, version: Version) -> Request:
    ids = _encode_text(param, given, version) if isinstance(given, str) else given
    return Request(ids, max_tokens=0, slide=False, adapter=version.adapter)


def _common(values: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """Arguments of a request that both endpoints have."""
    sampling = Sampling(**{name: values[name] for name in SAMPLING if name in values})
    return {
        "sampling": sampling,
        "seed": values["seed"] if "seed" in values else secrets.randbelow(1 << 31),
        "n": values.get("n", 1),
        "stop": values.get("stop", ()),
        "draft_tokens": values.get("draft_tokens", 0),
        "slide": False,
        "adapter": version.adapter,
    }


def _delivery(values: Mapping[str, Any]) -> dict[str, Any]:
    stream = values.get("stream", False)
    if "stream_options" in values and not stream:
        raise ApiError("stream_options needs stream: true.", param="stream_options", code="invalid_value")
    return {
        "stream": stream,
        "include_usage": values.get("stream_options", False),
        "user": values.get("safety_identifier", values.get("user")),
    }


def _choose_length(
    values: Mapping[str, Any], param: str, prompt: Sequence[int], version: Version, default: int | None = None
) -> int:
    """Tokens to write: what is asked, else all that fit; within the server's own limit."""
    room = version.capacity - len(prompt)
    named = "max_completion_tokens" if "max_completion_tokens" in values else "max_tokens"
    if room < 0:
        raise _too_long(f"{len(prompt):,} tokens", param, version)
    if named in values:
        wanted: int = values[named]
        if wanted > version.max_tokens:
            raise ApiError(
                f"{named} cannot be {wanted:,} (allowed: at most {version.max_tokens:,} on this server).",
                param=named,
                code="invalid_value",
            )
        if wanted > room:
            raise _too_long(f"{len(prompt):,} of the prompt and {wanted:,} to write", named, version)
        return wanted
    return min(max(1, room), version.max_tokens if default is None else default)


def _encode(param: str, encode: Callable[[], list[int]]) -> list[int]:
    try:
        return encode()
    except UserError as problem:
        raise ApiError(str(problem), param=param, code="invalid_value") from None


def _encode_text(param: str, given: str, version: Version) -> list[int]:
    return _encode(param, lambda: encode_prompt(version.loaded.tokenizer, given))


def _too_long(what: str, param: str, version: Version) -> ApiError:
    return ApiError(
        f"The model has {version.capacity:,} positions, and the request needs more: {what}. Shorten it.",
        param=param,
        code="context_length_exceeded",
    )


def _check(requests: Sequence[Request], param: str, version: Version) -> None:
    for request in requests:
        if len(request.prompt) + (request.max_tokens > 0) > version.capacity:
            raise _too_long(f"{len(request.prompt):,} tokens", param, version)
        try:
            check_request(request, version.loaded.model, version.capacity, version.loaded.tokenizer)
        except UserError as problem:
            raise ApiError(
                str(problem), param="logit_bias" if "logit_bias" in str(problem) else param, code="invalid_value"
            ) from None

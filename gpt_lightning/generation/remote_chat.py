"""A conversation with a model behind an OpenAI-compatible API: ``gpt-lightning serve``, vLLM, or another one."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.chat import Conversation

_SECONDS = 600


class RemoteChat(Conversation):
    """A conversation through ``/v1/chat/completions``.

    When it outgrows the model's positions, the oldest questions are left out with their answers. A seed fixes the
    answers where the server honours it; each has draws of its own.

    Args:
        url: Of the server, with or without ``/v1``.
        model: Name there; None = the first that the server lists.
        key: Sent as a bearer key; None = none.
        settings: Parameters of every request, by OpenAI's names; ``seed`` among them.
        system: What the model is told first; empty = nothing.

    Raises:
        ConfigError: The URL is none, or the server lists no model.
        DataError: The server does not answer.
    """

    def __init__(
        self, url: str, *, model: str | None, key: str | None, settings: Mapping[str, Any], system: str = ""
    ) -> None:
        super().__init__(system)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ConfigError("url is no address of a server", got=url, allowed="http://127.0.0.1:8000")
        self._base = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self._answers = 0
        self._model = model or self._first_model()

    def begin(self) -> Iterator[str]:
        """As in ``Conversation``.

        Raises:
            DataError: The server refuses, or does not answer.
        """
        for first in range(len(self.messages)):
            if self.messages[first].role != "user":
                continue
            response, problem = self._post([asdict(each) for each in [*self.told, *self.messages[first:]]])
            if response is not None:
                self.forgotten = first
                self._answers += 1
                return self.take_down(_read_events(response))
        raise DataError("the message is too long for the model", got=problem, fix="Say it in fewer words.")

    def _post(self, messages: list[dict[str, str]]) -> tuple[Any, str]:
        """The open stream; or none where the conversation is too long, and what the server says to it."""
        body = {"model": self._model, "messages": messages, "stream": True, **self._settings}
        if "seed" in body:
            body["seed"] += self._answers
        try:
            return self._open("/chat/completions", json.dumps(body).encode()), ""
        except urllib.error.HTTPError as problem:
            error = _read_error(problem)
            if error.get("code") == "context_length_exceeded" and error.get("param") == "messages":
                return None, str(error.get("message"))
            raise DataError(f"the server refuses: {str(error.get('message')).rstrip('.')}") from None

    def _first_model(self) -> str:
        try:
            with self._open("/models") as response:
                found = json.load(response)["data"]
                return str(found[0]["id"])
        except urllib.error.HTTPError as problem:
            raise DataError(f"the server refuses: {str(_read_error(problem).get('message')).rstrip('.')}") from None
        except (ValueError, KeyError, IndexError, TypeError):
            raise ConfigError("The server lists no model", got=f"{self._base}/models", fix="Give --model.") from None

    def _open(self, path: str, data: bytes | None = None) -> Any:
        request = urllib.request.Request(self._base + path, data, self._headers)
        try:
            return urllib.request.urlopen(request, timeout=_SECONDS)
        except urllib.error.HTTPError:
            raise
        except OSError as problem:
            reason = getattr(problem, "reason", problem)
            raise DataError(f"{self._base} does not answer ({reason})", fix="Is the server running?") from None


def _read_error(problem: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.load(problem)["error"]
        return found
    except (ValueError, KeyError, TypeError, OSError):
        return {"message": f"{problem.code} {problem.reason}"}


def _read_events(response: Any) -> Iterator[str]:
    """The text of a stream.

    Raises:
        DataError: It ends with an error, or before it is complete.
    """
    with response:
        try:
            for line in response:
                data = line.decode("utf-8").strip().removeprefix("data:").strip()
                if data == "[DONE]":
                    return
                event = json.loads(data) if data and not data.startswith(":") else {"choices": []}
                if "error" in event:
                    raise DataError(f"the server ended the answer: {event['error']['message'].rstrip('.')}")
                for choice in event["choices"]:
                    yield choice["delta"].get("content") or ""
        except OSError as problem:
            raise DataError(f"the connection broke ({problem})") from None
    raise DataError("the connection ended before the answer did")

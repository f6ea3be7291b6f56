"""The routes, as one table, and the application around them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gpt_lightning.serving.answers import ChatAnswer, TextAnswer, count_usage
from gpt_lightning.serving.api_errors import ApiError, unavailable
from gpt_lightning.serving.calls import read_chat, read_classify, read_completion, read_embedding, read_score
from gpt_lightning.serving.delivery import GONE, json_response
from gpt_lightning.serving.gate import Gate, Keys, RateLimit
from gpt_lightning.serving.metrics import Metrics
from gpt_lightning.serving.page import page_response, read_page
from gpt_lightning.serving.service import Service

_REFRESH_SECONDS = 1.0


class Endpoints:
    """One method per route."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service, self._metrics = service, metrics

    @property
    def routes(self) -> list[Route]:
        """The table."""
        get, post = ["GET"], ["POST"]
        return [
            Route("/", self.page, methods=get),
            Route("/health", self.health, methods=get),
            Route("/ready", self.ready, methods=get),
            Route("/metrics", self.metrics, methods=get),
            Route("/v1/models", self.models, methods=get),
            Route("/v1/models/{name:path}", self.model, methods=get),
            Route("/v1/chat/completions", self.chat, methods=post),
            Route("/v1/completions", self.completion, methods=post),
            Route("/v1/embeddings", self.embedding, methods=post),
            Route("/v1/score", self.score, methods=post),
            Route("/v1/classify", self.classify, methods=post),
            *([Route("/v1/feedback", self.feedback, methods=post)] if self._service.desk is not None else []),
        ]

    async def page(self, request: Request) -> Response:
        """The page to talk with a model."""
        return page_response(read_page())

    async def health(self, request: Request) -> Response:
        """Whether the engine's thread runs."""
        if not self._service.worker.is_alive:
            raise unavailable("The engine has ended.", "engine_ended")
        return json_response({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether new requests are taken."""
        if self._service.draining:
            raise unavailable("The server is ending.", "server_shutdown")
        return await self.health(request)

    async def metrics(self, request: Request) -> Response:
        """Counters, as Prometheus reads them."""
        return Response(self._metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """All names."""
        data = [self._describe(name) for name in self._service.aliases.names]
        return json_response({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        """One of them."""
        return json_response(self._describe(request.path_params["name"]))

    def _describe(self, name: str) -> dict[str, Any]:
        takes = {"feedback": True} if self._service.desk is not None else {}
        return {**self._service.aliases.describe(name), **takes}

    async def chat(self, request: Request) -> Response:
        """The next answer of a conversation."""
        body = await self._service.read(request)
        name, version = self._service.find(body)
        call = read_chat(body, version)
        return await self._service.write(request, body, call, ChatAnswer(call, version, name))

    async def completion(self, request: Request) -> Response:
        """Texts that continue prompts."""
        body = await self._service.read(request)
        name, version = self._service.find(body)
        call = read_completion(body, version)
        return await self._service.write(request, body, call, TextAnswer(call, version, name))

    async def embedding(self, request: Request) -> Response:
        """For each text the mean of its hidden states behind the final norm, scaled to length 1."""
        body = await self._service.read(request)
        name, version = self._service.find(body)
        call, packed = read_embedding(body, version)
        completions = await self._service.complete(request, call, version)
        data = [
            {"object": "embedding", "index": number, "embedding": _scale(each.embedding or (), packed)}
            for number, each in enumerate(completions)
        ]
        usage = {"prompt_tokens": call.prompt_tokens, "total_tokens": call.prompt_tokens}
        return json_response({"object": "list", "data": data, "model": name, "usage": usage})

    async def feedback(self, request: Request) -> Response:
        """What somebody says about an answer."""
        body = await self._service.read(request)
        assert self._service.desk is not None
        return json_response(await self._service.desk.take(body))

    async def score(self, request: Request) -> Response:
        """Log-probabilities of continuations of a prompt."""
        body = await self._service.read(request)
        name, version = self._service.find(body)
        call, lengths = read_score(body, version)
        completions = await self._service.complete(request, call, version)
        data = []
        for number, (each, length) in enumerate(zip(completions, lengths, strict=True)):
            # Entry i is of token i + 1: nothing comes before the first.
            entries = (each.prompt_logprobs or ())[length - 1 :]
            logprobs = [entry.logprob for entry in entries]
            is_greedy = all(entry.top[0][0] == entry.token for entry in entries)
            found = {"logprob": math.fsum(logprobs), "token_logprobs": logprobs, "is_greedy": is_greedy}
            data.append({"object": "score", "index": number, **found})
        usage = count_usage(call, completions)
        fingerprint = version.fingerprint
        return json_response(
            {"object": "list", "data": data, "model": name, "system_fingerprint": fingerprint, "usage": usage}
        )

    async def classify(self, request: Request) -> Response:
        """What labels texts have, or what number, by a model with a head."""
        body = await self._service.read(request)
        name, version = self._service.find(body)
        classifier, texts = read_classify(body, version)
        said = await self._service.classify(request, classifier, texts, version)
        data = [{"object": "classification", "index": number, **each} for number, each in enumerate(said)]
        fingerprint = version.fingerprint
        return json_response({"object": "list", "data": data, "model": name, "system_fingerprint": fingerprint})


def _scale(values: tuple[float, ...], packed: bool) -> list[float] | str:
    length = math.hypot(*values) or 1.0
    scaled = [value / length for value in values]
    if not packed:
        return scaled
    return base64.b64encode(struct.pack(f"<{len(scaled)}f", *scaled)).decode("ascii")


async def _tell_error(request: Request, problem: Exception) -> Response:
    if isinstance(problem, ClientDisconnect):
        return Response(status_code=GONE)
    if isinstance(problem, HTTPException):
        known = {404: ("There is no such path.", "not_found"), 405: ("This path takes another method.", "wrong_method")}
        message, code = known.get(problem.status_code, (problem.detail, "http_error"))
        problem = ApiError(
            f"{message} ({request.method} {request.url.path[:80]})", status=problem.status_code, code=code
        )
    if not isinstance(problem, ApiError):
        problem = ApiError("The server has a fault; its log tells more.", status=500, kind="server_error", code="fault")
    return json_response(problem.body, problem.status, problem.headers)


def build_app(
    service: Service,
    metrics: Metrics,
    *,
    keys: Keys = Keys(),
    limit: RateLimit | None = None,
    any_host: bool = False,
    routes: Sequence[Route] = (),
) -> ASGIApp:
    """The application: routes, errors as OpenAI's objects, and the gate in front.

    Args:
        service: Answers.
        metrics: Counts.
        keys: Who may ask.
        limit: How often; None = as often as they like.
        any_host: Whether requests may name any host.
        routes: Of an application, in front of the table's.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        service.worker.start()
        following = asyncio.ensure_future(_follow(service.aliases.refresh))
        try:
            yield
        finally:
            following.cancel()
            await service.worker.stop()

    routes = [*routes, *Endpoints(service, metrics).routes]
    handled: tuple[Any, ...] = (ApiError, HTTPException, ClientDisconnect, Exception)
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=dict.fromkeys(handled, _tell_error))
    paths = frozenset(route.path for route in routes)
    return Gate(app, keys=keys, limit=limit or RateLimit(), metrics=metrics, paths=paths, any_host=any_host)


async def _follow(refresh: Callable[[], Any]) -> None:
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        await refresh()

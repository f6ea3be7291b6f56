"""What answers the requests: models by name, the worker, limits, and the end of it all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gpt_lightning.errors import UserError
from gpt_lightning.generation.requests import Completion
from gpt_lightning.objectives.classifier import Classifier
from gpt_lightning.serving.aliases import Aliases
from gpt_lightning.serving.answers import Answer, count_usage
from gpt_lightning.serving.api_errors import ApiError, unavailable
from gpt_lightning.serving.calls import Call
from gpt_lightning.serving.delivery import EventStream, json_response, read_json, while_connected
from gpt_lightning.serving.feedback import Desk
from gpt_lightning.serving.fields import require, text
from gpt_lightning.serving.request_log import RequestLog
from gpt_lightning.serving.settings import Limits
from gpt_lightning.serving.versions import Version
from gpt_lightning.serving.worker import Job, Worker


class Service:
    """Answers calls.

    Args:
        aliases: The models.
        worker: Runs them.
        limits: What a request may take.
        log: Where requests and answers are written down; None = nowhere.
        desk: Where answers are kept and feedback is taken; None = nowhere.

    Attributes:
        draining: Whether the end has begun: what runs goes on, nothing new begins.
    """

    def __init__(
        self,
        aliases: Aliases,
        worker: Worker,
        limits: Limits,
        log: RequestLog | None = None,
        desk: Desk | None = None,
    ) -> None:
        self.aliases, self.worker, self.limits, self._log, self.desk = aliases, worker, limits, log, desk
        self.draining = False
        self._jobs: set[Job] = set()
        self._labelling = asyncio.Lock()

    async def read(self, request: Request) -> Any:
        """A request's body.

        Raises:
            ApiError: It cannot be read.
        """
        return await read_json(request, max_bytes=self.limits.body_bytes, max_seconds=self.limits.body_seconds)

    def find(self, body: Any) -> tuple[str, Version]:
        """The model that a body asks for, and what stands behind its name.

        Raises:
            ApiError: It asks for none, or for one that is not there.
        """
        if not isinstance(body, dict):
            raise ApiError("The body is not a JSON object.", code="invalid_body")
        name = require({key: value for key, value in body.items() if value is not None}, "model")
        try:
            return name, self.aliases.find(text(name))
        except ValueError:
            raise ApiError("model is not a string.", param="model", code="invalid_value") from None

    async def write(self, request: Request, body: Mapping[str, Any], call: Call, answer: Answer) -> Response:
        """The answer of an endpoint that writes.

        Raises:
            ApiError: It takes too long, the server ends, or the engine fails.
        """
        version = answer.version
        facts, begin = request.state.facts, time.monotonic()
        if not call.stream:
            completions = await self.complete(request, call, version)
            await self._write_down(request, body, answer, completions, begin)
            return json_response(answer.whole(completions))
        job, timer = self._begin(call, version, facts)

        def end() -> None:
            self._end(job, timer)

        return EventStream(self._stream(job, answer, request, body), end)

    async def complete(self, request: Request, call: Call, version: Version) -> list[Completion]:
        """All that a call asks the engine.

        Raises:
            ApiError: As ``write``.
        """
        facts = request.state.facts
        job, timer = self._begin(call, version, facts)
        try:
            completions = await while_connected(request.receive, job.complete())
        finally:
            self._end(job, timer)
        facts |= count_usage(call, completions)
        return completions

    async def classify(
        self, request: Request, classifier: Classifier, texts: Sequence[Sequence[str]], version: Version
    ) -> list[dict[str, Any]]:
        """Texts labelled, in a thread of their own and one call at a time: the engine's goes on writing.

        Raises:
            ApiError: It takes too long, the server ends, or a text cannot be read.
        """
        if self.draining:
            raise unavailable("The server is ending.", "server_shutdown")
        request.state.facts |= {"fingerprint": version.fingerprint, "texts": len(texts)}
        async with self._labelling:
            work = asyncio.to_thread(lambda: list(classifier.label(texts)))
            try:
                return await asyncio.wait_for(work, self.limits.request_seconds)
            except TimeoutError:
                raise ApiError(
                    f"The answer took longer than {self.limits.request_seconds:g} s.",
                    status=408,
                    code="request_timeout",
                ) from None
            except UserError as problem:  # a vocabulary that does not know a character
                raise ApiError(str(problem), param="input", code="invalid_value") from None

    def drain(self) -> None:
        """Begin the end: nothing new is taken."""
        self.draining = True

    def cut(self) -> None:
        """End what still runs; each answer says that it was cut."""
        for job in self._jobs:
            job.inbox.put_nowait(unavailable("The server ends before the answer does.", "server_shutdown"))

    async def _write_down(
        self,
        request: Request,
        body: Mapping[str, Any],
        answer: Answer,
        completions: Sequence[Completion],
        begin: float,
    ) -> None:
        if self._log is not None:
            self._log.write(request.url.path, body, answer.call, answer.version, completions)
        if self.desk is not None:
            await self.desk.keep(answer, body, completions, time.monotonic() - begin)

    def _begin(self, call: Call, version: Version, facts: dict[str, Any]) -> tuple[Job, asyncio.TimerHandle]:
        if self.draining:
            raise unavailable("The server is ending.", "server_shutdown")
        facts |= {"fingerprint": version.fingerprint, "stream": call.stream}
        if call.user is not None:
            facts["user"] = call.user[:64]
        job = self.worker.submit(version, call)
        self._jobs.add(job)
        late = ApiError(
            f"The answer took longer than {self.limits.request_seconds:g} s.", status=408, code="request_timeout"
        )
        timer = asyncio.get_running_loop().call_later(self.limits.request_seconds, job.inbox.put_nowait, late)
        return job, timer

    def _end(self, job: Job, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._jobs.discard(job)
        self.worker.release(job)

    async def _stream(
        self, job: Job, answer: Answer, request: Request, body: Mapping[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        begin = time.monotonic()
        for chunk in answer.begin():
            yield chunk
        found: dict[int, Completion] = {}
        async for news in job.news():
            for each in news:
                if each.event.completion is not None:
                    found[each.choice] = each.event.completion
                piece = answer.tell(each)
                if piece is not None:
                    yield piece
        completions = [found[choice] for choice in range(job.call.num_texts)]
        usage = count_usage(job.call, completions)
        request.state.facts |= usage
        await self._write_down(request, body, answer, completions, begin)
        if job.call.include_usage:
            yield answer.chunk([], usage)

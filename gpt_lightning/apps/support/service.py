"""The routes of customers, those of people who answer, and their pages.

    POST /v1/support                  {"text": "..."}                        a message; answered with the conversation
    POST /v1/support                  {"conversation": "...", "entry": "pay"}  one of the offered questions was meant
    POST /v1/support                  {"conversation": "...", "person": true}  a person is wished for
    GET  /v1/support/ID               ?after=3                               what was said since
    POST /v1/feedback                 {"id": "support-...", "rating": "up"}    of one answer

    GET  /v1/support/queue            conversations in which a person has to speak
    GET  /v1/support/queue/ID         ?person=Ada                            one of them, with suggested answers
    POST /v1/support/queue/ID         {"person": "Ada", "action": "take"}, take or close; or "text"

The last three ask for the token of the people who answer (Authorization: Bearer TOKEN). Whoever knows the id of a
conversation reads it and writes in it: ids cannot be guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpt_lightning.apps.pages import page_route
from gpt_lightning.apps.support.conversations import CLOSED, Conversation, Message
from gpt_lightning.apps.support.desk import SupportDesk, offers
from gpt_lightning.errors import UserError
from gpt_lightning.serving.api_errors import ApiError, unavailable
from gpt_lightning.serving.delivery import json_response
from gpt_lightning.serving.fields import Rule, flag, one_of, read_fields, require, text
from gpt_lightning.serving.gate import Keys
from gpt_lightning.serving.service import Service

_MOST_CHARACTERS, _MOST_MESSAGES, _MOST_OPEN, _LONGEST_NAME = 4000, 1000, 200, 60
_PACKAGE = "gpt_lightning.apps.support"


def _words(value: Any) -> str:
    found = text(value).strip()
    if not 0 < len(found) <= _MOST_CHARACTERS:
        raise ValueError(f"a text of 1 to {_MOST_CHARACTERS:,} characters")
    return found


def _name(value: Any) -> str:
    found = text(value).strip()
    if not 0 < len(found) <= _LONGEST_NAME:
        raise ValueError(f"a name of 1 to {_LONGEST_NAME} characters")
    return found


_CUSTOMER: dict[str, Rule] = {"conversation": text, "text": _words, "entry": text, "person": flag}
_PERSON: dict[str, Rule] = {"person": _name, "text": _words, "action": one_of("take", "close")}


class SupportEndpoints:
    """One method per route.

    Args:
        service: Reads requests, with its limits, and takes feedback.
        desk: Answers.
        token: Of the people who answer.
        consent: Whether customers are to be told that what they write is learned from.
    """

    def __init__(self, service: Service, desk: SupportDesk, token: str, *, consent: bool) -> None:
        self._service, self._desk, self._token, self._consent = service, desk, Keys((token,)), consent
        self._turn = asyncio.Lock()

    @property
    def routes(self) -> list[Route]:
        """The table."""
        get, post = ["GET"], ["POST"]
        return [
            page_route(_PACKAGE),
            page_route(_PACKAGE, "/agent"),
            Route("/v1/support", self.about, methods=get),
            Route("/v1/support", self.hear, methods=post),
            Route("/v1/support/queue", self.queue, methods=get),
            Route("/v1/support/queue/{name}", self.open, methods=get),
            Route("/v1/support/queue/{name}", self.act, methods=post),
            Route("/v1/support/{name}", self.read, methods=get),
            Route("/v1/feedback", self.rate, methods=post),
        ]

    async def about(self, request: Request) -> Response:
        """What a customer is to be told first."""
        return json_response({"object": "support", "consent": self._consent})

    async def hear(self, request: Request) -> Response:
        """Something from a customer."""
        values = read_fields(await self._service.read(request), _CUSTOMER, {})
        if sum(each in values for each in ("text", "entry", "person")) != 1:
            raise ApiError("Give text, entry or person, one of them.", param="text", code="invalid_value")
        if self._service.draining:
            raise unavailable("The server is ending.", "server_shutdown")
        conversation = (
            self._find(values["conversation"]) if "conversation" in values else self._desk.conversations.open()
        )
        if len(conversation.messages) >= _MOST_MESSAGES:
            raise ApiError(f"A conversation has {_MOST_MESSAGES:,} messages at most.", code="conversation_full")
        before = len(conversation.messages)
        if "text" in values:
            await self._do(self._desk.ask, conversation, values["text"])
        elif "entry" in values:
            if not await self._do(self._desk.choose, conversation, values["entry"]):
                raise ApiError("That was not offered.", param="entry", code="invalid_value")
        elif values["person"]:
            await self._do(self._desk.call_person, conversation)
        return json_response(_describe(conversation, before))

    async def read(self, request: Request) -> Response:
        """What was said since a message."""
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 9):
            raise ApiError("after is the number of a message.", param="after", code="invalid_value")
        return json_response(_describe(self._find(request.path_params["name"]), int(after)))

    async def rate(self, request: Request) -> Response:
        """What somebody thinks of an answer: into the store, and the log."""
        body = await self._service.read(request)
        assert self._service.desk is not None
        done = await self._service.desk.take(body)
        conversation = self._desk.conversations.find(self._desk.conversations.answers.get(done["id"], ""))
        if conversation is not None and done["new"]:
            facts = {key: value for key, value in body.items() if key not in ("id", "text")}
            await self._do(lambda each: self._desk.conversations.record(each, "rated", id=done["id"], said=facts),
                           conversation)  # fmt: skip
        return json_response(done)

    async def queue(self, request: Request) -> Response:
        """Conversations that wait for a person or have one."""
        self._check(request)
        found = self._desk.conversations.list_open()
        data = [_summarize(each) for each in found[:_MOST_OPEN]]
        return json_response({"object": "list", "data": data, "total": len(found)})

    async def open(self, request: Request) -> Response:
        """A whole conversation, with scores and suggestions."""
        self._check(request)
        conversation = self._find(request.path_params["name"])
        try:
            person = _name(request.query_params.get("person", ""))
        except ValueError as problem:
            raise ApiError(f"person is {problem}.", param="person", code="invalid_value") from None
        await self._do(self._desk.show, conversation, person)
        suggested = await self._do(self._desk.suggest, conversation)
        return json_response(
            {
                **_describe(conversation, 0),
                **_summarize(conversation),
                "messages": [{**_tell(each), "facts": _weighed(each)} for each in conversation.messages],
                "suggestions": [vars(each) for each in suggested],
            }
        )

    async def act(self, request: Request) -> Response:
        """A person takes over, answers, or closes."""
        self._check(request)
        values = read_fields(await self._service.read(request), _PERSON, {})
        person = require(values, "person")
        if ("text" in values) == ("action" in values):
            raise ApiError("Give text or action, one of them.", param="action", code="invalid_value")
        conversation = self._find(request.path_params["name"])
        if conversation.state == CLOSED:
            raise ApiError("The conversation is closed.", status=409, code="conversation_closed")
        if conversation.person not in ("", person) and values.get("action") != "take":
            raise ApiError(
                f"{conversation.person} has taken it. Take it over first.", status=409, code="conversation_taken"
            )
        if "text" in values:
            await self._do(self._desk.say, conversation, person, values["text"])
        else:
            act = self._desk.take if values["action"] == "take" else self._desk.finish
            await self._do(act, conversation, person)
        return json_response(_summarize(conversation))

    async def _do(self, what: Callable[..., Any], *values: Any) -> Any:
        """One thing after the other, in a thread: the disk and the model take their time."""
        async with self._turn:
            with _telling():
                return await asyncio.to_thread(what, *values)

    def _check(self, request: Request) -> None:
        self._token.check(request.headers.get("authorization"))

    def _find(self, name: str) -> Conversation:
        found = self._desk.conversations.find(name)
        if found is None:
            raise ApiError("There is no such conversation.", status=404, code="conversation_not_found")
        return found


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except UserError as problem:
        raise ApiError(str(problem), status=503, kind="server_error", code="storage_unavailable") from problem


def _describe(conversation: Conversation, after: int) -> dict[str, Any]:
    """What the customer may know."""
    return {
        "object": "support.conversation",
        "conversation": conversation.id,
        "state": conversation.state,
        "language": conversation.language,
        "messages": [_tell(each) for each in conversation.messages[after:]],
        "offers": list(offers(conversation)),
    }


def _tell(message: Message) -> dict[str, Any]:
    found = {key: getattr(message, key) for key in ("number", "id", "role", "text", "time")}
    return {**found, "handoff": bool(message.facts.get("reason"))}


def _weighed(message: Message) -> dict[str, Any]:
    """What the assistant weighed, of its answers; of a person's the name."""
    return {key: message.facts[key] for key in ("reason", "candidates", "threshold", "fingerprint", "person")
            if key in message.facts}  # fmt: skip


def _summarize(conversation: Conversation) -> dict[str, Any]:
    said = [each.text for each in conversation.messages if each.role == "customer"]
    return {
        "conversation": conversation.id,
        "state": conversation.state,
        "reason": conversation.reason,
        "language": conversation.language,
        "person": conversation.person,
        "since": conversation.since,
        "last": said[-1][:200] if said else "",
        "messages": len(conversation.messages),
    }

"""Bodies in, answers out: read within limits, written whole or as server-sent events, given up when nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gpt_lightning.serving.api_errors import ApiError
from gpt_lightning.serving.fields import parse_json

T = TypeVar("T")
GONE = 499
"""Status of an answer that nobody waited for; only the log sees it."""
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store", "x-accel-buffering": "no"}


async def read_json(request: Request, *, max_bytes: int, max_seconds: float) -> Any:
    """The body of a request.

    JSON must be called so: a browser sends other kinds across sites without asking, and that must not start anything.

    Raises:
        ApiError: It is no JSON, too large, too slow, or not called JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError("The body must be sent with Content-Type: application/json.", status=415, code="invalid_body")
    too_large = ApiError(
        f"The body is larger than {max_bytes:,} bytes.", status=413, kind="invalid_request_error", code="body_too_large"
    )
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:18]) > max_bytes:
        raise too_large
    parts = bytearray()
    try:
        async with asyncio.timeout(max_seconds):
            async for part in request.stream():
                parts += part
                if len(parts) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise ApiError("The body did not arrive in time.", status=408, code="body_timeout") from None
    return parse_json(bytes(parts))


def encode_json(body: Mapping[str, Any]) -> bytes:
    """JSON as it is sent."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def json_response(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is whole."""
    return Response(encode_json(body), status, headers, media_type="application/json")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless whoever asked goes away; then it is cancelled.

    Raises:
        ClientDisconnect: Nobody listens any more.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for each in (task, gone):
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await each


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events, one per object; ``[DONE]`` ends them, an error object takes its place.

    Args:
        events: What is sent; an ``ApiError`` out of it becomes the last event.
        close: Called when it is over, however it ended.
    """

    def __init__(self, events: AsyncIterator[Mapping[str, Any]], close: Callable[[], None]) -> None:
        super().__init__(headers=_EVENTS)
        del self.headers["content-length"]
        self._events, self._close = events, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with contextlib.suppress(ClientDisconnect):
                await while_connected(receive, self._send_all(send))
        finally:
            self._close()

    async def _send_all(self, send: Send) -> None:
        try:
            async for event in self._events:
                await _send_event(send, encode_json(event))
            await _send_event(send, b"[DONE]")
        except ApiError as problem:
            await _send_event(send, encode_json(problem.body))
        await send({"type": "http.response.body", "body": b""})


async def _send_event(send: Send, data: bytes) -> None:
    # JSON has no line breaks of its own, so one line of data is a whole event.
    await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

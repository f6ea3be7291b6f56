"""What every request passes before it reaches a route: name, host, key, rate; and the line it leaves in the log."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt_lightning.serving.api_errors import ApiError, overloaded
from gpt_lightning.serving.metrics import Metrics

_LOG = logging.getLogger("gpt_lightning.serving.requests")
OPEN_PATHS = frozenset({"/", "/health", "/ready"})
"""Answered without a key; the page asks for one."""
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})


@dataclass(frozen=True)
class Keys:
    """Bearer keys; none = nobody is asked for one.

    Compared by their SHA-256 and all of them each time, so that the time tells nothing of how much was right.
    """

    keys: Sequence[str] = ()

    def check(self, authorization: str | None) -> str:
        """A short name of the key that was given, for limits and logs.

        Raises:
            ApiError: None, or a wrong one.
        """
        if not self.keys:
            return "-"
        scheme, _, given = (authorization or "").partition(" ")
        wanted = hashlib.sha256(given.strip().encode()).digest()
        right = [hmac.compare_digest(wanted, hashlib.sha256(key.encode()).digest()) for key in self.keys]
        if not any(right) or scheme.lower() != "bearer":
            raise ApiError(
                "The key is missing or wrong. Send it as Authorization: Bearer KEY.",
                status=401,
                kind="authentication_error",
                code="invalid_api_key",
            )
        return wanted.hex()[:8]


@dataclass
class RateLimit:
    """So many requests a minute for each key, and as many at once (a token bucket).

    Args:
        per_minute: Requests; None = any number.
        clock: Seconds.
    """

    per_minute: int | None = None
    clock: Callable[[], float] = time.monotonic
    _filled: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, key: str) -> None:
        """Count a request.

        Raises:
            ApiError: There were too many.
        """
        if self.per_minute is None:
            return
        now = self.clock()
        left, since = self._filled.get(key, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - since) * self.per_minute / 60)
        if left < 1:
            self._filled[key] = (left, now)
            raise overloaded("Too many requests of this key", int((1 - left) * 60 / self.per_minute) + 1)
        self._filled[key] = (left - 1, now)


class Gate:
    """ASGI middleware around the routes.

    Args:
        app: What is behind.
        keys: Who may ask.
        limit: How often.
        metrics: Counts requests.
        paths: Those that are counted apart.
        any_host: Whether a request may name any host. Where nobody is asked for a key it may not: a page of another
            site could have its own name resolve to this machine, and talk to us from the browser.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        limit: RateLimit,
        metrics: Metrics,
        paths: frozenset[str] = frozenset(),
        any_host: bool = False,
    ) -> None:
        self._app, self._keys, self._limit, self._metrics = app, keys, limit, metrics
        self._paths, self._any_host = paths, any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        facts: dict[str, Any] = {"id": f"req_{secrets.token_hex(8)}", "method": scope["method"], "path": scope["path"]}
        scope.setdefault("state", {})["facts"] = facts
        status, started = 499, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = facts["id"]
            await send(message)

        try:
            problem = self._refuse(scope, facts)
            if problem is None:
                await self._app(scope, receive, answer)
            else:
                response = JSONResponse(problem.body, problem.status, problem.headers)
                await response(scope, receive, answer)
        except BaseException:
            status = 500 if status == 499 else status
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.count_request(scope["path"] if scope["path"] in self._paths else "other", status, seconds)
            _LOG.info("request", extra={"facts": {**facts, "status": status, "seconds": round(seconds, 6)}})

    def _refuse(self, scope: Scope, facts: dict[str, Any]) -> ApiError | None:
        headers = Headers(scope=scope)
        try:
            self._check_host(headers.get("host", ""))
            if scope["path"] not in OPEN_PATHS:
                facts["key"] = self._keys.check(headers.get("authorization"))
                self._limit.take(facts["key"])
        except ApiError as problem:
            return problem
        return None

    def _check_host(self, host: str) -> None:
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
        if not self._any_host and name.lower() not in _LOCAL_HOSTS:
            raise ApiError(
                f"The request is for the host {name[:60]!r}, and without keys this server answers to localhost only.",
                status=403,
                kind="permission_error",
                code="wrong_host",
            )

"""What is refused, as OpenAI's clients read it: a status, a text, the parameter, and a code that does not change."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer that is an error.

    Args:
        message: What happened, what is allowed, what to do; for the person who wrote the request.
        status: Of HTTP.
        kind: OpenAI's ``type``.
        param: The parameter that is wrong.
        code: A word for programs.
        retry_after: Seconds after which the same request may succeed.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code, self.retry_after = status, kind, param, code, retry_after

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What goes with it."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {**found, "WWW-Authenticate": "Bearer"} if self.status == 401 else found


def overloaded(what: str, retry_after: int = 1) -> ApiError:
    """429: more is asked than fits now."""
    return ApiError(
        f"{what}. Try again in {retry_after} s.",
        status=429,
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=retry_after,
    )


def unavailable(what: str, code: str) -> ApiError:
    """503: nothing is answered now."""
    return ApiError(what, status=503, kind="server_error", code=code, retry_after=5)

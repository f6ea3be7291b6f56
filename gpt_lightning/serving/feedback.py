"""What people say about answers: ``POST /v1/feedback``, and the answers that it is about.

    {"id": "chatcmpl-12ab", "rating": "up"}                                 up, down, or 1 to 5
    {"id": "chatcmpl-12ab", "rating": "down", "correction": "Better so."}
    {"id": "cmpl-34cd", "label": "spam", "choice": 1, "user": "ada", "consent": true, "idempotency_key": "k1"}

Answered when it is on the disk; the same key, or the same words, again change nothing. Kept are answers to one prompt
of text each: token ids and several prompts at once say nothing that could be trained on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from gpt_lightning.errors import DataError, UserError
from gpt_lightning.feedback.records import MAX_CHARACTERS, Feedback, Interaction
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.generation.requests import Completion
from gpt_lightning.serving.answers import Answer
from gpt_lightning.serving.api_errors import ApiError
from gpt_lightning.serving.fields import flag, read_fields, require, text, whole

_LOG = logging.getLogger(__name__)


def _rating(value: Any) -> bool | int:
    words = {"up": True, "down": False}
    if isinstance(value, str) and value in words:
        return words[value]
    try:
        return whole(1, 5)(value)  # type: ignore[no-any-return]
    except ValueError:
        raise ValueError('"up", "down", or a whole number from 1 to 5') from None


def _words(value: Any) -> str:
    found = text(value)
    if not found.strip() or len(found) > MAX_CHARACTERS:
        raise ValueError(f"a text of 1 to {MAX_CHARACTERS:,} characters")
    return found


_RULES = {
    "id": _words,
    "rating": _rating,
    "correction": _words,
    "label": _words,
    "choice": whole(0, 127),
    "comment": _words,
    "user": text,
    "consent": flag,
    "idempotency_key": _words,
}


class Desk:
    """Takes feedback, and keeps the answers that it may be about.

    Args:
        store: Where both are kept.
        consent: Whether giving feedback is consent to train on it, where a request does not say.
    """

    def __init__(self, store: FeedbackStore, *, consent: bool = False) -> None:
        self._store, self._consent = store, consent

    async def keep(
        self, answer: Answer, body: Mapping[str, Any], completions: Sequence[Completion], seconds: float
    ) -> None:
        """Keep a request and its answer; a disk that refuses is told in the log, and the answer goes out."""
        rest = {name: value for name, value in body.items() if name not in ("messages", "prompt", "user")}
        try:
            kept = Interaction(
                answer.id,
                str(body["model"]),
                answer.version.source,
                answer.version.fingerprint,
                _read_prompt(body),
                answer.texts(completions),
                {**rest, "seed": answer.call.requests[0].seed},
                round(seconds, 3),
                self._store.hash_user(answer.call.user or ""),
            )
        except DataError:  # several prompts, or token ids
            return
        try:
            await asyncio.to_thread(self._store.add_interaction, kept)
        except UserError as problem:
            _LOG.error("an answer was not kept: %s", problem)

    async def take(self, body: Any) -> dict[str, Any]:
        """Keep feedback.

        Raises:
            ApiError: A parameter is unknown or wrong, or there is no such answer.
        """
        values = read_fields(body, _RULES, {})
        require(values, "id")
        rating = values.get("rating")
        said = {"thumb" if isinstance(rating, bool) else "rating": rating} if rating is not None else {}
        said |= {kind: values[kind] for kind in ("correction", "label") if kind in values}
        if not said:
            raise ApiError("Nothing is said: give rating, correction or label.", param="rating", code="invalid_value")
        key = values.get("idempotency_key")
        try:
            rows = [
                Feedback(
                    values["id"],
                    kind,
                    value,
                    values.get("choice", 0),
                    values.get("comment", ""),
                    self._store.hash_user(values.get("user", "")),
                    values.get("consent", self._consent),
                    key="" if key is None else f"{key}:{kind}",
                )
                for kind, value in said.items()
            ]
            new = [await asyncio.to_thread(self._store.add_feedback, row) for row in rows]
        except DataError as problem:
            raise ApiError(str(problem), param="id", code="invalid_feedback") from problem
        except UserError as problem:
            raise ApiError(str(problem), status=503, kind="server_error", code="feedback_unavailable") from problem
        return {"object": "feedback", "id": values["id"], "keys": [row.key for row in rows], "new": sum(new)}


def _read_prompt(body: Mapping[str, Any]) -> Any:
    """Messages, or the one text."""
    if "messages" in body:
        return [{"role": each["role"], "content": _flatten(each["content"])} for each in body["messages"]]
    prompt = body["prompt"]
    return prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt


def _flatten(content: Any) -> Any:
    """The text of a message whose parts stand in a list, as OpenAI's clients may send it."""
    return "".join(part["text"] for part in content) if isinstance(content, list) else content

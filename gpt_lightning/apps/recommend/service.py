"""``POST /v1/recommend``, what the page needs beside it, and the page.

    {"history": ["a1", "b7"]}                          or {"user": "u5"}: that person's history in the data
    {"history": ["a1"], "k": 5, "exclude": ["a2"], "where": {"language": "zh"}, "diversity": 0.3, "explain": false}

Answered with ``{"object": "list", "data": [{"object": "recommendation", "index", "item", "text", "logprob",
"because": [{"item", "text", "nats"}]}], "model", "system_fingerprint"}``. ``GET /v1/items`` is the catalogue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpt_lightning.apps.pages import page_route
from gpt_lightning.apps.recommend.protocol import flatten
from gpt_lightning.apps.recommend.recommender import Recommendation, Recommender, Wish
from gpt_lightning.apps.recommend.records import Moment
from gpt_lightning.serving.api_errors import ApiError, unavailable
from gpt_lightning.serving.delivery import json_response
from gpt_lightning.serving.fields import Rule, flag, list_of, number, read_fields, text, whole
from gpt_lightning.serving.service import Service

_MOST_ITEMS = 10_000
_MOST_SHOWN = 2_000


def _fields(value: Any) -> dict[str, list[str]]:
    found = {}
    for name, wanted in value.items() if isinstance(value, dict) else [("", None)]:
        values = wanted if isinstance(wanted, list) else [wanted]
        if not values or not all(isinstance(each, str | int | float | bool) for each in values):
            raise ValueError("an object of fields, each with a value or a list of values")
        found[name] = [str(each) for each in values]
    return found


RULES: dict[str, Rule] = {
    "history": list_of(text, _MOST_ITEMS, "ids of items"),
    "user": text,
    "k": whole(1, 1000),
    "exclude": list_of(text, _MOST_ITEMS, "ids of items"),
    "where": _fields,
    "diversity": number(0, 1),
    "explain": flag,
    "model": text,
}


class RecommendEndpoints:
    """One method per route.

    Args:
        service: Reads requests, with its limits.
        recommender: Answers them, one at a time.
        histories: What everybody had, by person.
        name: Of the model.
        fingerprint: Of its weights.
        k: Length of a list, where a request does not say.
        filter_fields: What ``where`` may name.
    """

    def __init__(
        self,
        service: Service,
        recommender: Recommender,
        histories: Mapping[str, Sequence[Moment]],
        *,
        name: str,
        fingerprint: str,
        k: int,
        filter_fields: Sequence[str],
    ) -> None:
        self._service, self._recommender, self._histories = service, recommender, histories
        self._name, self._fingerprint, self._k = name, fingerprint, k
        self._filter_fields = tuple(filter_fields)
        self._places = recommender.catalogue.places()
        self._turn = asyncio.Lock()

    @property
    def routes(self) -> list[Route]:
        """The table."""
        return [
            page_route("gpt_lightning.apps.recommend"),
            Route("/v1/items", self.items, methods=["GET"]),
            Route("/v1/recommend", self.recommend, methods=["POST"]),
        ]

    async def items(self, request: Request) -> Response:
        """The catalogue's beginning, some people, and what can be filtered by."""
        catalogue = self._recommender.catalogue
        data = [self._name_item(item) for item in range(min(len(catalogue), _MOST_SHOWN))]
        fields = {
            name: sorted({value for each in catalogue.fields for value in each.get(name, ())})[:_MOST_SHOWN]
            for name in self._filter_fields
        }
        users = list(self._histories)[:_MOST_SHOWN]
        return json_response(
            {"object": "list", "data": data, "total": len(catalogue), "fields": fields, "users": users}
        )

    async def recommend(self, request: Request) -> Response:
        """What comes next."""
        wish = self._read(await self._service.read(request))
        if self._service.draining:
            raise unavailable("The server is ending.", "server_shutdown")
        async with self._turn:
            found = await asyncio.to_thread(self._recommender.recommend, wish)
        data = [self._describe(number, each) for number, each in enumerate(found)]
        history = [self._name_item(item) for item in wish.history]
        return json_response(
            {
                "object": "list",
                "data": data,
                "history": history,
                "model": self._name,
                "system_fingerprint": self._fingerprint,
            }
        )

    def _read(self, body: Any) -> Wish:
        values = read_fields(body, RULES, {})
        if values.get("model", self._name) != self._name:
            raise ApiError(f"The model here is {self._name}.", status=404, param="model", code="model_not_found")
        if ("history" in values) == ("user" in values):
            raise ApiError("Give history or user, one of them.", param="history", code="invalid_value")
        unknown = next((name for name in values.get("where", {}) if name not in self._filter_fields), None)
        if unknown is not None:
            allowed = ", ".join(self._filter_fields) or "none: set filter_fields"
            raise ApiError(
                f"There is no field {unknown[:60]!r} (allowed: {allowed}).", param="where", code="invalid_value"
            )
        return Wish(
            self._find_history(values["user"]) if "user" in values else self._find("history", values["history"]),
            values.get("k", self._k),
            self._find("exclude", values.get("exclude", ())),
            values.get("where", {}),
            values.get("diversity", 0.0),
            values.get("explain", True),
        )

    def _find_history(self, user: str) -> tuple[int, ...]:
        if user not in self._histories:
            raise ApiError(f"There is no person {user[:60]!r}.", status=404, param="user", code="user_not_found")
        return flatten(self._histories[user])

    def _find(self, name: str, ids: Sequence[str]) -> tuple[int, ...]:
        unknown = next((each for each in ids if each not in self._places), None)
        if unknown is not None:
            raise ApiError(f"There is no item {unknown[:60]!r}.", status=404, param=name, code="item_not_found")
        return tuple(self._places[each] for each in ids)

    def _name_item(self, item: int) -> dict[str, Any]:
        catalogue = self._recommender.catalogue
        return {"item": catalogue.ids[item], "text": catalogue.texts[item]}

    def _describe(self, number: int, found: Recommendation) -> dict[str, Any]:
        because = [{**self._name_item(each.item), "nats": each.nats} for each in found.reasons]
        head = {"object": "recommendation", "index": number, **self._name_item(found.item)}
        return {**head, "logprob": found.logprob, "because": because}

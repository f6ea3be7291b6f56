"""The page of the watch and what it asks for; ``POST /v1/watch`` takes texts.

    POST /v1/watch          {"rows": [{"id": "p1", "time": "2026-01-05T08:00:00Z", "text": "..."}]}  -> what was taken
    GET  /v1/watch          ?topic=energy: windows, alerts, tallies
    GET  /v1/watch/texts    ?topic=energy&window=491000: what was said then

Rows are acknowledged when they are on the disk; posted again under their id they count once.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpt_lightning.apps.pages import page_route
from gpt_lightning.apps.watch.store import ALL
from gpt_lightning.apps.watch.watching import Watcher, describe_state
from gpt_lightning.serving.api_errors import ApiError
from gpt_lightning.serving.delivery import json_response
from gpt_lightning.serving.service import Service

_MOST_ROWS = 10_000


class WatchEndpoints:
    """One method per route.

    Args:
        service: Reads requests, with its limits.
        watcher: Takes rows, and knows what was taken.
    """

    def __init__(self, service: Service, watcher: Watcher) -> None:
        self._service, self._watcher = service, watcher

    @property
    def routes(self) -> list[Route]:
        """The table."""
        return [
            page_route("gpt_lightning.apps.watch"),
            Route("/v1/watch", self.state, methods=["GET"]),
            Route("/v1/watch", self.take, methods=["POST"]),
            Route("/v1/watch/texts", self.texts, methods=["GET"]),
        ]

    async def state(self, request: Request) -> Response:
        """Windows of a topic, alerts, tallies."""
        topic = request.query_params.get("topic", ALL)
        return json_response(await asyncio.to_thread(describe_state, self._watcher, topic))

    async def texts(self, request: Request) -> Response:
        """What was said of a topic in a window."""
        topic, window = request.query_params.get("topic", ALL), request.query_params.get("window", "")
        if re.fullmatch(r"-?[0-9]{1,15}", window) is None:
            raise ApiError("window is the number of a window.", param="window", code="invalid_value")
        data = await asyncio.to_thread(self._watcher.store.texts, topic, int(window))
        return json_response({"object": "list", "data": data})

    async def take(self, request: Request) -> Response:
        """Texts; a row that is no event is counted, and the others are taken."""
        rows = self._rows(await self._service.read(request))
        bad = await asyncio.to_thread(self._watcher.take, rows)
        return json_response({"object": "watch", "rows": len(rows), "bad": bad})

    def _rows(self, body: Any) -> list[dict[str, Any] | None]:
        rows = body.get("rows") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not 0 < len(rows) <= _MOST_ROWS:
            raise ApiError(f"rows is a list of 1 to {_MOST_ROWS:,} objects.", param="rows", code="invalid_value")
        return [row if isinstance(row, dict) else None for row in rows]

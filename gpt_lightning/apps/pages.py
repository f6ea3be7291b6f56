"""The page of an application: its own ``page.html``, and the style that all of them have (``page.css``)."""

from __future__ import annotations

import functools
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpt_lightning.serving.page import page_response, read_page

_PLACE = "/* page.css */"


@functools.cache
def draw_page(package: str) -> str:
    """The page of a package, with the style in its place.

    Args:
        package: Where ``page.html`` lies.
    """
    style = resources.files("gpt_lightning.apps").joinpath("page.css").read_text(encoding="utf-8")
    return read_page(package).replace(_PLACE, style.rstrip("\n"))


def page_route(package: str, path: str = "/") -> Route:
    """The route that answers with the page of a package."""

    async def answer(request: Request) -> Response:
        return page_response(draw_page(package))

    return Route(path, answer, methods=["GET"])

"""A page, and what its browser is told to allow: its own script and style, requests to us, nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources

from starlette.responses import Response


@functools.cache
def read_page(package: str = "gpt_lightning.serving") -> str:
    """A page, the one file ``page.html`` of a package."""
    return resources.files(package).joinpath("page.html").read_text(encoding="utf-8")


@functools.cache
def build_policy(page: str) -> str:
    """Content-Security-Policy: inline script and style by their hashes, so that nothing put into the page can run."""
    hashes = {
        tag: " ".join(f"'sha256-{_hash(each)}'" for each in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL))
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def page_response(page: str) -> Response:
    """A page with its headers."""
    headers = {
        "content-security-policy": build_policy(page),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return Response(page, headers=headers, media_type="text/html")

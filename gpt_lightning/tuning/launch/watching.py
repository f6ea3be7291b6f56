"""``sweep watch``: the report of a running sweep as a page on loopback that follows it, with buttons.

One thread looks at the study, builds the report's own page anew when something has changed, and keeps the sections
whose text is another one; each browser is sent these (server-sent events). How parameters and results go together
takes longest and changes only with trials that end, so it comes after the rest.

Whoever reads or acts needs the token in the address, and a page of another site cannot reach the server under another
name (the host is checked): on a machine that several people share, nobody else stops the sweep.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gpt_lightning.errors import ConfigError, UserError
from gpt_lightning.parsing.strict_yaml import YAMLProblem, load_yaml
from gpt_lightning.reports.page import Page, check_pages
from gpt_lightning.tuning.report.report import build_report
from gpt_lightning.tuning.report.report_facts import StudyFacts
from gpt_lightning.tuning.report.report_reading import Known, read_facts
from gpt_lightning.tuning.study.entries import REPORTS
from gpt_lightning.tuning.study.sweep import Sweep, open_sweep
from gpt_lightning.tuning.workers.claiming import enqueue
from gpt_lightning.tuning.workers.worker import retry_trials, stop_sweep

log = logging.getLogger("gpt_lightning")

_HEADERS = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
_LOOK_SECONDS, _QUIET_SECONDS, _WHOLE_SECONDS = 0.5, 15.0, 4.0


class Sections:
    """The sections of a sweep's page, each with the number of the change that made it.

    Args:
        sweep: Open, and used by nobody else.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep, self._known = sweep, Known()
        self._parts: dict[str, tuple[int, str]] = {}
        self._seen: object = None
        self._whole: StudyFacts | None = None
        self._ended, self._whole_at = -1, 0.0
        self.version, self.order, self.time = 0, list[str](), ""

    def look(self) -> bool:
        """Build anew what has changed since the last call; whether anything has."""
        trials = self._sweep.store(lambda: self._sweep.study.get_trials(deepcopy=False), "reading the trials")
        seen = [(each.state, len(each.user_attrs), len(each.user_attrs.get(REPORTS, ()))) for each in trials]
        ended = sum(each.state.is_finished() for each in trials)
        whole = self._whole is None or (ended != self._ended and time.monotonic() - self._whole_at > _WHOLE_SECONDS)
        if seen == self._seen and not whole:
            return False
        spec, folder = self._sweep.spec, self._sweep.folder.path
        study = read_facts(spec, trials, folder, self._known, None if whole else self._whole)
        self._take(build_report(study, time.time(), parameters=whole), whole)
        self._seen = seen
        if whole:
            self._whole, self._ended, self._whole_at = study, ended, time.monotonic()
        return True

    def _take(self, page: Page, whole: bool) -> None:
        made = dict(page.sections())
        if not whole and _SLOW in self.order:  # left out of this pass: it stays as it is, behind what it followed
            before = self.order[: self.order.index(_SLOW)]
            known = [part for part in made if part not in self.order or part in before]
            made = {**{part: made[part] for part in known}, _SLOW: self._parts[_SLOW][1], **made}
        self.version += 1
        for part, html in made.items():
            if self._parts.get(part, (0, ""))[1] != html:
                self._parts[part] = self.version, html
        self.order, self.time = list(made), time.strftime("%H:%M:%S")

    def since(self, version: int) -> dict[str, Any]:
        """What a browser that knows everything up to ``version`` does not know."""
        parts = {part: self._parts[part][1] for part in self.order if self._parts[part][0] > version}
        return {"parts": parts, "order": self.order, "time": self.time, "version": self.version}


_SLOW = "parameters"
"""Anchor of the section that takes longest."""


def act(sweep: Sweep, action: str, content: Mapping[str, Any]) -> str:
    """Do what a button says; returns what to say.

    Raises:
        UserError: It cannot be done.
    """
    if action == "stop":
        return stop_sweep(sweep)
    if action == "retry":
        text = str(content.get("trials", "")).replace(",", " ").replace("all", " ")
        if not all(word.isdigit() for word in text.split()):
            raise ConfigError("Numbers of trials are needed", got=content.get("trials"), allowed="all, or 3 7")
        return retry_trials(sweep, [int(word) for word in text.split()])
    text = str(content.get("point", ""))
    try:
        point = load_yaml("{" + text + "}")
    except YAMLProblem as problem:
        raise ConfigError("The point is not written as KEY: VALUE, KEY: VALUE", got=text) from problem
    if not point:
        raise ConfigError("The point names no value", got=text, allowed="model.optimizer.lr: 4e-3, ...")
    enqueue(sweep, point)
    return "It is the next trial that a worker takes."


class Desk:
    """What the server answers (Starlette).

    Args:
        sweep: To watch.
        token: Who knows it may read and act.
        port: Where it listens, for the host to be checked.
    """

    def __init__(self, sweep: Sweep, token: str, port: int) -> None:
        script = Path(__file__).with_name("watch.js").read_text(encoding="utf-8")
        self._folder, self._token = sweep.folder, token.encode()
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._shell = Page(f"Sweep {sweep.spec.name}", str(sweep.folder.path)).html(live=script)
        self._sections, self._looking = Sections(sweep), threading.Lock()

    def app(self) -> Starlette:
        """The application."""
        buttons = [Route(f"/{each}", self.press, methods=["POST"], name=each) for each in ("stop", "retry", "enqueue")]
        return Starlette(routes=[Route("/", self.show), Route("/events", self.events), *buttons])

    def _may(self, request: Request, given: str | None) -> bool:
        return request.headers.get("host") in self._hosts and hmac.compare_digest((given or "").encode(), self._token)

    async def show(self, request: Request) -> Response:
        """The page without its sections, which follow as events."""
        if not self._may(request, request.query_params.get("token")):
            return PlainTextResponse("The address with its token is what gpt-lightning sweep watch has printed.\n", 403)
        return Response(self._shell, media_type="text/html", headers=_HEADERS)

    async def events(self, request: Request) -> Response:
        """Sections as they change."""
        if not self._may(request, request.query_params.get("token")):
            return PlainTextResponse("wrong token\n", 403)
        return StreamingResponse(self._follow(), media_type="text/event-stream", headers=_HEADERS)

    async def _follow(self) -> AsyncIterator[str]:
        version, spoken = 0, time.monotonic()
        while True:
            update = await run_in_threadpool(self._look, version)
            if update is not None:
                version, spoken = update["version"], time.monotonic()
                yield f"data: {json.dumps(update)}\n\n"
            elif time.monotonic() - spoken > _QUIET_SECONDS:
                spoken = time.monotonic()
                yield ": still here\n\n"
            await asyncio.sleep(_LOOK_SECONDS)

    def _look(self, version: int) -> dict[str, Any] | None:
        with self._looking:
            try:
                self._sections.look()
            except UserError as problem:  # a storage that does not answer now may do so soon
                log.warning("%s", problem)
            return self._sections.since(version) if self._sections.version > version else None

    async def press(self, request: Request) -> Response:
        """A button."""
        if not self._may(request, request.headers.get("x-token")):
            return JSONResponse({"said": "wrong token"}, 403)
        try:
            content = json.loads(await request.body() or b"{}")
            sweep = await run_in_threadpool(open_sweep, self._folder)  # of its own: the other one is being read
            said = await run_in_threadpool(act, sweep, request.url.path.strip("/"), content)
        except (UserError, ValueError) as problem:
            return JSONResponse({"said": str(problem)}, 400)
        return JSONResponse({"said": said.strip()})


def watch(sweep: Sweep, port: int = 0) -> None:
    """Serve the page until interrupted.

    Args:
        sweep: To watch.
        port: Of 127.0.0.1; 0 = any that is free.

    Raises:
        ConfigError: A library is missing, or the port is taken.
    """
    check_pages()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as problem:
        raise ConfigError(
            f"Cannot listen at 127.0.0.1:{port} ({problem.strerror})", fix="Choose another --port."
        ) from problem
    port, token = listener.getsockname()[1], secrets.token_urlsafe(16)
    server = uvicorn.Server(
        uvicorn.Config(
            Desk(sweep, token, port).app(), log_level="warning", timeout_graceful_shutdown=1, access_log=False
        )
    )
    sys.stdout.write(f"Watching {sweep.spec.name} at http://127.0.0.1:{port}/?token={token}  (Ctrl-C ends it)\n")
    sys.stdout.flush()
    with listener:
        server.run(sockets=[listener])

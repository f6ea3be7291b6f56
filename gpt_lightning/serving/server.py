"""A socket, a service behind it, and signals that end both without cutting anybody off."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TextIO

import uvicorn
from starlette.types import ASGIApp

from gpt_lightning.errors import ConfigError
from gpt_lightning.serving.aliases import Aliases
from gpt_lightning.serving.feedback import Desk
from gpt_lightning.serving.metrics import Metrics
from gpt_lightning.serving.request_log import RequestLog
from gpt_lightning.serving.service import Service
from gpt_lightning.serving.settings import Limits, Source
from gpt_lightning.serving.versions import Loader
from gpt_lightning.serving.worker import Worker

_CUT_SECONDS = 2
"""From cutting what still runs until the process ends all the same."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigError: The address is taken, or not one of this machine.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With the protocol: asyncio sends small writes at once (TCP_NODELAY) only on sockets that name TCP; else each
        # event after the first waits 40 ms for the other side's acknowledgement.
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
    except OSError as problem:
        raise ConfigError(
            f"Cannot listen at {host}:{port} ({problem.strerror})", fix="Choose another --port."
        ) from problem
    return found


def build_service(
    models: Mapping[str, Source] | Path,
    load: Loader,
    *,
    queue: int = 64,
    limits: Limits = Limits(),
    log: RequestLog | None = None,
    desk: Desk | None = None,
) -> tuple[Service, Metrics]:
    """A service with its worker, and what it counts.

    Args:
        models: Names and what they point to, or a file of them that is followed.
        load: Makes the versions of a base and its adapters.
        queue: Texts that may wait beyond those being written.
        limits: What a request may take.
        log: Where requests and answers are written down.
        desk: Where answers are kept and feedback is taken.
    """
    metrics = Metrics()
    aliases = Aliases.follow(models, load) if isinstance(models, Path) else Aliases(models, load)
    return Service(aliases, Worker(queue, metrics), limits, log, desk), metrics


class JsonLines(logging.Formatter):
    """A JSON object per line: when, how grave, and what; of a request its facts, and no text that anybody wrote."""

    def format(self, record: logging.LogRecord) -> str:
        """A line."""
        facts = getattr(record, "facts", None) or {"message": record.getMessage()}
        found = {"time": round(record.created, 3), "level": record.levelname.lower(), **facts}
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=True)


def log_to(stream: TextIO) -> None:
    """Write the server's log there."""
    writer = logging.StreamHandler(stream)
    writer.setFormatter(JsonLines())
    for name, level in (("gpt_lightning.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [writer], False
        logger.setLevel(level)


class _Server(uvicorn.Server):
    """Tells the service when the end begins, and cuts what has not ended in time."""

    def __init__(self, config: uvicorn.Config, service: Service, drain_seconds: float) -> None:
        super().__init__(config)
        self._service, self._drain_seconds = service, drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if sockets and self.started:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            sys.stdout.write(
                f"Serving {', '.join(self._service.aliases.names)} at http://{shown}:{port}  (Ctrl-C ends it)\n"
            )
            sys.stdout.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: finish what runs; a second one: end every answer now.

        Not uvicorn's own way for the second, which leaves streams without an end and the application without a word.
        """
        again, self.should_exit = self.should_exit, True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._service.cut if again else self._drain)

    def _drain(self) -> None:
        if not self._service.draining:
            self._service.drain()
            asyncio.get_running_loop().call_later(self._drain_seconds, self._service.cut)


def run_server(app: ASGIApp, service: Service, listening: socket.socket, drain_seconds: float) -> None:
    """Serve until a signal (SIGTERM, Ctrl-C); then finish what runs, and return.

    Args:
        app: The application.
        service: What is behind it.
        listening: A bound socket.
        drain_seconds: Time that what runs is given; afterwards each answer ends with an error that says so.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(drain_seconds) + _CUT_SECONDS,
        timeout_keep_alive=75,
    )
    _Server(config, service, drain_seconds).run(sockets=[listening])

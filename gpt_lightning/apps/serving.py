"""The server of an application: ``gpt-lightning serve`` with routes of its own in front."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt_lightning.errors import FolderInUseError
from gpt_lightning.files.locks import FileLock, LockHeld
from gpt_lightning.serving.command import check_installed, loader
from gpt_lightning.serving.settings import Address, EngineSettings, Source

if TYPE_CHECKING:
    from starlette.routing import Route

    from gpt_lightning.serving.feedback import Desk
    from gpt_lightning.serving.service import Service
    from gpt_lightning.serving.versions import Version

DRAIN_SECONDS = 30.0
LOCK_FILE = "app.lock"


def serve_model(
    name: str,
    model: str,
    address: Address,
    make_routes: Callable[[Service, Version], Sequence[Route]],
    desk: Desk | None = None,
) -> None:
    """Serve a model until a signal: the routes of ``gpt-lightning serve``, and in front of them those made here.

    Args:
        name: Of the model, in the API.
        model: Its run or checkpoint.
        address: Where to listen.
        make_routes: From the service (limits, engine) and the model that is served; a route of ``/`` is the page.
        desk: Where answers are kept and feedback is taken.

    Raises:
        ConfigError: The extra ``serve`` is not installed, or the address is taken.
        CheckpointError: There is no such model.
    """
    check_installed()
    from gpt_lightning.serving.app import build_app
    from gpt_lightning.serving.server import bind, build_service, log_to, run_server

    log_to(sys.stderr)
    with bind(address.host, address.port) as listening:  # before the model is loaded: a taken port is told at once
        service, metrics = build_service({name: Source(model)}, loader(EngineSettings()), desk=desk)
        routes = make_routes(service, service.aliases.find(name))
        app = build_app(service, metrics, any_host=not address.is_local, routes=routes)
        run_server(app, service, listening, DRAIN_SECONDS)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While no other process serves the same folder: both would write its files.

    Args:
        folder: Of an application.

    Raises:
        FolderInUseError: One does.
    """
    lock = FileLock(folder / LOCK_FILE, beats=True)
    try:
        lock.acquire(wait=False)
    except LockHeld as held:
        raise FolderInUseError(f"{folder} is served by {held}", fix="One is enough.") from held
    try:
        yield
    finally:
        lock.release()

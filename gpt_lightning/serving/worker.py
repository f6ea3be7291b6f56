"""The thread that runs the engines, and the way to it from the event loop and back.

    event loop   submit, cancel ──queue──>  thread: take commands, one step of every engine that has work, and again
                 jobs <──one call per step──  events

One thread runs all versions in turn: two would share the processor's cores and finish no sooner. Commands are taken
between steps, so a cancelled job's slots are free before the next one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from queue import Empty, SimpleQueue
from typing import NamedTuple

from gpt_lightning.errors import UserError
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Completion, Event
from gpt_lightning.serving.api_errors import ApiError, overloaded, unavailable
from gpt_lightning.serving.calls import Call
from gpt_lightning.serving.metrics import Metrics
from gpt_lightning.serving.versions import Version

_LOG = logging.getLogger(__name__)


class News(NamedTuple):
    """An engine's event, with the number of the choice it belongs to."""

    choice: int
    event: Event


class Job:
    """A call at work: what comes of it, step by step.

    Args:
        version: Whose engine writes.
        call: What is asked.

    Attributes:
        tickets: The engine's numbers of the call's requests, with the number of the first choice of each.
    """

    def __init__(self, version: Version, call: Call) -> None:
        self.version, self.call = version, call
        self.tickets: dict[int, int] = {}
        self.left = call.num_texts
        self.inbox: asyncio.Queue[list[News] | Exception] = asyncio.Queue()

    async def news(self) -> AsyncGenerator[list[News], None]:
        """Events of each step, until all choices are complete.

        Raises:
            ApiError: The engine failed.
        """
        left = self.left
        while left:
            found = await self.inbox.get()
            if isinstance(found, Exception):
                raise found
            left -= sum(each.event.completion is not None for each in found)
            yield found

    async def complete(self) -> list[Completion]:
        """All choices.

        Raises:
            ApiError: The engine failed.
        """
        found: dict[int, Completion] = {}
        async for news in self.news():
            found |= {each.choice: each.event.completion for each in news if each.event.completion is not None}
        return [found[choice] for choice in range(self.left)]


class Worker:
    """Runs calls on the engines of their versions.

    Args:
        queue: Texts that may wait beyond those that are written; more are refused.
        metrics: What is counted.

    Attributes:
        texts: Texts that are being written or wait.
    """

    def __init__(self, queue: int, metrics: Metrics) -> None:
        self._queue, self._metrics = queue, metrics
        self._commands: SimpleQueue[tuple[str, Job | None]] = SimpleQueue()
        self._active: dict[Engine, dict[int, Job]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.texts = 0

    def start(self) -> None:
        """Start the thread; call it from the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; what still runs is given up."""
        self._commands.put(("stop", None))
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    @property
    def is_alive(self) -> bool:
        """Whether calls are answered."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, version: Version, call: Call) -> Job:
        """Begin a call.

        Raises:
            ApiError: It is larger than the queue, the queue is full, or the thread has ended.
        """
        if not self.is_alive:
            raise unavailable("The engine has ended.", "engine_ended")
        limit = version.engine.slots + self._queue
        if call.num_texts > limit:
            raise ApiError(f"{call.num_texts:,} texts are more than this server takes at once ({limit:,}).", param="n")
        if self.texts + call.num_texts > limit:
            raise overloaded("The queue is full")
        job = Job(version, call)
        self.texts += call.num_texts
        self._commands.put(("submit", job))
        return job

    def release(self, job: Job) -> None:
        """The caller is done with a job, finished or not; what still runs of it is cancelled."""
        self.texts -= job.call.num_texts
        self._commands.put(("cancel", job))

    def _run(self) -> None:
        while True:
            try:
                while True:
                    # With work at hand, only what is there already; else wait for some.
                    name, job = self._commands.get(block=not self._active)
                    if job is None:
                        return
                    self._begin(job) if name == "submit" else self._cancel(job)
            except Empty:
                pass
            for engine in list(self._active):
                self._step(engine)

    def _begin(self, job: Job) -> None:
        jobs = self._active.setdefault(job.version.engine, {})
        first = 0
        try:
            for request in job.call.requests:
                ticket = job.version.engine.submit(request)
                jobs[ticket], job.tickets[ticket] = job, first
                first += request.n
        except UserError as problem:  # what was checked before the call was submitted
            self._tell([(job, ApiError(str(problem), code="invalid_value"))])
            self._cancel(job)

    def _cancel(self, job: Job) -> None:
        jobs = self._active.get(job.version.engine, {})
        for ticket in job.tickets:
            if jobs.pop(ticket, None) is not None:
                job.version.engine.cancel(ticket)
        if not jobs:
            self._active.pop(job.version.engine, None)

    def _step(self, engine: Engine) -> None:
        jobs = self._active[engine]
        try:
            events = engine.step()
        except Exception as problem:
            _LOG.exception("the engine failed")
            failure = ApiError(f"The engine failed ({problem})", status=500, kind="server_error", code="engine_failed")
            self._tell([(job, failure) for job in dict.fromkeys(jobs.values())])
            for job in dict.fromkeys(jobs.values()):
                self._cancel(job)
            return
        news: dict[Job, list[News]] = {}
        for event in events:
            job = jobs[event.ticket]
            news.setdefault(job, []).append(News(job.tickets[event.ticket] + event.sample, event))
        self._metrics.count_step(engine, events)
        self._tell(list(news.items()))
        if not engine.busy:
            # Callers that still read their last event must not keep the thread turning: it would take the interpreter
            # from the event loop that writes to them.
            del self._active[engine]

    def _tell(self, news: list[tuple[Job, list[News] | Exception]]) -> None:
        if news and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, news)


def _deliver(news: list[tuple[Job, list[News] | Exception]]) -> None:
    for job, found in news:
        job.inbox.put_nowait(found)

"""What is counted, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Event

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "gpt_lightning_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "gpt_lightning_request_seconds", "Time of a request.", ["path"], buckets=_SECONDS, registry=self._registry
        )
        self._steps = Counter("gpt_lightning_engine_steps", "Steps of the engines.", registry=self._registry)
        self._written = Counter("gpt_lightning_tokens_written", "Tokens written.", registry=self._registry)
        self._read = Gauge("gpt_lightning_prompt_tokens_read", "Prompt tokens read.", registry=self._registry)
        self._found = Gauge(
            "gpt_lightning_prompt_tokens_cached", "Prompt tokens found in the prompt cache.", registry=self._registry
        )
        self._running = Gauge("gpt_lightning_texts_running", "Texts being written.", registry=self._registry)
        self._waiting = Gauge("gpt_lightning_texts_waiting", "Texts that wait for a slot.", registry=self._registry)

    def count_step(self, engine: Engine, events: Sequence[Event]) -> None:
        """After a step of an engine."""
        self._steps.inc()
        self._written.inc(sum(len(event.ids) for event in events))
        self._read.set(engine.reader.tokens_read)
        self._found.set(engine.reader.tokens_found)
        running, waiting = engine.load
        self._running.set(running)
        self._waiting.set(waiting)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """After a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def render(self) -> bytes:
        """All of them as text."""
        return generate_latest(self._registry)

"""A version, measured: tasks, texts, and what it answers to prompts that ask for what must not be said."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.data.layouts.chat_formats import ROLES, Message
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.data.readers.readers import Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.kinds.tasks import Asking, Task
from gpt_lightning.evaluation.outcomes.results import Evaluation, Measure
from gpt_lightning.evaluation.scoring.perplexity import Reach, measure_documents
from gpt_lightning.evaluation.scoring.windows import check_window
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.generation.text import encode_prompt
from gpt_lightning.serving.command import check_installed, loader
from gpt_lightning.serving.replay import Replayed, replay
from gpt_lightning.serving.settings import EngineSettings, Source
from gpt_lightning.weights.loading import LoadedModel

_MOST_TEXTS = 1 << 12
"""Of one request; what is logged was once accepted."""


@dataclass(frozen=True)
class Forbidden:
    """What must not be answered.

    Attributes:
        prompt: A text, or messages.
        pattern: What must not occur in the answer, whatever the case of its letters.
    """

    prompt: str | Sequence[Message]
    pattern: re.Pattern[str]


def read_forbidden(path: Path) -> list[Forbidden]:
    """A file of prompts, one JSON object per line: ``prompt`` or ``messages``, and ``must_not``, a regular expression.

    Raises:
        DataError: It cannot be read, or a line is something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    return [_read_line(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _read_line(line: str, place: str) -> Forbidden:
    try:
        row = json.loads(line)
        pattern = re.compile(row["must_not"], re.IGNORECASE)
        if "prompt" in row:
            return Forbidden(str(row["prompt"]), pattern)
        messages = [Message(each["role"], each["content"]) for each in row["messages"]]
        if not messages or any(each.role not in ROLES for each in messages):
            raise ValueError("no messages")
    except (ValueError, KeyError, TypeError, re.error) as error:
        raise DataError(
            f"{place} is no prompt with an answer that must not be ({type(error).__name__}: {error})",
            allowed='{"prompt": "...", "must_not": "..."} or {"messages": [...], "must_not": "..."}',
        ) from error
    return Forbidden(messages, pattern)


def find_forbidden(loaded: LoadedModel, rows: Sequence[Forbidden], max_tokens: int) -> list[str]:
    """Prompts whose likeliest answer says what it must not, each with that answer's beginning."""
    transcript = Transcript(loaded.tokenizer)
    requests = []
    for row in rows:
        is_text = isinstance(row.prompt, str)
        ids = (
            encode_prompt(loaded.tokenizer, row.prompt)
            if isinstance(row.prompt, str)
            else transcript.encode(row.prompt)
        )
        requests.append(
            Request(
                ids,
                max_tokens=max_tokens,
                sampling=Sampling(temperature=0.0),
                stop=() if is_text else transcript.stop,
                stop_ids=None if is_text else transcript.stop_ids,
            )
        )
    answers = dict(Engine(loaded.model, loaded.tokenizer).complete(requests))
    texts = [answers[number][0].text for number in range(len(rows))]
    return [f"line {n + 1}: {text.strip()[:60]!r}" for n, text in enumerate(texts) if rows[n].pattern.search(text)]


def replay_log(version: Path, log: Path, device: str) -> Replayed:
    """A server's log of requests, answered by a version.

    Args:
        version: Its folder.
        log: File of ``serve --request_log``.
        device: Where to run.

    Raises:
        ConfigError: The extra ``serve`` is not installed.
        DataError: The log is something else.
    """
    check_installed()
    from gpt_lightning.serving.request_log import read_log
    from gpt_lightning.serving.server import build_service

    entries = read_log(log)
    if not entries:
        raise DataError(f"{log} holds no request", fix="Pass a file of serve --request_log.")
    sources = {str(entry["body"].get("model")): Source(str(version)) for entry in entries}
    service, _ = build_service(sources, loader(EngineSettings(device=device)), queue=len(entries) * _MOST_TEXTS)
    return asyncio.run(replay(service, entries))


def run_tasks(loaded: LoadedModel, tasks: Sequence[Task], asking: Asking) -> list[Evaluation]:
    """Each task, asked."""
    return [task.run(loaded, asking) for task in tasks]


def measure_texts(loaded: LoadedModel, files: Sequence[str]) -> Evaluation:
    """Bits per byte of texts, as ``evaluate ppl`` counts them.

    Raises:
        DataError: There is nothing to predict.
    """
    readers = open_sources(list(files), Reading("file", "text", "utf-8"))
    reach = Reach(*check_window(None, None, loaded.model.block_size))
    documents = (document for reader in readers for document in reader.iterate_documents())
    items, _ = measure_documents(loaded, documents, reach)
    if not items:
        raise DataError("There is nothing to predict in these texts", got=list(files))
    return Evaluation("texts", str(loaded.path), {"window": reach.window}, [Measure("Perplexity")], items)

"""A version, measured: tasks, texts, and what it answers to prompts that ask for what must not be said."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt_lightning.data.layouts.base import Layout
from gpt_lightning.data.layouts.chat_formats import ROLES, Message
from gpt_lightning.data.layouts.conversations import Conversation, Preference, Rated
from gpt_lightning.data.layouts.examples import Encoded, Example
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.data.readers.readers import Document, Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.data.store.columns import MARKS
from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.kinds.rows import RECORDS
from gpt_lightning.evaluation.kinds.tasks import Asking, Task
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, Outcome
from gpt_lightning.evaluation.scoring.continuations import score_continuations
from gpt_lightning.evaluation.scoring.perplexity import Reach, measure_documents
from gpt_lightning.evaluation.scoring.windows import check_window
from gpt_lightning.feedback.makers import hash_text
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.generation.text import encode_prompt
from gpt_lightning.metrics.labels import Choice
from gpt_lightning.metrics.likelihood import Likelihood
from gpt_lightning.serving.command import check_installed, loader
from gpt_lightning.serving.replay import Replayed, replay
from gpt_lightning.serving.settings import EngineSettings, Source
from gpt_lightning.weights.loading import LoadedModel

_LAYOUTS: dict[str, Layout] = {"chosen": Preference(), "label": Rated()}
"""A field that only rows of this layout have; all others are conversations."""
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


def read_rows(file: Path) -> list[tuple[str, Layout, Example]]:
    """Rows of ``feedback build`` as their layout understands them: place, layout, row.

    Rows that were disliked are left out: that they become less likely says nothing of what is answered instead.

    Raises:
        DataError: The file cannot be read, or there is nothing in it.
    """
    found = []
    for row in RECORDS.read(file):
        layout = next((each for field, each in _LAYOUTS.items() if field in row.record), Conversation())
        example = layout.parse(Document("", row.place, 0, fields=row.record))
        if not (isinstance(layout, Rated) and not row.record["label"]):
            found.append((row.place, layout, example))
    if not found:
        raise DataError(f"{file} has no rows to measure on", fix="Give more feedback, or raise gate_fraction.")
    return found


def measure_rows(loaded: LoadedModel, file: Path) -> Evaluation:
    """How likely a model finds answers that people wanted; of two answers, how often it prefers the one they did.

    Args:
        loaded: The model.
        file: Conversations, preferences or ratings that were set aside.

    Raises:
        DataError: As ``read_rows``, or no row fits into the model.
    """
    items, is_choice = [], False
    for place, layout, example in read_rows(file):
        cut: Counter[str] = Counter()
        written = layout.limited_to(loaded.model.block_size).encode(
            example, loaded.tokenizer, loaded.tokenizer.encode, cut
        )
        if not written:
            continue
        scored = score_continuations(loaded.model, [_split_last(loaded.tokenizer.eot_id, each) for each in written])
        is_choice = isinstance(layout, Preference)
        outcome: Outcome
        if is_choice:
            gap = scored[0].nats - scored[1].nats
            chosen = 1 / (1 + math.exp(min(gap, 700.0)))
            outcome = Choice((chosen, 1 - chosen), 0)
        else:
            outcome = Likelihood(
                sum(each.nats for each in scored),
                sum(each.num_tokens for each in scored),
                len(example.text.encode("utf-8", errors="replace")),
            )
        items.append(Item(place, hash_text(example.text), {"": outcome}))
    if not items:
        raise DataError(f"No row of {file} fits into {loaded.model.block_size} positions")
    measure = Measure("Accuracy" if is_choice else "Perplexity")
    return Evaluation(file.stem, str(loaded.path), {"rows": len(items)}, [measure], items)


def _split_last(eot_id: int, written: Encoded) -> tuple[list[int], list[int]]:
    """A conversation as what is read and the answer at its end."""
    marks = written.columns[MARKS]
    ids = [eot_id, *map(int, written.ids)]
    stop = int(np.flatnonzero(marks)[-1]) + 1
    before = np.flatnonzero(marks[:stop] == 0)
    first = 1 + (int(before[-1]) + 1 if len(before) else 0)
    return ids[:first], ids[first : stop + 1]


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

"""``gpt-lightning feedback drift``: is what is asked and answered still what it was?

    answers of one version, oldest first -> reference | window | window | ... -> a comparison per measure and window

    prompt length, answer length   characters
    vocabulary                     how usual the words of a prompt are, among those of reference and window together
    labels                         shares of the classes that people named; where there are none and the answers are few
                                   different ones (a classifier's), shares of these
    confidence                     mean log-probability of the answer's tokens, of a model that is named

The measures share the rate of false alarms that is stated, see ``metrics.drift``.
"""

from __future__ import annotations

import json as json_format
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt_lightning.data.layouts.chat_formats import Message
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.rows import RECORDS
from gpt_lightning.feedback.records import Prompt
from gpt_lightning.feedback.store import FeedbackStore, open_feedback
from gpt_lightning.metrics.cutting import cut_text
from gpt_lightning.metrics.drift import Comparison, compare_counts, compare_values
from gpt_lightning.reports.text_table import format_table
from gpt_lightning.tracking.notifications import (
    ALERTS_FILE,
    Command,
    Notifier,
    Receiver,
    Webhook,
    write_alert_event,
)

_MOST_LABELS = 20
Measured = Callable[[Sequence["Asked"], Sequence["Asked"], float], Comparison | None]
"""Reference, window, rate -> how they differ; None = there is nothing to compare."""


@dataclass(frozen=True)
class Asked:
    """A request and its answer, or a row of training data.

    Attributes:
        prompt: A text, or messages.
        answer: What was answered; empty = not known.
        label: The class that somebody named; empty = nobody did.
        time: When, UTC.
    """

    prompt: Prompt
    answer: str = ""
    label: str = ""
    time: str = ""

    @property
    def text(self) -> str:
        """The prompt: of messages the last one, since the others were asked before."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[-1]["content"]


def read_answers(store: FeedbackStore, version: str | None) -> tuple[str, list[Asked]]:
    """The version, and its answers, oldest first.

    Args:
        store: Where they are kept.
        version: Its name, or the name of a model; None = that of the newest answer.

    Raises:
        DataError: There are none.
    """
    kept = sorted(store.interactions(), key=lambda each: (each.time, each.id))
    labels = {each.interaction: str(each.value) for each in store.feedback() if each.kind == "label"}
    wanted = version or (kept[-1].version if kept else "")
    found = [each for each in kept if wanted in (each.version, each.model, *Path(each.version).parts)]
    if not found:
        known = ", ".join(sorted({each.version for each in kept})) or "no answers"
        raise DataError("The store has no answer of this version", got=wanted, allowed=known)
    return wanted, [Asked(each.prompt, each.answers[0], labels.get(each.id, ""), each.time) for each in found]


def read_training_rows(file: Path) -> list[Asked]:
    """Rows of ``feedback build``, or of any layout with prompts, messages or texts.

    Raises:
        DataError: A row has none of these.
    """
    found = []
    for row in RECORDS.read(file):
        record = row.record
        if "messages" in record:
            *before, last = record["messages"]
            found.append(Asked(before or [last], last["content"]))
        elif "text" in record:
            found.append(Asked(record["text"], label=str(record.get("label", ""))))
        elif "prompt" in record:
            found.append(Asked(record["prompt"], record.get("completion", record.get("chosen", ""))))
        else:
            raise DataError(f"{row.place} has no prompt", got=", ".join(record), allowed="prompt, messages or text")
    return found


def compare_lengths(read: Callable[[Asked], str]) -> Measured:
    """Characters of a text."""

    def compare(reference: Sequence[Asked], window: Sequence[Asked], rate: float) -> Comparison | None:
        sizes = [np.array([float(len(read(each))) for each in part]) for part in (reference, window)]
        return compare_values(*sizes, rate=rate) if any(map(np.any, sizes)) else None

    return compare


def compare_vocabulary(reference: Sequence[Asked], window: Sequence[Asked], rate: float) -> Comparison | None:
    """Mean logarithm of how many prompts of both hold a word of a prompt: of new words few do."""
    words = [[{*cut_text(each.text, "zh")} for each in part] for part in (reference, window)]
    holding = Counter(word for part in words for each in part for word in each)
    usual = [
        np.array([np.mean([np.log(holding[word]) for word in sorted(each)]) if each else 0.0 for each in part])
        for part in words
    ]
    return compare_values(*usual, rate=rate)


def compare_labels(reference: Sequence[Asked], window: Sequence[Asked], rate: float) -> Comparison | None:
    """Shares of the classes that people named, or of answers that are few different ones."""
    for field in ("label", "answer"):
        named = [[word for each in part if (word := getattr(each, field).strip())] for part in (reference, window)]
        kinds = sorted({*named[0], *named[1]})
        if all(named) and len(kinds) <= _MOST_LABELS:
            counts = [np.array([part.count(kind) for kind in kinds]) for part in named]
            return compare_counts(*counts, rate=rate)
    return None


def compare_confidence(model: str, device: str) -> Measured:
    """Mean log-probability of an answer's tokens, behind its prompt, of a model.

    Raises:
        CheckpointError: There is no such model.
    """
    from gpt_lightning.evaluation.scoring.continuations import score_continuations
    from gpt_lightning.evaluation.scoring.models import open_model
    from gpt_lightning.generation.text import encode_prompt

    loaded = open_model(model, prefer="best", device=device)
    transcript = Transcript(loaded.tokenizer)
    known: dict[int, float] = {}

    def score(rows: Sequence[Asked]) -> np.ndarray[Any, Any]:
        new = [each for each in rows if each.answer and id(each) not in known]
        pairs = []
        for each in new:
            is_text = isinstance(each.prompt, str)
            before = (
                encode_prompt(loaded.tokenizer, str(each.prompt))
                if is_text
                else transcript.encode(
                    [Message(message["role"], message["content"]) for message in each.prompt]  # type: ignore[index]
                )
            )
            pairs.append((before, list(map(int, loaded.tokenizer.encode(each.answer)))))
        for each, found in zip(new, score_continuations(loaded.model, pairs), strict=True):
            known[id(each)] = -found.nats / found.num_tokens
        return np.array([known[id(each)] for each in rows if each.answer])

    def compare(reference: Sequence[Asked], window: Sequence[Asked], rate: float) -> Comparison | None:
        scores = score(reference), score(window)
        return compare_values(*scores, rate=rate) if all(map(len, scores)) else None

    return compare


def drift_command(
    store: str,
    version: str | None = None,
    reference: str | None = None,
    reference_rows: int = 1000,
    window: int = 200,
    rate: float = 0.001,
    model: str | None = None,
    device: str = "auto",
    alerts: str | None = None,
    webhook: str | None = None,
    program: list[str] | None = None,
    json: bool = False,
) -> int:
    """Compare what a version is asked and answers with what it was trained on, or was asked at first.

    Alarms at the rate that is stated: --rate 0.001 is one false alarm in a thousand windows, all measures together.
    Exit code 3 where the newest whole window differs.

    Example: gpt-lightning feedback drift feedback.db --model chat@production --alerts alerts

    Args:
        store: File of serve --feedback.
        version: Version, or name of a model; null = that of the newest answer.
        reference: File of training rows (.jsonl), such as those of feedback build; null = its first answers.
        reference_rows: How many of its first answers are the reference, where no file is named.
        window: Answers that are compared at a time.
        rate: False alarms per window.
        model: What to score answers with, such as chat@production; null = no confidence.
        device: Where to score: auto, cpu, cuda, mps.
        alerts: Folder in which alarms are kept (alerts.jsonl); each is told once.
        webhook: Address that new alarms are posted to, as those of training; with alerts.
        program: Program and arguments that reads each new alarm from its input; with alerts.
        json: Write JSON.
    """
    if window < 2 or reference_rows < 2:
        raise ConfigError(
            "There is nothing to compare", got={"window": window, "reference_rows": reference_rows}, allowed="2 or more"
        )
    if alerts is None and (webhook or program):
        raise ConfigError("Alarms that are passed on are also kept", fix="Say --alerts FOLDER.")
    receivers: list[Receiver] = [*([Webhook(webhook)] if webhook else []), *([Command(program)] if program else [])]
    with open_feedback(store) as opened:
        name, answers = read_answers(opened, version)
    known = answers[:reference_rows] if reference is None else read_training_rows(Path(reference))
    rest = answers[reference_rows:] if reference is None else answers
    if len(known) < 2 or len(rest) < window:
        raise DataError(
            "There are too few answers to compare",
            got=f"{len(answers)} of {name}",
            allowed=f"{window + (reference_rows if reference is None else 0)} or more",
            fix="Lower --window or --reference_rows, or wait.",
        )
    measures: dict[str, Measured] = {
        "prompt length": compare_lengths(lambda each: each.text),
        "answer length": compare_lengths(lambda each: each.answer),
        "vocabulary": compare_vocabulary,
        "labels": compare_labels,
        **({} if model is None else {"confidence": compare_confidence(model, device)}),
    }
    rows = [
        {"window": number + 1, "from": part[0].time, "to": part[-1].time, "measure": title, **vars(found)}
        for number, part in enumerate(rest[at : at + window] for at in range(0, len(rest) - window + 1, window))
        for title, compare in measures.items()
        if (found := compare(known, part, rate / len(measures))) is not None
    ]
    if alerts is not None:
        _tell(Path(alerts), receivers, name, window, [row for row in rows if row["alarm"]])
    if json:
        sys.stdout.write(json_format.dumps(rows, indent=1) + "\n")
    else:
        shown = [
            [row["window"], row["from"], row["measure"], f"{row['difference']:.1%}", "CHANGED" if row["alarm"] else ""]
            for row in rows
        ]
        sys.stdout.write(f"{name}: windows of {window} against {len(known):,} rows\n")
        sys.stdout.write(format_table(["window", "from", "measure", "difference", ""], shown))
    return DataError.exit_code if any(row["alarm"] for row in rows if row["window"] == rows[-1]["window"]) else 0


def _tell(folder: Path, receivers: list[Receiver], name: str, window: int, alarms: list[dict[str, Any]]) -> None:
    """Keep alarms and pass on those that are new."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ALERTS_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    told = {(event["run"], event["step"], event["rule"]) for event in map(json_format.loads, lines)}
    notifier = Notifier(folder, receivers)
    for row in alarms:
        message = f"{row['measure']} of {name} has changed: {row['difference']:.1%} of the answers since {row['from']}"
        event = write_alert_event(name, row["window"] * window, f"drift: {row['measure']}", message)
        if (event.run, event.step, event.rule) not in told:
            notifier.send(event)
    notifier.close()

"""The store as data that can be trained on: a function of its content, whatever the order in which rows came.

    conversations   a correction                          -> what should have been answered
    preferences     a correction, or two ratings          -> the better answer and the worse
    ratings         a thumb                               -> an answer, and whether it was liked
    labels          a label                               -> a text and its class

    consented rows -> the latest of each user -> a function per kind -> duplicates merged, contradictions dropped
                   -> at most so many rows of one user -> by the hash of the prompt: train, or gate (never trained on)

The files have the layouts of ``data``: Conversation, Preference, Rated, Labelled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.data.layouts.base import normalize
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.feedback.records import Feedback, Interaction, Prompt
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.files.atomic import fsync_folder, write_json_durably, write_text_durably
from gpt_lightning.files.processes import own_mark
from gpt_lightning.files.sealing import seal

BUILD_FILE = "build.json"
SIDES = ("train", "gate")


@dataclass(frozen=True)
class Rules:
    """What is taken of the store.

    Attributes:
        gate_fraction: Share of the prompts that is set aside.
        rows_per_user: Most rows of one user in each file; all unknown users are one. None = any number.
        rating_gap: Least difference of two mean ratings of one prompt that makes a pair.

    Raises:
        ConfigError: A number is out of range.
    """

    gate_fraction: float = 0.2
    rows_per_user: int | None = 100
    rating_gap: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.gate_fraction < 1:
            raise ConfigError("gate_fraction is a share", got=self.gate_fraction, allowed="0 to less than 1")
        if self.rows_per_user is not None and self.rows_per_user < 1:
            raise ConfigError("rows_per_user counts rows", got=self.rows_per_user, allowed="1 or more, or null")
        if not self.rating_gap > 0:
            raise ConfigError("rating_gap is a difference", got=self.rating_gap, allowed="more than 0")


@dataclass(frozen=True)
class Judged:
    """A piece of feedback beside what it is about."""

    said: Feedback
    prompt: Prompt
    answer: str

    @property
    def group(self) -> str:
        """What the side is chosen by: the prompt as a reader sees it."""
        texts = [self.prompt] if isinstance(self.prompt, str) else [each["content"] for each in self.prompt]
        return _hash("\x1f".join(map(normalize, texts)))


@dataclass(frozen=True)
class Row:
    """A row of a data set.

    Attributes:
        content: As it is written.
        slot: What there may be but one row of; two of different contents contradict each other.
        group: Hash of the prompt.
        keys: The feedback that it is made of.
        users: Who gave it.
        gap: Of a pair, how far apart its ratings are.
    """

    content: Mapping[str, Any]
    slot: str
    group: str
    keys: tuple[str, ...]
    users: tuple[str, ...]
    gap: float = math.inf

    @property
    def line(self) -> str:
        """As JSON."""
        return json.dumps(self.content, ensure_ascii=False, sort_keys=True)

    @property
    def side(self) -> float:
        """A number from 0 to 1 that the prompt chooses."""
        return int(_hash(f"side {self.group}")[:12], 16) / 16**12


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def _row(content: Mapping[str, Any], slot: Sequence[str], made_of: Sequence[Judged], gap: float = math.inf) -> Row:
    keys = tuple(sorted(each.said.key for each in made_of))
    users = tuple(sorted({each.said.user for each in made_of}))
    return Row(content, _hash("\x1f".join(slot)), made_of[0].group, keys, users, gap)


def make_conversations(judged: Sequence[Judged]) -> Iterator[Row]:
    """Corrections as what should have been answered; earlier answers of a conversation are not learned."""
    for each in judged:
        if each.said.kind != "correction":
            continue
        answer = str(each.said.value)
        if isinstance(each.prompt, str):
            content: dict[str, Any] = {"prompt": each.prompt, "completion": answer}
        else:
            before = [{**m, "weight": 0} if m["role"] == "assistant" else dict(m) for m in each.prompt]
            content = {"messages": [*before, {"role": "assistant", "content": answer}]}
        yield _row(content, [each.group], [each])


def make_preferences(judged: Sequence[Judged]) -> Iterator[Row]:
    """A correction against what it corrects; the best and the worst answer by mean rating."""
    rated: dict[str, dict[str, list[Judged]]] = defaultdict(lambda: defaultdict(list))
    for each in judged:
        if each.said.kind == "correction" and str(each.said.value).strip() != each.answer.strip():
            yield _pair(str(each.said.value), each.answer, [each])
        elif each.said.kind == "rating":
            rated[each.group][each.answer].append(each)
    for answers in rated.values():
        means = sorted((sum(int(j.said.value) for j in each) / len(each), answer) for answer, each in answers.items())
        (low, worst), (high, best) = means[0], means[-1]
        if high > low:
            yield _pair(best, worst, [*answers[best], *answers[worst]], high - low)


def _pair(chosen: str, rejected: str, made_of: Sequence[Judged], gap: float = math.inf) -> Row:
    first = min(made_of, key=lambda each: each.said.key)
    content = {"prompt": _plain(first.prompt), "chosen": chosen, "rejected": rejected}
    return _row(content, [first.group, *sorted((chosen, rejected))], made_of, gap)


def make_ratings(judged: Sequence[Judged]) -> Iterator[Row]:
    """Thumbs as answers that were liked or not."""
    for each in judged:
        if each.said.kind == "thumb":
            content = {"prompt": _plain(each.prompt), "completion": each.answer, "label": each.said.value}
            yield _row(content, [each.group, each.answer], [each])


def make_labels(judged: Sequence[Judged]) -> Iterator[Row]:
    """Labels as texts with classes: of the prompt, or of what its last message says."""
    for each in judged:
        if each.said.kind == "label":
            text = each.prompt if isinstance(each.prompt, str) else each.prompt[-1]["content"]
            yield _row({"text": text, "label": each.said.value}, [normalize(text)], [each])


def _plain(prompt: Prompt) -> Any:
    return prompt if isinstance(prompt, str) else [dict(each) for each in prompt]


MAKERS: Mapping[str, Callable[[Sequence[Judged]], Iterator[Row]]] = {
    "conversations": make_conversations,
    "preferences": make_preferences,
    "ratings": make_ratings,
    "labels": make_labels,
}
"""Name of a file -> what makes its rows."""


def build_rows(store: FeedbackStore, rules: Rules = Rules()) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """All rows by kind, in the order in which they are written, and how many were left out by reason.

    Args:
        store: The store.
        rules: What is taken.
    """
    dropped: Counter[str] = Counter()
    judged = _judge(store, dropped)
    rows = {name: _select(list(make(judged)), rules, dropped) for name, make in MAKERS.items()}
    return rows, {reason: number for reason, number in sorted(dropped.items()) if number}


def _judge(store: FeedbackStore, dropped: Counter[str]) -> list[Judged]:
    """What may be used, in an order that does not depend on when it was written: the latest of each user."""
    known: dict[str, Interaction] = {each.id: each for each in store.interactions()}
    latest: dict[tuple[str, ...], Judged] = {}
    for said in sorted(store.feedback(), key=lambda each: (each.time, each.key)):
        if not said.consent:
            dropped["no consent"] += 1
            continue
        about = known[said.interaction]
        each = Judged(said, about.prompt, about.answers[said.choice])
        # Of unknown users nobody knows which are the same.
        place = (each.group, each.answer, said.kind, said.user or f"unknown {said.key}")
        dropped["said anew later"] += place in latest
        latest[place] = each
    return sorted(latest.values(), key=lambda each: each.said.key)


def _select(rows: list[Row], rules: Rules, dropped: Counter[str]) -> list[Row]:
    slots: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.gap < rules.rating_gap:
            dropped["ratings too close"] += 1
        else:
            slots[row.slot].append(row)
    merged: list[Row] = []
    for same in slots.values():
        if len({_answer_of(row) for row in same}) > 1:
            dropped["contradictions"] += len(same)
            continue
        first = min(same, key=lambda row: row.line)
        dropped["duplicates"] += len(same) - 1
        keys = tuple(sorted({key for row in same for key in row.keys}))
        users = tuple(sorted({user for row in same for user in row.users}))
        merged.append(Row(first.content, first.slot, first.group, keys, users))
    # An order that nobody who gives feedback can choose, so that the limit takes no side.
    merged.sort(key=lambda row: (_hash(row.line), row.line))
    given: Counter[str] = Counter()
    kept = []
    for row in merged:
        if rules.rows_per_user is not None and all(given[user] >= rules.rows_per_user for user in row.users):
            dropped["beyond the limit of a user"] += 1
            continue
        given[min(row.users, key=lambda user: (given[user], user))] += 1
        kept.append(row)
    return kept


def _answer_of(row: Row) -> str:
    """What two rows of one slot must agree in."""
    content = row.content
    found = content["messages"][-1]["content"] if "messages" in content else [
        content.get(name) for name in ("completion", "chosen", "label")
    ]  # fmt: skip
    return json.dumps(found, ensure_ascii=False)


def write_build(store: FeedbackStore, folder: Path, rules: Rules = Rules()) -> dict[str, Any]:
    """Write the data set: ``train/*.jsonl``, ``gate/*.jsonl`` and ``build.json``, all of it or nothing.

    Args:
        store: The store, which notes which rows were used.
        folder: Made; where it holds the same data set already, it is left as it is.
        rules: What is taken.

    Returns:
        What is in ``build.json``: fingerprint, rules, counts, dropped, keys.

    Raises:
        DataError: The folder holds something else, or there is nothing to write.
    """
    rows, dropped = build_rows(store, rules)
    files = {
        f"{side}/{name}.jsonl": [row for row in found if (row.side < rules.gate_fraction) == (side == "gate")]
        for name, found in rows.items()
        for side in SIDES
    }
    texts = {name: "".join(f"{row.line}\n" for row in found) for name, found in files.items() if found}
    if not texts:
        told = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
        raise DataError(f"{store.path} has no feedback to train on", got=told or "no feedback at all")
    keys = {name: sorted({key for row in found for key in row.keys}) for name, found in files.items() if found}
    record: dict[str, Any] = {
        "format": 1,
        "fingerprint": _hash("".join(f"{_hash(text)}  {name}\n" for name, text in sorted(texts.items()))),
        "rules": asdict(rules),
        "rows": {name: len(found) for name, found in files.items() if found},
        "dropped": dropped,
        "keys": keys,
    }
    if folder.exists():
        if _read_fingerprint(folder) == record["fingerprint"]:
            return record
        raise DataError(f"{folder} exists and holds something else", fix="Name another folder.")
    # First: a data set that nobody wrote down must not be trained on.
    store.record_build(record["fingerprint"], sorted({key for each in keys.values() for key in each}))
    _write(folder, texts, record)
    return record


def _write(folder: Path, texts: Mapping[str, str], record: Mapping[str, Any]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}@{own_mark()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, text in texts.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_text_durably(temporary / name, text)
        write_json_durably(temporary / BUILD_FILE, seal(dict(record)))
        os.rename(temporary, folder)
        fsync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_fingerprint(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / BUILD_FILE).read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

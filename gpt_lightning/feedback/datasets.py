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

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.feedback.makers import MAKERS, Judged, Row, hash_text
from gpt_lightning.feedback.records import Interaction
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.files.atomic import fsync_folder, write_json_durably, write_text_durably
from gpt_lightning.files.processes import own_mark
from gpt_lightning.files.sealing import seal, unseal

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
    merged.sort(key=lambda row: (hash_text(row.line), row.line))
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
        "fingerprint": hash_text("".join(f"{hash_text(text)}  {name}\n" for name, text in sorted(texts.items()))),
        "rules": asdict(rules),
        "rows": {name: len(found) for name, found in files.items() if found},
        "dropped": dropped,
        "keys": keys,
    }
    if folder.exists():
        if (folder / BUILD_FILE).is_file() and read_build(folder)["fingerprint"] == record["fingerprint"]:
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


def read_build(folder: Path) -> dict[str, Any]:
    """What is in a data set's ``build.json``.

    Raises:
        DataError: It is no data set of feedback, or damaged.
    """
    try:
        found = unseal(json.loads((folder / BUILD_FILE).read_text(encoding="utf-8")))
        return {"fingerprint": str(found["fingerprint"]), **found}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder} is no data set of feedback ({error})", allowed="folders that gpt-lightning feedback build made"
        ) from error

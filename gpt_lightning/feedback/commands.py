"""``gpt-lightning feedback``: rows in and out, data sets out of them, people forgotten."""

from __future__ import annotations

import json as json_format
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.registered import MODELS, VERSIONS_DIR
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.feedback.datasets import Rules, write_build
from gpt_lightning.feedback.exchange import read_jsonl, write_jsonl
from gpt_lightning.feedback.label_studio import LABEL_STUDIO_VIEW, read_label_studio, write_label_studio
from gpt_lightning.feedback.records import Feedback
from gpt_lightning.feedback.store import open_feedback
from gpt_lightning.registry.versions import read_versions, using_data

FORMATS = ("jsonl", "label-studio")


def add_command(
    store: str,
    interaction: str,
    kind: str,
    value: str,
    choice: int = 0,
    comment: str = "",
    user: str = "",
    consent: bool = False,
    key: str = "",
    redact: str = "none",
) -> None:
    """Keep what somebody says about an answer. The same feedback twice is one row.

    Example: gpt-lightning feedback add feedback.db chatcmpl-12ab thumb up --user ada --consent true

    Args:
        store: File of serve --feedback.
        interaction: Id of the answer.
        kind: thumb, rating, correction or label.
        value: up or down; 1 to 5; the better answer; the name of a class.
        choice: Which of several answers.
        comment: Anything else.
        user: Who says it; only a hash is kept.
        consent: Whether the giver agrees that it is trained on.
        key: The same key is the same feedback.
        redact: What is taken out of texts: none, contacts, or package.module.function.
    """
    with open_feedback(store, redact) as opened:
        said = Feedback(
            interaction, kind, parse_value(kind, value), choice, comment, opened.hash_user(user), consent, key=key
        )
        is_new = opened.add_feedback(said)
    sys.stdout.write(f"{'kept' if is_new else 'known already'}: {said.key}\n")


def parse_value(kind: str, value: str) -> bool | int | str:
    """A value as it is typed.

    Raises:
        ConfigError: It is none of the kind.
    """
    words: dict[str, dict[str, bool | int]] = {
        "thumb": {"up": True, "down": False},
        "rating": {str(number): number for number in range(1, 6)},
    }
    if kind not in words:
        return value
    if value not in words[kind]:
        raise ConfigError(f"{kind} has another value", got=value, allowed=", ".join(words[kind]))
    return words[kind][value]


def import_command(store: str, file: str, format: str = FORMATS[0], redact: str = "none") -> None:
    """Take rows over from a file: JSONL of feedback export, or annotations of Label Studio. Known rows are passed over.

    Example: gpt-lightning feedback import feedback.db annotated.json --format label-studio

    Args:
        store: File of the store; a new one is made.
        file: What to read.
        format: jsonl or label-studio.
        redact: What is taken out of texts: none, contacts, or package.module.function.
    """
    _check_format(format)
    with open_feedback(store, redact, create=True) as opened:
        new, total = (read_jsonl if format == FORMATS[0] else read_label_studio)(opened, Path(file))
    sys.stdout.write(f"{total:,} rows, {new:,} new\n")


def export_command(store: str, file: str, format: str = FORMATS[0]) -> None:
    """Write all rows to a file: JSONL, or tasks of Label Studio.

    The labelling interface that Label Studio needs for them is written beside the file (.xml).

    Example: gpt-lightning feedback export feedback.db tasks.json --format label-studio

    Args:
        store: File of the store.
        file: What to write.
        format: jsonl (all of it, with consent and hashes) or label-studio.
    """
    _check_format(format)
    path = Path(file)
    with open_feedback(store) as opened:
        number = (write_jsonl if format == FORMATS[0] else write_label_studio)(opened, path)
    if format != FORMATS[0]:
        path.with_suffix(".xml").write_text(LABEL_STUDIO_VIEW, encoding="utf-8")
    sys.stdout.write(f"{number:,} rows in {file}\n")


def stats_command(store: str, json: bool = False) -> None:
    """Count what is kept, by kind, by version, by user.

    Example: gpt-lightning feedback stats feedback.db

    Args:
        store: File of the store.
        json: Write JSON.
    """
    with open_feedback(store) as opened:
        asked, said, builds = opened.interactions(), opened.feedback(), opened.builds()
    versions = {each.id: each.version for each in asked}
    liked = [each for each in said if each.kind == "thumb"]
    found: dict[str, Any] = {
        "interactions": len(asked),
        "feedback": len(said),
        "consented": sum(each.consent for each in said),
        "users": len({*(each.user for each in asked), *(each.user for each in said)} - {""}),
        "kinds": dict(sorted(Counter(each.kind for each in said).items())),
        "versions": dict(sorted(Counter(versions.values()).items())),
        "thumbs up": {
            version: f"{sum(bool(t.value) for t in liked if versions[t.interaction] == version)} of "
            f"{sum(versions[t.interaction] == version for t in liked)}"
            for version in sorted({versions[t.interaction] for t in liked})
        },
        "data sets": {fingerprint[:12]: len(keys) for fingerprint, keys in builds.items()},
    }
    if json:
        sys.stdout.write(json_format.dumps(found, indent=1) + "\n")
        return
    for name, value in found.items():
        shown = (
            ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else f"{value:,}"
        )
        sys.stdout.write(f"{name:<13} {shown or 'none'}\n")


def show_command(store: str, interaction: str, models: str = str(MODELS)) -> None:
    """Show one answer: which version gave it, on which data that was trained, what was said about it.

    Example: gpt-lightning feedback show feedback.db chatcmpl-12ab

    Args:
        store: File of the store.
        interaction: Id of the answer.
        models: Folder of registered models, where versions are looked up.
    """
    with open_feedback(store) as opened:
        found = opened.find_interaction(interaction)
        said = opened.feedback(interaction)
    if found is None:
        raise DataError("There is no answer of this id", got=interaction, allowed="ids of kept answers")
    lines = [("asked", found.time), ("model", found.model), ("version", found.version), ("weights", found.fingerprint)]
    for folder in sorted(Path(models).glob(f"*/{VERSIONS_DIR}")):
        lines += _trace(folder.parent, found.version)
    lines += [("prompt", json_format.dumps(found.prompt, ensure_ascii=False))]
    lines += [("answer", answer) for answer in found.answers]
    lines += [("feedback", f"{each.kind}: {each.value} {each.comment}".rstrip()) for each in said]
    sys.stdout.write("".join(f"{title:<9} {text}\n" for title, text in lines))


def _trace(folder: Path, version: str) -> list[tuple[str, str]]:
    """What a registered model knows of a version: its data, and those of the versions that its training began with."""
    known = {each.id: each for each in read_versions(folder)}
    wanted = next((each for each in known if each in Path(version).parts), None)
    lines, title = [], "registry"
    while wanted in known:
        record = known[wanted]
        lines += [(title, f"{folder.name}@{record.id}, step {record.step:,}, parent {record.parent or 'none'}")]
        lines += [("data", f"{fingerprint}  {what}") for fingerprint, what in record.data.items()]
        wanted, title = record.parent, "before it"
    return lines


def build_command(
    store: str,
    folder: str,
    gate_fraction: float = Rules.gate_fraction,
    rows_per_user: int | None = Rules.rows_per_user,
    rating_gap: float = Rules.rating_gap,
) -> None:
    """Make a data set of the feedback whose givers consented: conversations, preferences, ratings, labels (JSONL).

    The same content of the store gives the same bytes. Rows of prompts that are set aside for the gate are in gate/ and
    belong into no training.

    Example: gpt-lightning feedback build feedback.db data/feedback-1
    Example: gpt-lightning fit --data.source data/feedback-1/train/conversations.jsonl --data.layout Conversation

    Args:
        store: File of the store.
        folder: Where to write; made.
        gate_fraction: Share of the prompts that is set aside.
        rows_per_user: Most rows of one user in each file; all unknown users are one. null = any number.
        rating_gap: Least difference of two mean ratings of one prompt that makes a pair.
    """
    rules = Rules(gate_fraction, rows_per_user, rating_gap)
    with open_feedback(store) as opened:
        record = write_build(opened, Path(folder), rules)
    for name, number in record["rows"].items():
        sys.stdout.write(f"{number:>7,}  {name}\n")
    for reason, number in record["dropped"].items():
        sys.stdout.write(f"{number:>7,}  left out: {reason}\n")
    sys.stdout.write(f"fingerprint {record['fingerprint']}\n")


def delete_user_command(store: str, user: str, is_hash: bool = False, models: str = str(MODELS)) -> None:
    """Forget a user: requests, answers, feedback. Says which data sets and which versions of models had used it.

    Example: gpt-lightning feedback delete-user feedback.db ada

    Args:
        store: File of the store.
        user: Who, as requests and feedback named the user.
        is_hash: Whether the hash is given instead.
        models: Folder of registered models, where versions are looked up.
    """
    with open_feedback(store) as opened:
        found = opened.delete_user(user if is_hash else opened.hash_user(user))
    sys.stdout.write(f"deleted: {found.interactions:,} answers, {found.feedback:,} pieces of feedback\n")
    for fingerprint in found.builds:
        sys.stdout.write(f"was in data set {fingerprint}\n")
    for folder in sorted(Path(models).glob(f"*/{VERSIONS_DIR}")):
        for version in using_data(folder.parent, found.builds):
            sys.stdout.write(f"was used by version {folder.parent.name}@{version.id}\n")


def _check_format(name: str) -> None:
    if name not in FORMATS:
        raise ConfigError("There is no such format", got=name, allowed=", ".join(FORMATS))

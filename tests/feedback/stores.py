"""Stores with things that people said."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.feedback.store import FeedbackStore

TIME = "2026-01-01T00:00:00.000000Z"


def ask(key: str, prompt: str = "Hi", answers: Sequence[str] = ("Hello",), user: str = "") -> Interaction:
    """A request and its answer."""
    messages = [{"role": "user", "content": prompt}]
    return Interaction(
        key, "chat", "models/chat/versions/0123456789ab", "fp_1", messages, list(answers), user=user, time=TIME
    )


def say(interaction: str, kind: str, value: bool | int | str, user: str = "", **more: object) -> Feedback:
    """Feedback whose giver consents."""
    return Feedback(interaction, kind, value, user=user, **{"consent": True, "time": TIME, **more})  # type: ignore[arg-type]


def many(count: int) -> list[Interaction | Feedback]:
    """A mixture of everything."""
    draw = random.Random(3)
    rows: list[Interaction | Feedback] = []
    for number in range(count):
        rows.append(ask(f"a{number}", f"question {number % (count // 3)}?", (f"answer {number}",)))
        user = f"user{draw.randrange(7)}"
        values: list[tuple[str, bool | int | str]] = [
            ("thumb", draw.random() < 0.5),
            ("rating", draw.randint(1, 5)),
            ("correction", f"better {draw.randrange(3)}"),
            ("label", f"class {draw.randrange(2)}"),
        ]
        rows += [say(f"a{number}", kind, value, user) for kind, value in values]
    return rows


def fill(path: Path, rows: Sequence[Interaction | Feedback]) -> FeedbackStore:
    """A store of some rows."""
    store = FeedbackStore(path)
    with store.at_once():
        for row in rows:
            store.add_interaction(row) if isinstance(row, Interaction) else store.add_feedback(row)
    return store

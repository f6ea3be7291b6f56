"""Records with something known about them, made up from a seed: for tests of layouts and of what trains on them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

_WORDS = {
    "good": ["fine", "lovely", "bright", "kind", "quick", "warm"],
    "bad": ["slow", "cold", "broken", "rude", "dull", "late"],
    "odd": ["green", "seven", "maybe", "Tuesday", "sideways", "也许"],
}
_SUBJECTS = ["the room", "our guide", "that soup", "a train", "this book", "her phone", "这本书", "😀 the show"]


def make_reviews(count: int, seed: int = 0, labels: tuple[str, ...] = ("good", "bad")) -> list[dict[str, Any]]:
    """Reviews whose words tell their class (``label``), some classes (``labels``) and a number (``value``)."""
    chance, rows = random.Random(seed), []
    for number in range(count):
        label = chance.choice(labels)
        words = [chance.choice(_WORDS[label]) for _ in range(chance.randint(1, 4))]
        text = f"{chance.choice(_SUBJECTS)} was {' and '.join(words)}, visit {number}"
        rows.append(
            {
                "text": text,
                "label": label,
                "labels": sorted({label, *chance.sample(labels, chance.randint(0, 1))}),
                "value": len(words) + chance.random(),
                "user": f"u{chance.randrange(max(2, count // 5))}",
            }
        )
    return rows


def make_words(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Sentences as words, each with the class that it belongs to."""
    chance = random.Random(seed)
    tags = [[chance.choice(list(_WORDS)) for _ in range(chance.randint(2, 8))] for _ in range(count)]
    return [{"words": [chance.choice(_WORDS[tag]) for tag in row], "tags": row} for row in tags]


def make_talks(count: int, seed: int = 0, controls: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Conversations of one to nine turns in OpenAI's form, some with a system message, Chinese, emoji and controls."""
    chance = random.Random(seed)
    pieces = [
        "hello",
        " world",
        "你好",
        "，今天",
        "😀👍🏽",
        "\n",
        "  ",
        "User:",
        "1234",
        "it's",
        *controls,
        "Assistant: no",
    ]

    def say() -> str:
        return "".join(chance.choice(pieces) for _ in range(chance.randint(1, 6)))

    talks = []
    for _ in range(count):
        messages = [{"role": "system", "content": say()}] * chance.randint(0, 1)
        for _ in range(chance.randint(1, 9)):
            messages.append({"role": "user", "content": say()})
            messages.append({"role": "assistant", "content": f"a{say()}"})
        talks.append({"messages": messages})
    return talks


def make_preferences(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Prompts with a better and a worse answer; and, for ratings, whether the better one was liked."""
    chance, rows = random.Random(seed), []
    for number in range(count):
        prompt = f"How was {chance.choice(_SUBJECTS)}, {number}?"
        chosen, rejected = (f"It was {chance.choice(_WORDS[kind])}." for kind in ("good", "bad"))
        liked = chance.random() < 0.5
        rows.append(
            {
                "prompt": prompt,
                "chosen": chosen,
                "rejected": rejected,
                "completion": chosen if liked else rejected,
                "label": liked,
            }
        )
    return rows


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of one JSON object per line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path

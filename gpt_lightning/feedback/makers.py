"""Judgements as rows of the layouts of ``data``: one function per kind of row, and the table of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpt_lightning.data.layouts.base import normalize
from gpt_lightning.feedback.records import Feedback, Prompt


def hash_text(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


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
        return hash_text("\x1f".join(map(normalize, texts)))


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
        return int(hash_text(f"side {self.group}")[:12], 16) / 16**12


def _row(content: Mapping[str, Any], slot: Sequence[str], made_of: Sequence[Judged], gap: float = math.inf) -> Row:
    keys = tuple(sorted(each.said.key for each in made_of))
    users = tuple(sorted({each.said.user for each in made_of}))
    return Row(content, hash_text("\x1f".join(slot)), made_of[0].group, keys, users, gap)


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

"""The sample: a shop that does not exist, its answers in English and Chinese, and questions that it cannot answer.

``sample.yaml`` holds wordings, and words and phrases that can be said in several ways. Of each wording some variants
are made; half of these are asked in the evaluation. So most of what is asked there is a known wording in other words.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from gpt_lightning.parsing.strict_yaml import load_yaml

_VARIANTS, _TRIES = 6, 18
_SWAPPED = 0.5
"""Share of the phrases that are said in another way."""


_FIT: dict[str, Any] = {
    "model": {
        "config": {
            "n_layer": 1, "n_head": 4, "n_embd": 64, "norm": "rms", "rope_theta": 10000.0, "dropout": 0.1,
            "tie_embeddings": False,
        },
        "optimizer": {"class_path": "Muon", "init_args": {"embedding_lr": 0.02, "vector_lr": 0.01}},
    },
    "data": {"tokenizer": "bpe:1024:chinese", "block_size": 64, "batch_size": 32, "eval_batch_size": 64},
    "trainer": {"accelerator": "cpu", "max_steps": 1000, "gradient_clip_val": 1.0},
}  # fmt: skip
_WRITER_FIT: dict[str, Any] = {"data": {"block_size": 192, "batch_size": 16}, "trainer": {"max_steps": 800}}


def make_sample() -> tuple[dict[str, Any], dict[str, str]]:
    """Settings, and files by name: the same at every call."""
    content = load_yaml(resources.files("gpt_lightning.apps.support").joinpath("sample.yaml").read_text("utf-8"))
    draw = random.Random("support")
    languages = {name: _Words(draw, **{key: content[key][name] for key in _KEYS}) for name in content["words"]}
    entries = [
        _write_entry(f"{entry['topic']}-{number}-{language}", entry, language, words)
        for number, entry in enumerate(content["entries"], 1)
        for language, words in languages.items()
    ]
    outside = [{"question": each, "language": name} for name, asked in content["outside"].items() for each in asked]
    given = {"outside": "outside.jsonl", "fit": _FIT, "writer_fit": _WRITER_FIT}
    return given, {"faq.jsonl": _lines(entries), "outside.jsonl": _lines(outside)}


_KEYS = ("before", "after", "swaps", "words")


class _Words:
    """The ways in which one language says things.

    Args:
        draw: Chooses among them.
        before: What may stand in front of a question.
        after: What may stand behind it.
        swaps: Phrases, and in what other ways they are said.
        words: What may stand in a place of a wording, by the place's name.
    """

    def __init__(
        self,
        draw: random.Random,
        before: Sequence[str],
        after: Sequence[str],
        swaps: Mapping[str, Sequence[str]],
        words: Mapping[str, Sequence[str]],
    ) -> None:
        self._draw, self._before, self._after, self._swaps, self._words = draw, before, after, swaps, words
        bound = r"\b" if next(iter(swaps)).isascii() else ""
        self._found = re.compile(rf"<(\w+)>|{bound}({'|'.join(map(re.escape, swaps))}){bound}")

    def vary(self, wording: str) -> str:
        """The wording in other words."""
        said = self._found.sub(self._choose, wording)
        return self._draw.choice(self._before) + said + self._draw.choice(self._after)

    def _choose(self, found: re.Match[str]) -> str:
        place, phrase = found.groups()
        if place is not None:
            return self._draw.choice(self._words[place])
        return self._draw.choice(self._swaps[phrase]) if self._draw.random() < _SWAPPED else phrase


def _write_entry(name: str, entry: Mapping[str, Any], language: str, words: _Words) -> dict[str, Any]:
    question, answer, *wordings = entry[language]
    made = [
        text
        for wording in wordings
        for text in list(dict.fromkeys(words.vary(wording) for _ in range(_TRIES)))[:_VARIANTS]
    ]
    found = {"id": name, "topic": entry["topic"], "language": language, "question": question, "answer": answer}
    return {**found, **({"handoff": True} if entry.get("handoff") else {}), "paraphrases": made}


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

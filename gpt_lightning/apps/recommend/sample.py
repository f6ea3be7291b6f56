"""Data to begin with: a catalogue made here, whose structure is known, and MovieLens-100k where a package brings it.

The built-in sample has series of numbered parts, English and Chinese, of a genre each. People follow two series of a
genre in order, and now and then take what is popular. So what comes next can be known from the order of the parts,
which a language model reads in the titles, and neither popularity nor co-occurrence can tell.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError

MOVIELENS = "movielens-100k"
SAMPLES = ("built-in", MOVIELENS)
_GENRES = ("mystery", "travel", "history", "cooking", "space")
_SERIES = {
    "en": ("Amber Harbour", "Quiet Lanterns", "The Copper Road", "Seven Gardens", "Northern Kitchen",
           "Paper Islands", "The Salt Letters", "Silver Orbit", "Winter Market", "The Glass Bridge"),
    "zh": ("琥珀港", "静夜灯", "铜路", "七座花园", "北方厨房", "纸岛", "盐的信", "银色轨道", "冬日集市", "玻璃桥"),
}  # fmt: skip
_PARTS, _PEOPLE = 6, 500
_FOLLOWS, _TOGETHER = 0.75, 0.08
"""Shares: of the steps that follow a series, and of those at the same time as the one before."""


def make_builtin(seed: int = 0) -> dict[str, str]:
    """``items.jsonl`` and ``interactions.jsonl`` of the built-in sample; the same for the same seed."""
    random_numbers = random.Random(seed)
    series = [
        (f"{language}{number}", name, language, _GENRES[number % len(_GENRES)])
        for language, names in _SERIES.items()
        for number, name in enumerate(names)
    ]
    items = [
        {"id": f"{key}-{part}", "text": f"{name} {part}", "genre": genre, "language": language}
        for key, name, language, genre in series
        for part in range(1, _PARTS + 1)
    ]
    popular = [1 / (1 + place) for place in range(len(items))]
    random_numbers.shuffle(popular)
    rows = []
    for person in range(_PEOPLE):
        time = 0
        for item in _live(random_numbers, series, items, popular):
            time += random_numbers.random() >= _TOGETHER
            rows.append({"user": f"u{person}", "item": item, "time": time})
    return {"items.jsonl": _lines(items), "interactions.jsonl": _lines(rows)}


def _live(
    random_numbers: random.Random,
    series: list[tuple[str, str, str, str]],
    items: list[dict[str, str]],
    popular: list[float],
) -> Iterator[str]:
    """What a person has, in order, each once."""
    genre = random_numbers.choice(_GENRES)
    followed = random_numbers.sample([key for key, *_, own in series if own == genre], 2)
    reached = {key: random_numbers.randint(1, 2) for key in followed}
    had: set[str] = set()
    for _ in range(random_numbers.randint(6, 12)):
        open_ = [key for key in followed if reached[key] <= _PARTS]
        if open_ and random_numbers.random() < _FOLLOWS:
            key = random_numbers.choice(open_)
            item, reached[key] = f"{key}-{reached[key]}", reached[key] + 1
        else:
            item = random_numbers.choices(items, popular)[0]["id"]
        if item not in had:
            had.add(item)
            yield item


def find_movielens() -> Path:
    """The folder of MovieLens-100k in the package recbole, which is not imported: its requirements do not matter.

    Raises:
        ConfigError: It is not installed.
    """
    found = importlib.util.find_spec("recbole")
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        folder = Path(place) / "dataset_example" / "ml-100k"
        if (folder / "ml-100k.inter").is_file():
            return folder
    raise ConfigError(
        "MovieLens-100k comes with the package recbole, which is not installed",
        got=MOVIELENS,
        fix="Run: pip install --no-deps recbole==1.2.1",
    )


def read_movielens(folder: Path) -> dict[str, str]:
    """``items.jsonl`` and ``interactions.jsonl`` of MovieLens-100k in the form of recbole.

    A title that two films have gets its year; what has two ids there, with title and year the same, is one item here.
    """
    films = list(_table(folder / "ml-100k.item"))
    titles = Counter(film["movie_title"] for film in films)
    first: dict[str, str] = {}
    same: dict[str, str] = {}
    items: list[dict[str, Any]] = []
    for film in films:
        title, year, name = film["movie_title"], film["release_year"], film["item_id"]
        text = title if titles[title] == 1 else f"{title} ({year})"
        same[name] = first.setdefault(text, name)
        if same[name] == name:
            items.append({"id": name, "text": text, "genres": film["class"].split(), "year": year})
    rows = [
        {
            "user": row["user_id"],
            "item": same[row["item_id"]],
            "time": float(row["timestamp"]),
            "rating": float(row["rating"]),
        }
        for row in _table(folder / "ml-100k.inter")
    ]
    return {"items.jsonl": _lines(items), "interactions.jsonl": _lines(rows)}


def _table(path: Path) -> Iterator[Mapping[str, str]]:
    """Rows by the names in the first line, which end in a type."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield {name.partition(":")[0]: value for name, value in row.items()}


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

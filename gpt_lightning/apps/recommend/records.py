"""Items and interactions, from records of any kind that ``prepare`` reads (.jsonl, .csv, .tsv, .parquet ...)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from gpt_lightning.apps.application import AppSettings
from gpt_lightning.data.readers.readers import Document, Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.errors import ConfigError, DataError


@dataclass(frozen=True)
class RecommendSettings(AppSettings):
    """Of recommendation.

    Args:
        items_file: File of items, a record each.
        item_field: Field of an item's id.
        text_field: Field of its text, or a template of several: "{title} {genres}".
        filter_fields: Fields that recommendations can be filtered by.
        interactions_file: File of who had what, a record each.
        user_field: Field of the person.
        interaction_item_field: Field of the item there.
        time_field: Field of the time, a number; null = the order of the file.
        rating_field: Field of a rating; null = all interactions count.
        min_rating: Least rating that counts.
        history: Items of a history that are read, the latest ones; fewer where the model has not room for them.
        k: Items that are recommended.
        candidates: Items that are ranked by the model, found by their embeddings; 0 = all.
        index: How they are searched: exact, or faiss (pip install 'gpt-lightning[faiss]').
        cold_fraction: Share of the items that is kept out of training, to measure how those are ranked.
        max_users: People that evaluate asks about, the first ones; null = all.

    Raises:
        ConfigError: A number is out of range.
    """

    items_file: str = "items.jsonl"
    item_field: str = "id"
    text_field: str = "text"
    filter_fields: tuple[str, ...] = ()
    interactions_file: str = "interactions.jsonl"
    user_field: str = "user"
    interaction_item_field: str = "item"
    time_field: str | None = "time"
    rating_field: str | None = None
    min_rating: float = 0.0
    history: int = 50
    k: int = 10
    candidates: int = 0
    index: str = "exact"
    cold_fraction: float = 0.0
    max_users: int | None = None

    def __post_init__(self) -> None:
        least = {"history": 1, "k": 1, "candidates": 0} | ({} if self.max_users is None else {"max_users": 2})
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ConfigError(f"{name} is a count", got=getattr(self, name), allowed=f"{lowest} or more")
        if not 0 <= self.cold_fraction < 1:
            raise ConfigError("cold_fraction is a share", got=self.cold_fraction, allowed="0 to less than 1")


@dataclass(frozen=True)
class Catalogue:
    """All items, in the order of their file.

    Attributes:
        ids: How others name them.
        texts: A line each, no two the same.
        fields: What can be filtered by: the values of each field, as text.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    fields: Sequence[Mapping[str, Sequence[str]]]

    def __len__(self) -> int:
        return len(self.ids)

    def places(self) -> dict[str, int]:
        """Numbers of the items, by id."""
        return {each: number for number, each in enumerate(self.ids)}


@dataclass(frozen=True)
class Moment:
    """What a person had at one time; within it nobody knows the order.

    Attributes:
        time: When.
        items: Numbers in the catalogue, in the order of the file.
    """

    time: float
    items: tuple[int, ...]


History = Sequence[Moment]
"""Of one person, by time."""


def read_catalogue(path: Path, settings: RecommendSettings) -> Catalogue:
    """The items of a file.

    Raises:
        DataError: It cannot be read, a record has no id or no text, or two have the same.
    """
    wanted = (settings.item_field, *settings.filter_fields)
    ids: dict[str, str] = {}
    texts: dict[str, str] = {}
    fields = []
    for document in _read(path, settings.text_field, wanted):
        name, text = str(_take(document, settings.item_field)), " ".join(document.text.split())
        for known, key, what in ((ids, name, "id"), (texts, text, "text")):
            if key in known or not key:
                raise DataError(
                    f"{document.name} has the {what} of {known.get(key, 'nothing')}",
                    got=key,
                    allowed=f"another {what} for each item",
                    fix="Merge the two records, or tell them apart: text_field may be a template of several fields.",
                )
            known[key] = document.name
        fields.append(
            {each: _list(document.fields[each]) for each in settings.filter_fields if each in document.fields}
        )
    if len(ids) < 2:
        raise DataError(f"{path} holds fewer than two items", got=len(ids))
    return Catalogue(list(ids), list(texts), fields)


def read_histories(path: Path, settings: RecommendSettings, catalogue: Catalogue) -> dict[str, list[Moment]]:
    """What everybody had, by person in the order of the file; an item that somebody had twice counts the first time.

    Raises:
        DataError: It cannot be read, a record lacks a field, or names an item that is not in the catalogue.
    """
    places = catalogue.places()
    optional = [each for each in (settings.time_field, settings.rating_field) if each is not None]
    had: dict[str, dict[int, float]] = {}
    fields = (settings.user_field, settings.interaction_item_field, *optional)
    for number, document in enumerate(_read(path, "", fields)):
        user, name = (str(_take(document, each)) for each in fields[:2])
        if name not in places:
            raise DataError(
                f"{document.name} is about an item that is not in {settings.items_file}",
                got=name,
                fix="Add the item, or leave the interaction out.",
            )
        if settings.rating_field is not None and _number(document, settings.rating_field) < settings.min_rating:
            continue
        time = number if settings.time_field is None else _number(document, settings.time_field)
        past = had.setdefault(user, {})
        past[places[name]] = min(time, past.get(places[name], time))
    return {user: _group(past) for user, past in had.items()}


def _group(had: Mapping[int, float]) -> list[Moment]:
    ordered = sorted(had.items(), key=lambda pair: pair[1])
    return [Moment(time, tuple(item for item, _ in same)) for time, same in groupby(ordered, key=lambda pair: pair[1])]


def _read(path: Path, text_field: str, fields: tuple[str, ...]) -> Iterator[Document]:
    reading = Reading("file", text_field, "utf-8", fields=fields)
    for reader in open_sources([str(path)], reading):
        yield from reader.iterate_documents()


def _list(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def _take(document: Document, field: str) -> Any:
    if field not in document.fields:
        raise DataError(
            f"{document.name} has nothing in the field {field!r}",
            got=f"fields {', '.join(document.fields)}" if document.fields else "none of the fields asked for",
            fix="Name the fields in recommend.yaml.",
        )
    return document.fields[field]


def _number(document: Document, field: str) -> float:
    value = _take(document, field)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{document.name} has no number in the field {field!r}", got=value) from None

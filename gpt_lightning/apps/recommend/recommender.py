"""From a history to a list: filters, candidates, ranking, diversity, and what of the history speaks for each item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from gpt_lightning.apps.recommend.likelihood import ItemLikelihood
from gpt_lightning.apps.recommend.records import Catalogue, RecommendSettings
from gpt_lightning.apps.recommend.retrieval import Index, choose_index, diversify, embed_history, embed_items
from gpt_lightning.weights.loading import LoadedModel

_POOL = 5
"""So many times the length of a list is what diversity chooses from."""
_REASONS = 2


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        history: Items by time, as numbers of the catalogue.
        k: Length of the list.
        exclude: Items that must not be in it; those of the history never are.
        where: Fields that items must have, with one of some values.
        diversity: See ``retrieval.diversify``.
        explain: Whether the reasons are wanted; they cost as much as the ranking.
    """

    history: Sequence[int]
    k: int
    exclude: Sequence[int] = ()
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    diversity: float = 0.0
    explain: bool = True


@dataclass(frozen=True)
class Reason:
    """An item of the history, and by how many nats it raises the log-probability of what is recommended."""

    item: int
    nats: float


@dataclass(frozen=True)
class Recommendation:
    """An item of the list.

    Attributes:
        item: Its number.
        logprob: Of its text behind the history, in nats.
        reasons: What of the history speaks for it most, the strongest first; only what does.
    """

    item: int
    logprob: float
    reasons: tuple[Reason, ...] = ()


class Recommender:
    """Recommends items of a catalogue with a model.

    Args:
        loaded: The model and its tokenizer.
        catalogue: The items.
        settings: How many items are read, ranked, and how they are searched.

    Raises:
        ConfigError: The index is none, or its library is not installed.
        DataError: An item's text is too long for the model.
    """

    def __init__(self, loaded: LoadedModel, catalogue: Catalogue, settings: RecommendSettings) -> None:
        self.catalogue, self._settings, self._loaded = catalogue, settings, loaded
        self._kind = choose_index(settings.index)
        self.likelihood = ItemLikelihood(loaded.model, loaded.tokenizer, catalogue, settings.history)
        if settings.candidates:
            _ = self._index  # a library that is missing is told now

    @cached_property
    def embeddings(self) -> Float[np.ndarray, "items embed"]:
        """Of all items."""
        prompts = [(self._loaded.tokenizer.eot_id, *line) for line in self.likelihood.lines]
        return embed_items(self._loaded.model, prompts)

    @cached_property
    def _index(self) -> Index:
        return self._kind(self.embeddings)

    def score(self, history: Sequence[int], marks: Sequence[int] = ()) -> Float[np.ndarray, " items"]:
        """Log-probabilities of items; minus infinity for those that are no candidates.

        Args:
            history: Items by time.
            marks: Items whose place in the ranking is wanted: what stands below all of them is minus infinity too.
        """
        candidates = self._find(history, self._filter(Wish(history, 1)))
        if marks and set(marks) <= set(candidates):
            return self.likelihood.score_above(history, candidates, marks)
        found = np.full(len(self.catalogue), -np.inf)
        found[candidates] = self.likelihood.score(history, candidates)
        return found

    def recommend(self, wish: Wish) -> list[Recommendation]:
        """The list, best first; shorter where fewer items pass the filters."""
        allowed = self._filter(wish)
        candidates = self._find(wish.history, allowed)
        if not candidates:
            return []
        wanted = wish.k * _POOL if wish.diversity > 0 else wish.k
        scores = self.likelihood.score_best(wish.history, candidates, wanted)
        # Equal scores in the order of the catalogue, so that the same wish gets the same list.
        items = sorted(candidates, key=lambda item: (-scores[item], item))[:wanted]
        if wish.diversity > 0:
            places = diversify(scores[items], self.embeddings[items], wish.k, wish.diversity)
            items = [items[place] for place in places]
        reasons = self._explain(wish.history, items, scores[items]) if wish.explain else [()] * len(items)
        return [Recommendation(item, float(scores[item]), why) for item, why in zip(items, reasons, strict=True)]

    def _filter(self, wish: Wish) -> list[int]:
        out = {*wish.history, *wish.exclude}
        return [
            item
            for item, fields in enumerate(self.catalogue.fields)
            if item not in out
            and all(not set(values).isdisjoint(fields.get(name, ())) for name, values in wish.where.items())
        ]

    def _find(self, history: Sequence[int], allowed: list[int]) -> list[int]:
        """What the model is asked about: all that is allowed, or the nearest of it."""
        count = self._settings.candidates
        if count == 0 or len(allowed) <= count or not history:
            return allowed
        passed = set(allowed)
        near = self._index.search(embed_history(self.embeddings, history), len(self.catalogue))
        return [item for item in near if item in passed][:count]

    def _explain(
        self, history: Sequence[int], items: Sequence[int], scores: Float[np.ndarray, " best"]
    ) -> list[tuple[Reason, ...]]:
        """How much less likely the items are where one item of the history is left out."""
        read = history[-self._settings.history :]
        without = [self.likelihood.score([*read[:place], *read[place + 1 :]], items) for place in range(len(read))]
        found = []
        for number, score in enumerate(scores):
            raised = [Reason(item, float(score - less[number])) for item, less in zip(read, without, strict=True)]
            raised.sort(key=lambda each: -each.nats)
            found.append(tuple(each for each in raised[:_REASONS] if each.nats > 0))
        return found

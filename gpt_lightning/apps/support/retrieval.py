"""How near the entries are to a question: by its words (BM25), by a model that has learned which question is which.

A scorer gives every entry a number for every question, larger for nearer ones; ``matching`` weighs several of them.
"""

from __future__ import annotations

import logging
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from gpt_lightning.apps.support.records import Asked, Entry
from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.embedding import embed_texts
from gpt_lightning.objectives.classifier import Classifier
from gpt_lightning.parsing.extras import import_extra

_RUNS = re.compile(r"([\u3400-\u9fff]+)|[^\W_]+")
_LEAST = 1e-4
"""Probability of an entry that the model has not learned."""

Scores = Float[np.ndarray, "texts entries"]


class Scorer(ABC):
    """Says how near entries are."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, texts: Sequence[str]) -> Scores:
        """A number for every text and entry."""


def tokenize(text: str) -> list[str]:
    """Words without case; of Chinese, which has no spaces, characters and pairs of neighbours.

    >>> tokenize("Where's my iPhone 15?"), tokenize("退款 3 天")
    (['where', 's', 'my', 'iphone', '15'], ['退', '款', '退款', '3', '天'])
    """
    found: list[str] = []
    for run in _RUNS.finditer(text.casefold()):
        word = run[0]
        if run[1] is None:
            found.append(word)
        else:
            found += [*word, *(word[place : place + 2] for place in range(len(word) - 1))]
    return found


class Words(Scorer):
    """BM25 (Lucene's form, k1 1.5, b 0.75), a document per entry: all its known wordings.

    Args:
        entries: What can be answered.
        known: Questions whose answers are known.

    Raises:
        ConfigError: The extra ``support`` is not installed.
    """

    name = "BM25"

    def __init__(self, entries: Sequence[Entry], known: Sequence[Asked]) -> None:
        library = import_extra("bm25s", "support", "app support needs", ConfigError)
        documents: list[list[str]] = [[] for _ in entries]
        for each in known:
            if each.entry is not None:
                documents[each.entry] += tokenize(each.text)
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of every index
        self._index, self._count = library.BM25(k1=1.5, b=0.75, method="lucene"), len(documents)
        self._index.index(documents, show_progress=False)
        self._containing = Counter(token for document in documents for token in set(document))

    def __call__(self, texts: Sequence[str]) -> Scores:
        """Sums over the words of a text."""
        found = np.zeros((len(texts), self._count))
        for row, text in enumerate(texts):
            tokens = [token for token in tokenize(text) if token in self._containing]
            if tokens:
                found[row] = self._index.get_scores(tokens)
        return found

    def weigh(self, text: str) -> float:
        """What no entry can score more than: the sum of the words' rarities, unknown words being the rarest."""
        return math.fsum(
            math.log(1 + (self._count - self._containing[token] + 0.5) / (self._containing[token] + 0.5))
            for token in tokenize(text)
        )


class Coverage(Scorer):
    """The share of a question's words, by their rarity, that an entry knows.

    Args:
        words: BM25.
    """

    name = "coverage"

    def __init__(self, words: Words) -> None:
        self._words = words

    def __call__(self, texts: Sequence[str]) -> Scores:
        """0 to 1."""
        most = np.array([max(self._words.weigh(text), 1e-9) for text in texts])
        return np.asarray(self._words(texts) / most[:, None])


class Labels(Scorer):
    """The classifier's log-probability of an entry.

    Args:
        classifier: Its labels are ids of entries; those that it does not know have a small probability.
        entries: What can be answered.
    """

    name = "classifier"

    def __init__(self, classifier: Classifier, entries: Sequence[Entry]) -> None:
        self._classifier, self._names = classifier, [each.id for each in entries]

    def __call__(self, texts: Sequence[str]) -> Scores:
        """Nats."""
        said = self._classifier.label([[text] for text in texts])
        rows = [[each["probabilities"].get(name, 0.0) for name in self._names] for each in said]
        return np.log(np.maximum(np.array(rows).reshape(len(texts), len(self._names)), _LEAST))


class Nearest(Scorer):
    """The cosine of a question's embedding with that of the nearest known wording of an entry.

    Args:
        classifier: Whose hidden states the embeddings are.
        entries: What can be answered.
        known: Questions whose answers are known.
    """

    name = "nearest"

    def __init__(self, classifier: Classifier, entries: Sequence[Entry], known: Sequence[Asked]) -> None:
        self._classifier, self._count = classifier, len(entries)
        kept = [(each.text, each.entry) for each in known if each.entry is not None]
        self._owners = np.array([entry for _, entry in kept])
        self._known = self._embed([text for text, _ in kept])

    def __call__(self, texts: Sequence[str]) -> Scores:
        """-1 to 1."""
        found = np.full((len(texts), self._count), -1.0)
        np.maximum.at(found.T, self._owners, self._known @ self._embed(texts).T)
        return found

    def _embed(self, texts: Sequence[str]) -> Float[np.ndarray, "texts embed"]:
        return embed_texts(self._classifier.loaded, texts).double().numpy()

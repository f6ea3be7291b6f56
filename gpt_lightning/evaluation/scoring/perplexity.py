"""Perplexity and bits per byte of documents, one by one and by the context that a prediction had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer

from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.tokenizers.bpe import replace_surrogates
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.results import Item, digest
from gpt_lightning.evaluation.scoring.windows import score_texts
from gpt_lightning.metrics.likelihood import Likelihood
from gpt_lightning.weights.loading import LoadedModel

BEGINNINGS = ("eot", "none")


@dataclass(frozen=True)
class Reach:
    """How texts are read.

    Attributes:
        window: Tokens that the model sees at most.
        stride: New predictions of every window but the first.
        begin: ``eot``: end-of-text stands before each text, as in training, and every token is predicted. ``none``:
            the first token is context only, and its bytes do not count.
        batch_size: Windows of a forward pass.
    """

    window: int
    stride: int
    begin: str = "eot"
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.begin not in BEGINNINGS:
            raise ConfigError("No such beginning of a text", got=self.begin, allowed=", ".join(BEGINNINGS))
        if self.batch_size < 1:
            raise ConfigError("batch_size counts windows", got=self.batch_size, allowed="1 or more")


class ContextLosses:
    """Mean loss by the number of tokens that a prediction saw: 1, 2-3, 4-7, ..."""

    def __init__(self) -> None:
        self._nats, self._count = np.zeros(64), np.zeros(64)

    def add(self, losses: np.ndarray, contexts: Integer[np.ndarray, " predictions"]) -> None:
        """Some predictions."""
        places = np.floor(np.log2(contexts)).astype(np.int64)
        self._nats += np.bincount(places, losses, minlength=64)
        self._count += np.bincount(places, minlength=64)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Headers and rows, without rows that nothing fell into."""
        rows: list[list[Any]] = []
        for place in np.flatnonzero(self._count).tolist():
            low, high = 1 << place, (2 << place) - 1
            name = str(low) if low == high else f"{low}-{high}"
            rows.append([name, int(self._count[place]), float(self._nats[place] / self._count[place])])
        return ["tokens of context", "predictions", "loss"], rows


def encode_document(tokenizer: Tokenizer, text: str, name: str) -> np.ndarray:
    """Ids of a document.

    Raises:
        DataError: The tokenizer refuses it; names the document.
    """
    try:
        return tokenizer.encode(text)
    except DataError as error:
        raise DataError(f"{name}: {str(error).rstrip('.')}") from error


def count_one(text: str) -> int:
    """Units where nothing published divides by them."""
    return 1


def measure_documents(
    loaded: LoadedModel,
    documents: Iterable[Document],
    reach: Reach,
    *,
    prepare: Callable[[str], str] = str,
    count_units: Callable[[str], int] = count_one,
) -> tuple[list[Item], ContextLosses]:
    """Score documents one by one.

    Args:
        loaded: Model and tokenizer.
        documents: Texts as they are stored.
        reach: How they are read.
        prepare: What the model is given instead of the stored text (a detokenizer).
        count_units: Units of the **stored** text that a published number divides by.

    Returns:
        An item for each document that holds a prediction, and the loss by context.
    """
    known: list[tuple[Document, int, int]] = []

    def texts() -> Iterator[np.ndarray]:
        for document in documents:
            text = prepare(document.text)
            ids = encode_document(loaded.tokenizer, text, document.name)
            skipped = reach.begin == "none"
            # Of the text, not of what a tokenizer that normalizes makes of it.
            num_bytes = len(replace_surrogates(text)[0].encode("utf-8"))
            num_bytes -= len(loaded.tokenizer.decode_bytes(ids[:1])) if skipped else 0
            known.append((document, num_bytes, count_units(document.text)))
            yield ids if skipped else np.concatenate([np.array([loaded.tokenizer.begin_id], dtype=ids.dtype), ids])

    items, by_context = [], ContextLosses()
    found = score_texts(
        loaded.model, texts(), window=reach.window, stride=reach.stride, batch_size=reach.batch_size
    )  # fmt: skip
    for number, losses in enumerate(found):
        document, num_bytes, units = known[number]
        by_context.add(losses.losses, losses.contexts)
        likelihood = Likelihood(float(losses.losses.sum()), len(losses.losses), num_bytes, units)
        if likelihood.num_tokens:
            items.append(Item(document.name, digest(document.text), {"": likelihood}))
    return items, by_context

"""Gaps in held-out documents: does a model that fills in write what stood there, and does it know when to end?

A middle of a random length is taken out of each document at a random place. A model that was not trained to fill in can
be asked for comparison with what stands in front alone; it is told how long the middle is, so only the words count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, digest
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.infilling import infill
from gpt_lightning.generation.prompts import build_request
from gpt_lightning.metrics.answers import EditDistance
from gpt_lightning.metrics.overlap import Answer
from gpt_lightning.weights.loading import LoadedModel

_SENTINELS = 4


@dataclass(frozen=True)
class Gap:
    """A document without its middle.

    Attributes:
        name: Of the document.
        prefix: What stands in front.
        middle: What is missing.
        suffix: What stands behind.
    """

    name: str
    prefix: str
    middle: str
    suffix: str


@dataclass(frozen=True)
class Asking:
    """How gaps are cut and filled.

    Attributes:
        most: Characters of a middle at most; its length is drawn evenly.
        seed: Of lengths and places.
        slots: Middles written at once.
        prefix_only: Ask for a continuation of the prefix instead, of the middle's length.
    """

    most: int = 8
    seed: int = 0
    slots: int = 8
    prefix_only: bool = False

    def __post_init__(self) -> None:
        for name, value in (("max_middle", self.most), ("slots", self.slots)):
            if value < 1:
                raise ConfigError(f"{name} is a count", got=value, allowed="1 or more")

    @property
    def max_tokens(self) -> int:
        """Tokens after which a middle has not ended by itself: room for twice the longest in any script."""
        return 8 * self.most


def cut_gaps(split: TokenSplit, tokenizer: Tokenizer, asking: Asking, *, positions: int, limit: int) -> list[Gap]:
    """A gap in each of the first documents that are long enough.

    Args:
        split: Held-out documents.
        tokenizer: Of the split.
        asking: Lengths of the gaps, and the seed.
        positions: Of the model; a longer document is read up to where prompt and middle fill them.
        limit: Documents at most.

    Raises:
        DataError: No document has two characters, or the model has no room for a middle.
    """
    room = positions - _SENTINELS - asking.max_tokens
    if room < 2:
        raise DataError(
            "The model has too few positions for such middles",
            got=f"{positions} positions",
            allowed=f"more than {_SENTINELS + asking.max_tokens + 2}",
            fix="Lower --max_middle.",
        )
    gaps = []
    for number, text in enumerate(_read_documents(split, tokenizer, room)):
        if len(text) < 2:
            continue
        generator = np.random.default_rng((asking.seed, number))
        size = int(generator.integers(1, min(asking.most, len(text) - 1) + 1))
        start = int(generator.integers(0, len(text) - size + 1))
        gaps.append(Gap(f"document {number}", text[:start], text[start : start + size], text[start + size :]))
        if len(gaps) == limit:
            break
    if not gaps:
        raise DataError(f"No document of the {split.name} split has two characters", got=split.num_documents)
    return gaps


def _read_documents(split: TokenSplit, tokenizer: Tokenizer, most: int) -> Iterator[str]:
    """The beginning of every document, up to so many tokens."""
    start = 0
    for end in split.document_ends.tolist():
        length = min(end - start, most + 1)
        ids = split.gather(np.array([start]), length)[0]
        start = end
        text = ids[~np.isin(ids, [split.eot_id, *tokenizer.opening])]
        # The last character may be cut.
        yield tokenizer.decode_bytes(text).decode(errors="ignore")


def fill_gaps(loaded: LoadedModel, gaps: Sequence[Gap], asking: Asking, name: str) -> Evaluation:
    """What a model writes into gaps, taking the likeliest token each time.

    Raises:
        CheckpointError: It was not trained to fill in, and is not asked with the prefix alone.
    """
    answers = list(_continue_prefixes(loaded, gaps) if asking.prefix_only else _fill(loaded, gaps, asking))
    items = [
        Item(gap.name, digest(gap.prefix, gap.middle, gap.suffix), {"": answer})
        for gap, answer in zip(gaps, answers, strict=True)
    ]
    settings = {"max_middle": asking.most, "seed": asking.seed, "prefix_only": asking.prefix_only}
    measures = [Measure("Same"), Measure("EditDistance")]
    if not asking.prefix_only:
        measures.append(Measure("Ended"))
    tables = {"By length of the middle": _tell_by_length(answers)}
    return Evaluation(name, str(loaded.path), settings, measures, items, tables=tables)


def _fill(loaded: LoadedModel, gaps: Sequence[Gap], asking: Asking) -> Iterator[Answer]:
    pairs = [(gap.prefix, gap.suffix) for gap in gaps]
    middles = infill(loaded, pairs, slots=asking.slots, temperature=0.0, max_tokens=asking.max_tokens)
    for gap, middle in zip(gaps, middles, strict=True):
        yield Answer(middle.text, (gap.middle,), ended=middle.ended)


def _continue_prefixes(loaded: LoadedModel, gaps: Sequence[Gap]) -> Iterator[Answer]:
    tokenizer = loaded.tokenizer
    requests = [
        build_request(tokenizer, gap.prefix, {"temperature": 0.0, "max_tokens": len(tokenizer.encode(gap.middle))})
        for gap in gaps
    ]
    found = Engine(loaded.model, tokenizer).generate(requests)
    for gap, (completion,) in zip(gaps, found, strict=True):
        yield Answer(completion.text[: len(gap.middle)], (gap.middle,))


def _tell_by_length(answers: Sequence[Answer]) -> tuple[list[str], list[list[int | float]]]:
    """Headers and rows: lengths of middles, how many, and what came out."""
    rows: list[list[int | float]] = []
    for length in sorted({len(answer.references[0]) for answer in answers}):
        some = [answer for answer in answers if len(answer.references[0]) == length]
        right = sum(answer.prediction == answer.references[0] for answer in some)
        similar = sum(EditDistance().measure(answer)[1] for answer in some)
        rows.append([length, len(some), 100 * right / len(some), 100 * similar / len(some)])
    return ["characters", "gaps", "exact match", "edit similarity"], rows

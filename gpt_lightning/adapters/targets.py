"""The words for a decoder's linear layers, and where in it they lie.

    word       layer                       rows
    query      attention.query_key_value   the first
    key        attention.query_key_value   those behind them
    value      attention.query_key_value   the last
    output     attention.output            all
    gate       mlp.expand                  the first half; gated MLPs (swiglu) only
    expand     mlp.expand                  the second half of a gated MLP, otherwise all
    contract   mlp.contract                all
    head       head                        all; only a head of its own

Queries, keys and values lie in one matrix because one large product is faster than three, but each has an adapter of
its own: that is what other libraries have, and what can be exported to them unmerged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT

ATTENTION = ("query", "key", "value", "output")
BLOCKS = (*ATTENTION, "gate", "expand", "contract")
HEAD = "head"
_LAYERS = ("attention.query_key_value", "attention.output", "mlp.expand", "mlp.contract")
_BLOCK = re.compile(r"blocks\.(\d+)\.")


@dataclass(frozen=True)
class Place:
    """Rows of a layer that have an adapter of their own.

    Attributes:
        layer: Name of the module.
        word: See the table above.
        rows: First row, and the one behind the last.
    """

    layer: str
    word: str
    rows: tuple[int, int]


def sections_of(model: GPT, layer: str) -> dict[str, tuple[int, int]]:
    """Rows of a layer by their words, in order; together they are all of its rows."""
    if layer == HEAD:
        return {HEAD: (0, model.head_weight.shape[0])}
    parent, _, own = layer.rpartition(".")
    module = model.get_submodule(parent)
    whole = getattr(module, own).weight.shape[0]
    sizes = getattr(module, "stacked_rows", {}).get(own, [whole])
    words = {3: ("query", "key", "value"), 2: ("gate", "expand"), 1: (own,)}[len(sizes)]
    ends = list(accumulate(sizes))
    return {word: (end - size, end) for word, size, end in zip(words, sizes, ends, strict=True)}


def find_places(model: GPT, targets: Sequence[str] | None, first_layer: int = 0) -> list[Place]:
    """All places of these words, block by block.

    Args:
        model: The decoder.
        targets: Words; None = all linear layers of the blocks.
        first_layer: Blocks before this one are left out.

    Raises:
        ConfigError: A word is unknown, or not of this architecture.
    """
    known = set(_words_of(model))
    wanted = known - {HEAD} if targets is None else set(targets)
    if HEAD in wanted and model.head is None:
        raise ConfigError(
            "targets name the head, which is the table of the token embedding (tie_embeddings): an adapter on one of "
            "them is not on the other, and merged it would change both",
            got=list(targets or ()),
            fix="Leave head out of targets, or start from a model that was trained with tie_embeddings false.",
        )
    if not wanted or not wanted <= known:
        raise ConfigError(
            "targets are no linear layers of this architecture",
            got=sorted(wanted - known) or list(targets or ()),
            allowed=", ".join(word for word in (*BLOCKS, HEAD) if word in known),
        )
    layers = [f"blocks.{n}.{own}" for n in range(first_layer, model.config.n_layer) for own in _LAYERS]
    places = [
        Place(layer, word, rows)
        for layer in (*layers, HEAD)
        if layer != HEAD or HEAD in wanted
        for word, rows in sections_of(model, layer).items()
    ]
    return [place for place in places if place.word in wanted]


def _words_of(model: GPT) -> Iterator[str]:
    for own in _LAYERS:
        yield from sections_of(model, f"blocks.0.{own}")
    if model.head is not None:
        yield HEAD


def block_of(layer: str) -> int | None:
    """Number of the block that a layer lies in; None for the head."""
    match = _BLOCK.match(layer)
    return None if match is None else int(match[1])

"""The loss of every token of a text that is longer than the model's window.

A text of N tokens, begun by end-of-text as in training, has N predictions. The first window sees ``window`` tokens and
makes as many predictions. Each further window begins ``stride`` tokens later, so that it makes ``stride`` new ones, and
each of them sees at least ``window - stride`` tokens of context. Every token is predicted exactly once.

    tokens     <eot> a b c d e f g          window 4, stride 2
    window 1    ^    ^ ^ ^                  predicts a b c d
    window 2           ^ ^ ^ ^                           c d (seen already) e f
    window 3               ^ ^ ^                             e f (seen already) g

A smaller stride means more context for each prediction, a lower loss, and ``window / stride`` times the work. Published
numbers depend on it: Hugging Face's guide has 19.44 for GPT-2 large on WikiText-2 at stride 1024 and 16.44 at 512.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT

_POSITIONS = 2048
"""Positions whose logits exist at a time."""
_BUFFER = 32
"""Batches that are sorted by length together, so that little is padding."""


@dataclass(frozen=True)
class Window:
    """A part of a text.

    Attributes:
        text: Number of the text.
        start: First token that is seen.
        end: The token behind the last that is seen; the last prediction is of this one.
        first: Number of the first prediction that is new, counted in the text.
    """

    text: int
    start: int
    end: int
    first: int


def list_windows(text: int, num_tokens: int, window: int, stride: int) -> Iterator[Window]:
    """The windows of a text of ``num_tokens`` tokens, the first of which is not predicted.

    Args:
        text: Number of the text.
        num_tokens: With the token that begins it.
        window: Tokens that the model sees at most.
        stride: New predictions of every window but the first.
    """
    last = num_tokens - 1  # predictions
    start = first = 0
    while first < last:
        end = min(start + window, last)
        yield Window(text, start, end, first)
        first, start = end, start + stride


def check_window(window: int | None, stride: int | None, block_size: int) -> tuple[int, int]:
    """Window and stride, with their defaults: the model's ``block_size``, and half the window.

    Raises:
        ConfigError: Not possible with this model.
    """
    window = block_size if window is None else window
    if not 1 <= window <= block_size:
        raise ConfigError(
            "window is the context that the model sees", got=window, allowed=f"1 to block_size={block_size}"
        )
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= stride <= window:
        raise ConfigError(
            "stride is the step of the window",
            got=stride,
            allowed=f"1 to window={window}",
            fix="Leave it out for half.",
        )
    return window, stride


@dataclass(frozen=True)
class TextLosses:
    """What a text was found to be like.

    Attributes:
        losses: Nats of each prediction.
        contexts: Tokens that each prediction saw.
        targets: Its token.
    """

    losses: Float[np.ndarray, " predictions"]
    contexts: Integer[np.ndarray, " predictions"]
    targets: Integer[np.ndarray, " predictions"]


def score_texts(
    model: GPT, texts: Iterable[Integer[np.ndarray, " _tokens"]], *, window: int, stride: int, batch_size: int = 8
) -> Iterator[TextLosses]:
    """The losses of texts, in their order.

    Args:
        model: In evaluation mode.
        texts: Ids of each text; the first of them is context only.
        window: Tokens that the model sees at most.
        stride: New predictions of every window but the first.
        batch_size: Windows of a forward pass.
    """
    remaining = iter(texts)
    while group := list(islice(remaining, batch_size * _BUFFER)):
        losses = [np.zeros(max(0, len(ids) - 1)) for ids in group]
        contexts = [np.zeros(max(0, len(ids) - 1), dtype=np.int64) for ids in group]
        windows = [w for number, ids in enumerate(group) for w in list_windows(number, len(ids), window, stride)]
        windows.sort(key=lambda each: each.start - each.end)
        for begin in range(0, len(windows), batch_size):
            batch = windows[begin : begin + batch_size]
            rows = [group[each.text][each.start : each.end + 1].astype(np.int64) for each in batch]
            for each, row in zip(batch, _score_rows(model, rows), strict=True):
                losses[each.text][each.first : each.end] = row[each.first - each.start :]
                contexts[each.text][each.first : each.end] = np.arange(each.first, each.end) - each.start + 1
        for number, ids in enumerate(group):
            yield TextLosses(losses[number], contexts[number], ids[1:].astype(np.int64))


@torch.inference_mode()
def _score_rows(model: GPT, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Nats of every token of each row but its first."""
    device = model.token_embedding.weight.device
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.from_numpy(row)
    tokens = tokens.to(device)
    # Padding stands behind: no position sees what comes after it.
    losses, _ = compare(model, model(tokens[:, :-1]), tokens[:, 1:])
    found = losses.double().cpu().numpy()
    return [found[place, : len(row) - 1] for place, row in enumerate(rows)]


def compare(
    model: GPT, hidden: Float[Tensor, "batch time embed"], targets: Int[Tensor, "batch time"]
) -> tuple[Float[Tensor, "batch time"], Tensor]:
    """Nats of each target, in float32 or wider, and whether it is the likeliest; logits exist for a part at a time.

    Args:
        model: Whose head turns hidden states into logits.
        hidden: After the final norm.
        targets: What each position should have predicted.
    """
    losses, hits = [], []
    pieces = torch.split(hidden.flatten(0, 1), _POSITIONS), torch.split(targets.flatten(), _POSITIONS)
    for piece, wanted in zip(*pieces, strict=True):
        logits = model.logits(piece)
        logits = logits.float() if logits.itemsize < 4 else logits
        losses.append(F.cross_entropy(logits, wanted, reduction="none"))
        hits.append(logits.argmax(dim=-1) == wanted)
    return torch.cat(losses).view(targets.shape), torch.cat(hits).view(targets.shape)

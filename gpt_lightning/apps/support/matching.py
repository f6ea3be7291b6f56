"""From scores of entries to the probability that an entry is the right one, or none of them.

A conditional logit (McFadden 1974): an entry's utility is a weighted sum of its scores, that of "nothing here answers
this" a constant, and their softmax the probabilities. The weights are those of the greatest likelihood on questions
that neither the scorers nor anything else has seen, among them some that nothing answers: so the scorers are mixed,
and the probabilities calibrated, by one convex fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from gpt_lightning.apps.support.records import Asked, Entry, detect_language
from gpt_lightning.apps.support.retrieval import Scorer
from gpt_lightning.errors import DataError

_RIDGE = 1e-3
"""Of the squared weights, in nats a question: keeps them finite where everything is answered rightly."""
_TURNS = 200


@dataclass(frozen=True)
class Mixture:
    """What was fitted.

    Attributes:
        weights: By scorer.
        none: Utility of "nothing here answers this".
    """

    weights: Mapping[str, float]
    none: float


class Matcher:
    """Finds what answers a question.

    Args:
        entries: What can be answered.
        scorers: How near it is.
        mixture: What the scores weigh.
    """

    def __init__(self, entries: Sequence[Entry], scorers: Sequence[Scorer], mixture: Mixture) -> None:
        self._entries, self._scorers, self._mixture = entries, scorers, mixture

    def match(self, texts: Sequence[str]) -> Float[np.ndarray, "texts entries"]:
        """Probability of every entry that it is the right one; what they lack to 1 is that none is."""
        scores = score(self._scorers, texts)
        weights = np.array([self._mixture.weights[each.name] for each in self._scorers])
        utilities = np.where(allow(self._entries, texts), scores @ weights, -np.inf)
        top = np.maximum(utilities.max(axis=1), self._mixture.none)
        likely = np.exp(utilities - top[:, None])
        return np.asarray(likely / (likely.sum(axis=1) + np.exp(self._mixture.none - top))[:, None])


def score(scorers: Sequence[Scorer], texts: Sequence[str]) -> Float[np.ndarray, "texts entries scorers"]:
    """What every scorer says."""
    return np.stack([each(texts) for each in scorers], axis=-1)


def allow(entries: Sequence[Entry], texts: Sequence[str]) -> Float[np.ndarray, "texts entries"]:
    """1 for entries in the language of the question; for all of them where there is none in it."""
    own = np.array([each.language for each in entries])
    rows = [own == detect_language(text) for text in texts]
    return np.array([row if row.any() else np.ones(len(entries), dtype=bool) for row in rows], dtype=np.float64)


def fit_mixture(entries: Sequence[Entry], scorers: Sequence[Scorer], asked: Sequence[Asked]) -> Mixture:
    """The mixture that makes known answers likeliest.

    Args:
        entries: What can be answered.
        scorers: How near it is; they have not learned these questions.
        asked: Questions with their answers. Where each has one, each is asked once more with its entry taken away, so
            that there are questions that nothing answers.

    Raises:
        DataError: There are no questions to learn from.
    """
    if not asked:
        raise DataError(
            "There are no questions to calibrate on", fix="Give paraphrases in faq, or raise calibrate_fraction."
        )
    texts = [each.text for each in asked]
    scores, allowed = torch.from_numpy(score(scorers, texts)), torch.from_numpy(allow(entries, texts)).bool()
    nothing = len(entries)
    right = torch.tensor([nothing if each.entry is None else each.entry for each in asked])
    if not (right == nothing).any():
        hidden = allowed.clone()
        hidden[torch.arange(len(asked)), right] = False
        scores, allowed = scores.repeat(2, 1, 1), torch.cat([allowed, hidden])
        right = torch.cat([right, torch.full_like(right, nothing)])
    # Scales differ by orders of magnitude; the ridge and the search are to treat all scorers alike.
    scale = scores.flatten(0, 1).std(dim=0).clamp(min=1e-9)
    weights = torch.zeros(len(scorers) + 1, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights], max_iter=_TURNS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        utilities = ((scores / scale) @ weights[:-1]).masked_fill(~allowed, -torch.inf)
        told = torch.cat([utilities, weights[-1].expand(len(utilities), 1)], dim=1)
        found = F.cross_entropy(told, right) + _RIDGE * weights.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    search.step(loss)  # type: ignore[no-untyped-call]
    found = (weights.detach()[:-1] / scale).tolist()
    return Mixture({each.name: value for each, value in zip(scorers, found, strict=True)}, float(weights.detach()[-1]))

"""BLEU, chrF and ROUGE: overlap of a text with one or several references, in points from 0 to 100.

The counting is sacrebleu's and rouge-score's own; here the counts of single texts are kept, so that they add up over
batches, processes and resamples. Scores of single texts must not be averaged for BLEU and chrF, which are ratios of
sums over the corpus; ROUGE is a mean over texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from jaxtyping import Float

from gpt_lightning.errors import ConfigError
from gpt_lightning.metrics.cutting import check_cut, cut_text
from gpt_lightning.metrics.scores import Score, divide
from gpt_lightning.parsing.extras import import_extra


@dataclass(frozen=True)
class Answer:
    """A text, and what it should have been (one of several).

    Attributes:
        prediction: The text.
        references: What it should have been.
        ended: Whether whoever wrote it ended it, rather than a limit.
    """

    prediction: str
    references: tuple[str, ...]
    ended: bool = True


def _import_eval(module: str) -> Any:
    return import_extra(module, "eval", "BLEU, chrF and ROUGE need", ConfigError)


class _SacreScore(Score[Answer]):
    """A corpus score of sacrebleu."""

    _metric: Any

    def measure(self, outcome: Answer) -> Sequence[float]:
        """The counts of one text."""
        references = [[reference] for reference in outcome.references]
        # sacrebleu has no public name for the counts of a text; the tests compare with its public corpus_score.
        (counts,) = self._metric._extract_corpus_statistics([outcome.prediction], references)
        return [float(count) for count in counts]

    def _signature(self, num_references: int | None) -> str:
        self._metric.num_refs = "var" if num_references is None else num_references
        return str(self._metric.get_signature())


class Bleu(_SacreScore):
    """BLEU-4 of sacrebleu (Papineni et al. 2002; Post 2018), exponential smoothing.

    Args:
        cut: How text is cut into words, see ``cutting``; not ``auto``.
        num_references: For the signature; None = differs between texts.
    """

    size = 10  # length, length of the references, 4 n-gram hits, 4 n-gram counts

    def __init__(self, cut: str, num_references: int | None = 1) -> None:
        # force: sacrebleu would warn of texts that look tokenized already, a line for every hundred texts.
        self._metric = _import_eval("sacrebleu.metrics").BLEU(tokenize=check_cut(cut), force=True)
        self._num_references = num_references

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``bleu``."""
        if not sums[1]:
            return {"bleu": float("nan")}
        return {"bleu": float(self._metric._compute_score_from_stats([int(count) for count in sums]).score)}

    def describe(self) -> str:
        """Sacrebleu's signature."""
        return f"BLEU|{self._signature(self._num_references)}"


class ChrF(_SacreScore):
    """chrF2 of sacrebleu: character n-grams up to 6 (Popovic 2015); needs no words, so it serves every language.

    Args:
        word_order: Word n-grams counted as well; 2 = chrF++.
        num_references: For the signature; None = differs between texts.
    """

    def __init__(self, word_order: int = 0, num_references: int | None = 1) -> None:
        self._metric = _import_eval("sacrebleu.metrics").CHRF(word_order=word_order)
        self._num_references = num_references
        self.size = 3 * (6 + word_order)

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``chrf``."""
        if not sums[1]:
            return {"chrf": float("nan")}
        return {"chrf": float(self._metric._compute_score_from_stats(sums.tolist()).score)}

    def describe(self) -> str:
        """Sacrebleu's signature."""
        return f"chrF2|{self._signature(self._num_references)}"


class _Cutter:
    """What rouge-score asks of a tokenizer."""

    def __init__(self, cut: str) -> None:
        self._cut = cut

    def tokenize(self, text: str) -> list[str]:
        return cut_text(text, self._cut)


_ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Rouge(Score[Answer]):
    """ROUGE-1, -2, -L and -Lsum of rouge-score (Lin 2004): mean F1 over texts, the best reference of each.

    Lines are the sentences of ROUGE-Lsum. No stemming.

    Args:
        cut: How text is cut into words, see ``cutting``; not ``auto``.
    """

    size = 5  # sums of the four, texts

    def __init__(self, cut: str) -> None:
        self._cut = check_cut(cut)
        scorer = _import_eval("rouge_score.rouge_scorer").RougeScorer
        self._scorer = scorer(_ROUGE, tokenizer=_Cutter(cut))

    def measure(self, outcome: Answer) -> Sequence[float]:
        """F1 of each kind, 0 to 1."""
        scores = self._scorer.score_multi(list(outcome.references), outcome.prediction)
        return [*(float(scores[kind].fmeasure) for kind in _ROUGE), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``rouge1``, ``rouge2``, ``rougeL``, ``rougeLsum``."""
        return {kind: 100 * divide(value, sums[-1]) for kind, value in zip(_ROUGE, sums[:-1], strict=True)}

    def describe(self) -> str:
        """In the form of sacrebleu's signatures."""
        version = metadata.version("rouge_score")
        return f"ROUGE|f1|tok:{self._cut}|stem:no|lsum:lines|version:{version}"

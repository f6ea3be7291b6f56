"""What an evaluation found: items, scores with intervals, and the file they are kept in.

The file keeps what came out of every item, not only the scores, so that another model's file can be compared item by
item (``compare``), and a score can be computed anew.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.resampling import bootstrap_interval
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.metrics.answers import EditDistance, Ended, ExactMatch, Same, TokenF1
from gpt_lightning.metrics.labels import (
    Accuracy,
    Brier,
    Calibration,
    Choice,
    Estimate,
    MacroF1,
    Marks,
    MarksCalibration,
    MarksF1,
    Pearson,
    SquaredError,
)
from gpt_lightning.metrics.likelihood import GuessAccuracy, Likelihood, Perplexity, UnitPerplexity
from gpt_lightning.metrics.overlap import Answer, Bleu, ChrF, Rouge
from gpt_lightning.metrics.ranking import Ranking, RankingAt, RankPercentile
from gpt_lightning.metrics.scores import Score, measure_all

FORMAT = "gpt_lightning evaluation 1"
Outcome = Answer | Choice | Likelihood | Marks | Estimate | Ranking
_SCORES: dict[str, type[Score[Any]]] = {
    kind.__name__: kind
    for kind in (
        Bleu, ChrF, Rouge, ExactMatch, Same, TokenF1, EditDistance, Ended,
        Accuracy, MacroF1, Calibration, Brier, MarksF1, MarksCalibration, Pearson, SquaredError,
        Perplexity, UnitPerplexity, GuessAccuracy, RankingAt, RankPercentile,
    )
}  # fmt: skip
_OUTCOMES: dict[str, type[Outcome]] = {
    "answer": Answer, "choice": Choice, "likelihood": Likelihood, "marks": Marks, "estimate": Estimate,
    "ranking": Ranking,
}  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A score to take of an outcome.

    Attributes:
        score: Name of the class.
        options: Its arguments.
        outcome: Which outcome of an item it looks at; also the suffix of its results, unless empty.
    """

    score: str
    options: Mapping[str, Any] = field(default_factory=dict)
    outcome: str = ""

    def build(self) -> Score[Any]:
        """The score."""
        return _SCORES[self.score](**self.options)

    def label(self, name: str) -> str:
        """Name of a result of the score."""
        return f"{name}_{self.outcome}" if self.outcome else name


@dataclass(frozen=True)
class Item:
    """One thing that was asked of a model.

    Attributes:
        name: For people: a line of a file, a document.
        key: Digest of what was asked; the same for every model.
        outcomes: What came out, by name; usually one, named "".
    """

    name: str
    key: str
    outcomes: Mapping[str, Outcome]


@dataclass(frozen=True)
class Evaluation:
    """One task of one model.

    Attributes:
        name: Of the task.
        model: The checkpoint, or the file of texts.
        settings: Everything that the numbers depend on, plain data.
        measures: The scores.
        items: What they are of.
        published: Numbers of others, for comparison: ``{"who", "metric", "value", "source"}``.
        tables: Further findings by title: headers and rows.
    """

    name: str
    model: str
    settings: Mapping[str, Any]
    measures: Sequence[Measure]
    items: Sequence[Item]
    published: Sequence[Mapping[str, Any]] = ()
    tables: Mapping[str, tuple[list[str], list[list[Any]]]] = field(default_factory=dict)

    def rows(self, measure: Measure) -> Float[np.ndarray, "items size"]:
        """What each item adds to a score."""
        return measure_all(measure.build(), [item.outcomes[measure.outcome] for item in self.items])

    @cached_property
    def scores(self) -> dict[str, float]:
        """All results by name."""
        results: dict[str, float] = {}
        for measure in self.measures:
            values = measure.build().compute(self.rows(measure).sum(axis=0))
            results |= {measure.label(name): value for name, value in values.items()}
        return results

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals over the items; none where there are fewer than two."""
        results: dict[str, tuple[float, float]] = {}
        for measure in self.measures if len(self.items) > 1 else ():
            found = bootstrap_interval(measure.build(), self.rows(measure), seed=0)
            results |= {measure.label(name): value for name, value in found.items()}
        return results

    def describe(self) -> dict[str, str]:
        """How each result is computed, where its score says so."""
        found: dict[str, str] = {}
        for measure in self.measures:
            score = measure.build()
            names = score.compute(np.zeros(score.size))
            found |= {measure.label(name): score.describe() for name in names if score.describe()}
        return found


def digest(*parts: str) -> str:
    """Twelve hexadecimal digits that stand for some texts."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", errors="surrogatepass")).hexdigest()[:12]


def write_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write the file; it is complete or not there.

    Raises:
        ConfigError: Its folder does not exist or cannot be written to.
    """
    record = {
        "format": FORMAT,
        "name": evaluation.name,
        "model": evaluation.model,
        "settings": dict(evaluation.settings),
        "scores": {name: plain(value) for name, value in evaluation.scores.items()},
        "intervals_95": {name: list(map(plain, limits)) for name, limits in evaluation.intervals.items()},
        "how": evaluation.describe(),
        "published": list(evaluation.published),
        "tables": {
            title: {"headers": head, "rows": [[plain(c) if isinstance(c, float) else c for c in row] for row in rows]}
            for title, (head, rows) in evaluation.tables.items()
        },
        "measures": [asdict(measure) for measure in evaluation.measures],
        "items": [
            {"name": item.name, "key": item.key, "outcomes": {k: _pack(v) for k, v in item.outcomes.items()}}
            for item in evaluation.items
        ],
    }
    check_output(path)
    write_text_durably(path, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def check_output(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        ConfigError: Its folder does not exist, or it is a folder.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(
            "Cannot write the results there",
            got=str(path),
            allowed="a file in a folder that exists",
            fix=f"Make the folder {path.parent}, or correct the path.",
        )


def read_evaluation(path: Path) -> Evaluation:
    """Read what ``write_evaluation`` wrote.

    Raises:
        DataError: Not such a file.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read the evaluation {path} ({error})", fix="Check the path.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise DataError(
            f"{path} is not the result of an evaluation",
            got=found,
            allowed=FORMAT,
            fix="Pass a file written with --output of gpt-lightning evaluate.",
        )
    try:
        return _unpack_evaluation(record)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error})", fix="Evaluate again.") from error


def _unpack_evaluation(record: Mapping[str, Any]) -> Evaluation:
    items = [
        Item(each["name"], each["key"], {name: _unpack(outcome) for name, outcome in each["outcomes"].items()})
        for each in record["items"]
    ]
    measures = [Measure(**each) for each in record["measures"]]
    unknown = [measure.score for measure in measures if measure.score not in _SCORES]
    if unknown:
        raise KeyError(unknown[0])
    tables = {title: (table["headers"], table["rows"]) for title, table in record["tables"].items()}
    return Evaluation(record["name"], record["model"], record["settings"], measures, items, record["published"], tables)


def _pack(outcome: Outcome) -> dict[str, Any]:
    kind = next(name for name, each in _OUTCOMES.items() if isinstance(outcome, each))
    return {"kind": kind, **asdict(outcome)}


def _unpack(record: Mapping[str, Any]) -> Outcome:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    kind: Callable[..., Outcome] = _OUTCOMES[str(values.pop("kind"))]
    return kind(**values)


def plain(value: float | int) -> float | int | None:
    """The same for JSON, which has neither NaN nor infinity."""
    return value if math.isfinite(value) else None

"""What is learned of the files, by whom, and kept: the questions, the classifier, what the scorers weigh together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gpt_lightning.apps.application import AppFolder
from gpt_lightning.apps.support.figures import find_threshold, measure_handoffs
from gpt_lightning.apps.support.matching import Matcher, Mixture, fit_mixture
from gpt_lightning.apps.support.records import (
    Asked,
    Divided,
    Entry,
    SupportSettings,
    divide,
    read_entries,
    read_outside,
)
from gpt_lightning.apps.support.retrieval import Coverage, Labels, Nearest, Scorer, Words
from gpt_lightning.apps.training import fit_model
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import write_json_durably, write_text_durably
from gpt_lightning.objectives.classifier import Classifier, load_classifier

SupportFolder = AppFolder[SupportSettings]
TRAINING_FILE, MATCHING_FILE = "questions.jsonl", "matching.json"
_LEAST_CALIBRATED = 5
"""Questions with an answer, without which a threshold means nothing."""


@dataclass(frozen=True)
class Knowledge:
    """What can be answered, and the questions of which that is known.

    Attributes:
        entries: In the order of the files.
        asked: Divided.
    """

    entries: Sequence[Entry]
    asked: Divided

    @property
    def everything(self) -> list[Asked]:
        """All questions that have an answer."""
        sides = (*self.asked.train, *self.asked.calibrate, *self.asked.evaluate)
        return [each for each in sides if each.entry is not None]


@dataclass(frozen=True)
class Matching:
    """What calibration has found.

    Attributes:
        mixture: What the scorers weigh.
        threshold: A question whose likeliest answer is less probable is handed off.
    """

    mixture: Mixture
    threshold: float


def read_knowledge(folder: SupportFolder) -> Knowledge:
    """The files of the settings.

    Raises:
        DataError: As of ``read_entries`` and ``read_outside``; or no paraphrase is left to be learned from or asked.
    """
    settings = folder.settings
    entries = read_entries([folder.file(name) for name in settings.faq])
    outside = read_outside(folder.file(settings.outside)) if settings.outside else []
    return Knowledge(entries, divide(entries, outside, settings))


def learn(folder: SupportFolder, known: Knowledge) -> None:
    """Train the classifier, and fit the mixture and the threshold.

    Raises:
        DataError: There are too few questions to calibrate on.
        UserError: As of ``fit_model``.
    """
    count = sum(each.entry is not None for each in known.asked.calibrate)
    if count < _LEAST_CALIBRATED:  # told before the training
        raise DataError(
            "There are too few paraphrases to calibrate on", got=count, allowed=f"{_LEAST_CALIBRATED} or more",
            fix="Give the answers in faq more paraphrases: calibrate_fraction of them, by their hash, calibrate.",
        )  # fmt: skip
    rows = [{"text": each.text, "label": known.entries[each.entry].id} for each in known.asked.train
            if each.entry is not None]  # fmt: skip
    file = folder.path / TRAINING_FILE
    write_text_durably(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    fit_model(
        folder,
        {
            "data.source": str(file), "data.packing": "Document", "data.layout": "Labelled", "data.val_fraction": 0.0,
            "model.objective": {"class_path": "Classify", "init_args": {"pooling": "mean"}},
        },
    )  # fmt: skip
    scorers = build_scorers(known.entries, known.asked.train, load_classifier(folder.model))
    mixture = fit_mixture(known.entries, scorers, known.asked.calibrate)
    found = measure_handoffs("ours", Matcher(known.entries, scorers, mixture), known.asked.calibrate)
    threshold = find_threshold(found.inside, folder.settings.needless_handoffs)
    write_json_durably(folder.model / MATCHING_FILE, asdict(Matching(mixture, threshold)))


def build_scorers(entries: Sequence[Entry], known: Sequence[Asked], classifier: Classifier) -> list[Scorer]:
    """All there are.

    Args:
        entries: What can be answered.
        known: Questions whose answers are known.
        classifier: What train has trained.
    """
    words = Words(entries, known)
    return [words, Coverage(words), Labels(classifier, entries), Nearest(classifier, entries, known)]


def read_matching(model: Path) -> Matching:
    """What ``learn`` has found.

    Raises:
        DataError: It is not there, or something else.
    """
    path = model / MATCHING_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Matching(Mixture(**found["mixture"]), float(found["threshold"]))
    except FileNotFoundError:
        raise DataError(
            f"{model} has not been trained to its end", fix="Train it: gpt-lightning app support train."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError(f"{path} cannot be read ({problem})", fix="Train again.") from problem

"""``gpt-lightning evaluate classify``: how right the labels or numbers of a model with a head are; calibration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt_lightning.data.readers.readers import Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.data.store.columns import IGNORED
from gpt_lightning.data.store.manifest import SPLITS
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.reporting import Outputs
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, Outcome, digest
from gpt_lightning.evaluation.scoring.models import open_model, step_of_card
from gpt_lightning.metrics.labels import Choice, Estimate, Marks
from gpt_lightning.objectives.classifier import Classifier, Row, classifier_of, keep_calibration

_Known = tuple[str, Row, list[Any]]
"""Name of a text, its tokens, and what is known of each of its items."""


def classify_command(
    model: str,
    files: list[str] | None = None,
    split: str = "val",
    calibrate: bool = False,
    limit: int | None = None,
    prefer: str = "best",
    device: str = "auto",
    name: str = "classify",
    output: str | None = None,
    report: str | None = None,
    tensorboard: str | None = None,
) -> None:
    """Measure a model that labels texts: accuracy, F1, calibration error, correlation, with bootstrap intervals.

    On records with the fields that it was trained on, or on a split of its run's own data.

    Example: gpt-lightning evaluate classify runs/classify-1 --calibrate true
    Example: gpt-lightning evaluate classify runs/classify-1 test.jsonl --output scores.json

    Args:
        model: Run folder or checkpoint folder.
        files: Labelled records: files, folders or globs; null = a split of the run's data.
        split: Which, without files: train, val or test.
        calibrate: Fit a temperature (and for several labels thresholds) to these texts and keep it beside the
            checkpoint; predict and later evaluations use it.
        limit: Measure only so many texts.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
        name: Of this evaluation, in files and TensorBoard.
        output: JSON file to write, for gpt-lightning evaluate compare.
        report: Page to write, .html or .md.
        tensorboard: Folder to write events to.
    """
    outputs = Outputs(output, report, tensorboard)
    outputs.check()
    if split not in SPLITS:
        raise ConfigError("split", got=split, allowed=", ".join(SPLITS), fix="Correct the name.")
    if limit is not None and limit < 1:
        raise ConfigError("limit counts texts", got=limit, allowed="1 or more")
    classifier = classifier_of(open_model(model, prefer=prefer, device=device))
    known = _read_files(classifier, files) if files else _read_split(classifier, split)
    texts = [text for number, text in enumerate(known) if limit is None or number < limit]
    if not texts:
        raise DataError("There is nothing to label in these texts", got=files or split, fix="Check that there is.")
    scores = classifier.score([row for _, row, _ in texts])
    if calibrate:
        answers = torch.tensor(np.array([answer for _, _, answers in texts for answer in answers]))
        classifier = keep_calibration(classifier, classifier.readout.calibrate(torch.cat(scores), answers))
        found = classifier.calibration
        thresholds = zip(classifier.labels, found.thresholds, strict=bool(found.thresholds))
        limits = "".join(f", {label} from {least:.3f}" for label, least in thresholds)
        sys.stdout.write(f"temperature {found.temperature:.4f}{limits}: kept beside {classifier.loaded.path}\n")
    settings = {"texts": ", ".join(files) if files else split, "temperature": classifier.calibration.temperature}
    items = list(_judge(classifier, texts, scores))
    measures = _MEASURES[type(items[0].outcomes[""])](len(classifier.labels))
    evaluation = Evaluation(name, str(classifier.loaded.path), settings, measures, items)
    outputs.write([evaluation], step_of_card(classifier.loaded))


_MEASURES = {
    Choice: lambda labels: [
        Measure("Accuracy"),
        Measure("MacroF1", {"num_labels": labels}),
        Measure("Calibration"),
        Measure("Brier"),
    ],
    Marks: lambda labels: [Measure("MarksF1", {"num_labels": labels}), Measure("MarksCalibration")],
    Estimate: lambda labels: [Measure("Pearson"), Measure("SquaredError")],
}


def _judge(classifier: Classifier, texts: list[_Known], scores: list[torch.Tensor]) -> Iterator[Item]:
    readout, calibration = classifier.readout, classifier.calibration
    for (place, row, answers), outputs in zip(texts, scores, strict=True):
        values = readout.read(outputs, calibration.temperature).tolist()
        for number, (each, answer) in enumerate(zip(values, answers, strict=True)):
            outcome: Outcome = readout.judge(each, answer, calibration)
            yield Item(place, digest(" ".join(map(str, row.ids)), str(number)), {"": outcome})


def _read_files(classifier: Classifier, files: list[str]) -> Iterator[_Known]:
    layout = classifier.layout
    for reader in open_sources(files, Reading("file", "", "utf-8", fields=layout.fields)):
        for document in reader.iterate_documents():
            texts, known = layout.parse(document).content
            row, answers = classifier.encode(texts), layout.store_answer(known)
            several = isinstance(answers, list)  # one for each word
            yield document.name, row, answers[: len(row.ends)] if several else [answers]


def _read_split(classifier: Classifier, name: str) -> Iterator[_Known]:
    """The documents of the store that the run was trained on, with the answers that it holds."""
    from gpt_lightning.training.fitting.build import build
    from gpt_lightning.training.runs.run_folder import CONFIG_FILE

    folder: Path = classifier.loaded.path.parent.parent
    run = build(folder / CONFIG_FILE, command="validate")
    try:
        split = run.datamodule.open_store().split(name)
        (column,) = classifier.layout.columns
        for number, (start, end) in enumerate(pairwise([0, *split.document_ends.tolist()])):
            ids = split.gather(np.array([start]), end - start)[0].tolist()
            if column.per == "document":
                answer = split.document_column(column.name)[number]
                yield f"{name}:{number}", Row(ids, [len(ids) - 1]), [answer if column.width > 1 else answer[0]]
                continue
            marks = _read_marks(split, start, end, column.name)
            places = np.flatnonzero(marks != IGNORED)
            yield f"{name}:{number}", Row(ids, places.tolist()), marks[places].tolist()
    finally:
        run.datamodule.close()


def _read_marks(split: TokenSplit, start: int, end: int, column: str) -> np.ndarray[Any, Any]:
    marks = np.empty(end - start, np.int32)
    split.copy_runs(marks, np.zeros(1, int), np.array([start]), np.array([end - start]), column)
    return marks

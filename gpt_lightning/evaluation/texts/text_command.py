"""``gpt-lightning evaluate text``: texts against references, with no model at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.reporting import Outputs
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, digest
from gpt_lightning.evaluation.texts.text_files import read_texts
from gpt_lightning.metrics.cutting import AUTO, check_cut, choose_cut
from gpt_lightning.metrics.overlap import Answer


def text_command(
    hypotheses: str,
    references: list[str],
    tokenize: str = AUTO,
    hypothesis_field: str = "text",
    reference_field: str = "text",
    name: str = "text",
    output: str | None = None,
    report: str | None = None,
    tensorboard: str | None = None,
) -> None:
    """Compare texts with references: BLEU, chrF, ROUGE-1/2/L/Lsum, exact match, F1 and edit distance.

    Plain files hold a text a line, .jsonl files a record a line. Several reference files are several references of
    each text. Chinese is recognised and cut into characters; every number says how it was counted.

    Example: gpt-lightning evaluate text translated.txt reference.txt --output scores.json
    Example: gpt-lightning evaluate text out.jsonl tasks.jsonl --hypothesis_field completion --reference_field answers

    Args:
        hypotheses: File of the texts to be judged.
        references: Files of what they should have been.
        tokenize: How text is cut into words: auto (by the references), 13a, intl, zh or char.
        hypothesis_field: Field of a .jsonl record that holds the text.
        reference_field: Field that holds the reference, or a list of several.
        name: Of this comparison, in files and TensorBoard.
        output: JSON file to write, for gpt-lightning evaluate compare.
        report: Page to write, .html or .md.
        tensorboard: Folder to write events to.
    """
    check_cut(tokenize)
    outputs = Outputs(output, report, tensorboard)
    outputs.check()
    evaluation = compare_texts(
        Path(hypotheses),
        [Path(reference) for reference in references],
        tokenize=tokenize,
        fields=(hypothesis_field, reference_field),
        name=name,
    )
    outputs.write([evaluation])


def compare_texts(
    hypotheses: Path, references: list[Path], *, tokenize: str, fields: tuple[str, str], name: str
) -> Evaluation:
    """The comparison as a record.

    Args:
        hypotheses: File of the texts.
        references: Files of references, one of each text.
        tokenize: How text is cut.
        fields: Of a record's text, and of its reference.
        name: Of the comparison.

    Raises:
        DataError: A file cannot be read, or the files are of different length.
    """
    if not references:
        raise ConfigError("references is empty", got=[], allowed="at least one file", fix="Name a file of references.")
    predictions = [_single(value, place) for value, place in read_texts(hypotheses, fields[0])]
    columns = [[(value, place) for value, place in read_texts(path, fields[1])] for path in references]
    for path, column in zip(references, columns, strict=True):
        if len(column) != len(predictions):
            raise DataError(
                f"{path} has {len(column):,} references for the {len(predictions):,} texts of {hypotheses}",
                allowed="one for each text, in the same order",
                fix="Add the missing lines; an empty line is an empty text.",
            )
    if not predictions:
        raise DataError(f"{hypotheses} holds no text", fix="Check the path.")
    answers = []
    for number, prediction in enumerate(predictions):
        known = [reference for column in columns for reference in _several(*column[number])]
        answers.append(Answer(prediction, tuple(known)))
    measures = text_measures(tokenize, [each.references for each in answers])
    items = [
        Item(f"line {number}", digest(*answer.references), {"": answer})
        for number, answer in enumerate(answers, start=1)
    ]
    return Evaluation(name, str(hypotheses), {"tokenize": measures[0].options["cut"]}, measures, items)


def text_measures(tokenize: str, references: list[tuple[str, ...]], normalize: bool = False) -> list[Measure]:
    """Every score of texts; ``normalize``: exact match without case and punctuation."""
    known = [each for several in references for each in several]
    cut, words = (choose_cut(known, of_words=each) if tokenize == AUTO else tokenize for each in (False, True))
    counts = {len(several) for several in references}
    number = counts.pop() if len(counts) == 1 else None
    return [
        Measure("Bleu", {"cut": cut, "num_references": number}),
        Measure("ChrF", {"num_references": number}),
        Measure("Rouge", {"cut": words}),
        Measure("ExactMatch", {"cut": cut} if normalize else {}),
        Measure("TokenF1", {"cut": cut}),
        Measure("EditDistance"),
    ]


def _single(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place} is not one text", got=type(value).__name__, allowed="a text", fix="Mend the record.")
    return value


def _several(value: Any, place: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise DataError(f"{place} has an empty list of references", allowed="a text, or a list of texts")
    return [_single(each, place) for each in values]

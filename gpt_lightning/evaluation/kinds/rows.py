"""Files of benchmarks -> rows: plain records, each with the place it comes from.

Nothing is downloaded: the user has the files, and a task says where they come from.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.texts.text_files import parse_record, pick_field, read_lines


@dataclass(frozen=True)
class Row:
    """A record and where it stands.

    Attributes:
        record: JSON values by name.
        place: File and line.
    """

    record: dict[str, Any]
    place: str

    def pick(self, field: str) -> Any:
        """The value of a field; dots lead inside. See ``text_files.pick_field``."""
        return pick_field(self.record, field, self.place)


class RowFormat(ABC):
    """How a file of a benchmark is divided into rows."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Row]:
        """The rows of a file, in order.

        Raises:
            DataError: The file cannot be read; names the line.
        """


class Records(RowFormat):
    """A JSON object a line, or a JSON list of objects (what the suffix says does not matter)."""

    def read(self, path: Path) -> Iterator[Row]:
        """The objects."""
        lines = [(number, line) for number, line in read_lines(path) if line.strip()]
        if lines and lines[0][1].lstrip().startswith("["):
            yield from _list_of_objects(path)
            return
        for number, line in lines:
            yield Row(parse_record(line, f"{path}:{number}"), f"{path}:{number}")


class GapRecords(Records):
    """Records with a text that has a gap, divided there into the fields ``before`` and ``after``.

    Args:
        field: The text.
        gap: What stands in its place.
    """

    def __init__(self, field: str, gap: str) -> None:
        self._field, self._gap = field, gap

    def read(self, path: Path) -> Iterator[Row]:
        """The objects, with two more fields."""
        for row in super().read(path):
            before, gap, after = str(row.pick(self._field)).partition(self._gap)
            if not gap:
                raise DataError(f"{row.place} has no gap", got=before[:60], allowed=f"a text with {self._gap}")
            yield Row({**row.record, "before": before, "after": after}, row.place)


class Lines(RowFormat):
    """A text a line, as the field ``text``; blank lines are left out."""

    def read(self, path: Path) -> Iterator[Row]:
        """The lines, spaces at their ends removed."""
        for number, line in read_lines(path):
            if line.strip():
                yield Row({"text": line.strip()}, f"{path}:{number}")


class Squad(RowFormat):
    """SQuAD's nested paragraphs: ``context``, ``question``, ``answers`` (a list of texts). CMRC 2018 has this form."""

    def read(self, path: Path) -> Iterator[Row]:
        """A row for each question."""
        data = _load(path)
        for article in _entries(data.get("data", []) if isinstance(data, dict) else data, path):
            for paragraph in _entries(article.get("paragraphs", []), path):
                for asked in _entries(paragraph.get("qas", []), path):
                    place = f"{path}, question {asked.get('id')}"
                    answers = [answer["text"] for answer in _entries(asked.get("answers", []), path)]
                    question, context = (
                        pick_field(d, k, place) for d, k in ((asked, "question"), (paragraph, "context"))
                    )
                    yield Row(
                        {"context": context, "question": question, "answers": list(dict.fromkeys(answers))}, place
                    )


class C3(RowFormat):
    """C3's triples [text or dialogue, questions, id]: ``text``, ``question``, ``choice`` (a list), ``answer``."""

    def read(self, path: Path) -> Iterator[Row]:
        """A row for each question."""
        for number, entry in enumerate(_load(path)):
            place = f"{path}, entry {number + 1}"
            if not (isinstance(entry, list) and len(entry) >= 2 and all(isinstance(part, list) for part in entry[:2])):
                raise DataError(f"{place} is not a text with its questions", allowed='[["text", ...], [{...}], "id"]')
            for asked in entry[1]:
                fields = {name: pick_field(asked, name, place) for name in ("question", "choice", "answer")}
                yield Row({"text": "\n".join(entry[0]), **fields}, place)


class Cbt(RowFormat):
    """The Children's Book Test: 20 numbered lines, and a 21st with a gap, the answer and ten candidates.

    Fields: ``context`` (the 20 sentences), ``before`` and ``after`` the gap XXXXX, ``choices``, ``answer``. The
    corpus' tokenization is undone (spaces before punctuation, the Penn Treebank's quotes and brackets).
    """

    def read(self, path: Path) -> Iterator[Row]:
        """A row for each question."""
        from gpt_lightning.evaluation.texts.text_files import detokenize_ptb

        sentences: list[str] = []
        for number, line in read_lines(path):
            text = re.sub(r"^\d+ ", "", line.strip("\n"))
            if "\t" not in text:
                sentences = [*sentences, detokenize_ptb(text.strip())] if text.strip() else []
                continue
            place, cells = f"{path}:{number}", text.split("\t")
            if len(cells) < 3 or "XXXXX" not in cells[0]:
                raise DataError(
                    f"{place} is not a question", got=text[:60], allowed="sentence with XXXXX, answer, candidates by |"
                )
            before, _, after = detokenize_ptb(cells[0].strip()).partition("XXXXX")
            choices = [choice for choice in cells[-1].split("|") if choice]
            fields = {"context": " ".join(sentences), "before": before.rstrip(), "after": after}
            yield Row({**fields, "choices": choices, "answer": cells[1].strip()}, place)
            sentences = []


RECORDS = Records()


def _load(path: Path) -> Any:
    text = "\n".join(line for _, line in read_lines(path))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error})", fix="Check the file.") from error


def _list_of_objects(path: Path) -> Iterator[Row]:
    for number, record in enumerate(_load(path), start=1):
        place = f"{path}, record {number}"
        if not isinstance(record, dict):
            raise DataError(f"{place} is not a JSON object", got=type(record).__name__)
        yield Row(record, place)


def _entries(value: Any, path: Path) -> list[dict[str, Any]]:
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return value
    raise DataError(f"{path} is not in SQuAD's form", got=str(value)[:60], allowed="data > paragraphs > qas > answers")

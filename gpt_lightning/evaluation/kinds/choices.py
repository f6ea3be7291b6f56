"""Tasks of choice: which of several texts does the model find likeliest?

Three ways to compare them, all reported. The sum of log-probabilities favours short answers; divided by the number of
characters it does not (``_norm``); less what the model thinks of the answer without the question, it favours answers
that the question made likelier (``_pmi``; Holtzman et al. 2021).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.rows import Row
from gpt_lightning.evaluation.kinds.tasks import Asking, Task, TaskFiles
from gpt_lightning.evaluation.kinds.templates import Template, encode_pairs
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, digest
from gpt_lightning.evaluation.scoring.continuations import score_continuations
from gpt_lightning.metrics.labels import Choice
from gpt_lightning.weights.loading import LoadedModel

_CHUNK = 256
"""Questions that are scored together; more find more in common, and hold more in memory."""


@dataclass(frozen=True)
class Question:
    """Texts to choose from.

    Attributes:
        texts: A context and a continuation for each choice, behind the solved examples.
        bare: The same without the question, for PMI.
        label: Number of the right one.
        place: Where it comes from.
        key: Digest of the question without examples.
    """

    texts: list[tuple[str, str]]
    bare: list[tuple[str, str]]
    label: int
    place: str
    key: str


class _ChoiceTask(Task):
    """What both kinds have in common."""

    def __init__(self, files: TaskFiles, context: str, continuation: str, bare_context: str, separator: str) -> None:
        self.files = files
        self._context, self._continuation = Template(context, "context"), Template(continuation, "continuation")
        self._bare, self._separator = Template(bare_context, "bare_context"), separator
        if "choice" not in (*self._context.fields, *self._continuation.fields):
            raise ConfigError(
                f"{files.name}: no template has a place for the choice",
                got=continuation,
                fix="Write {choice} into continuation or context.",
            )

    @abstractmethod
    def list_choices(self, row: Row) -> list[str]:
        """The texts to choose from."""

    @abstractmethod
    def find_label(self, row: Row, choices: Sequence[str]) -> int:
        """Number of the right one."""

    def prepare(self, rows: Sequence[Row]) -> None:
        """Look at all rows before the first question."""

    def measures(self, num_labels: int | None) -> list[Measure]:
        """Accuracy of the three ways; calibration of the first."""
        shared = [] if num_labels is None else [Measure("MacroF1", {"num_labels": num_labels})]
        ways = [Measure("Accuracy", outcome=way) for way in ("norm", "pmi")]
        return [Measure("Accuracy"), *ways, *shared, Measure("Calibration"), Measure("Brier")]

    def run(self, loaded: LoadedModel, asking: Asking) -> Evaluation:
        """Ask a model everything."""
        rows, shots = self.files.read(asking, self.home)
        self.prepare([*rows, *shots])
        rows = asking.take(rows)
        shown = "".join(self._solve(row) + self._separator for row in shots)
        items: list[Item] = []
        for start in range(0, len(rows), _CHUNK):
            items += self._score(loaded, asking, [self._ask(row, shown) for row in rows[start : start + _CHUNK]])
        return Evaluation(
            self.files.name, str(loaded.path), self.settings(asking), self.measures(self.num_labels), items,
            self.files.published,
        )  # fmt: skip

    def list_texts(self, asking: Asking) -> list[tuple[str, str, str]]:
        """Each question with the right choice."""
        rows, _ = self.files.read(asking, self.home)
        self.prepare(rows)
        return [(row.place, self._ask(row, "").key, self._solve(row)) for row in rows]

    @property
    def num_labels(self) -> int | None:
        """How many labels all rows share; None where each row has choices of its own."""
        return None

    def _fill(self, row: Row, choice: str) -> tuple[str, str]:
        values = {"choice": choice}
        return self._context.fill(row, values), self._continuation.fill(row, values)

    def _solve(self, row: Row) -> str:
        choices = self.list_choices(row)
        return "".join(self._fill(row, choices[self.find_label(row, choices)]))

    def _ask(self, row: Row, shown: str) -> Question:
        choices = self.list_choices(row)
        filled = [self._fill(row, choice) for choice in choices]
        texts = [(shown + context, continuation) for context, continuation in filled]
        bare = [
            (self._bare.fill(row, {"choice": choice}), continuation)
            for choice, (_, continuation) in zip(choices, filled, strict=True)
        ]
        key = digest(*(part for text in filled for part in text))
        return Question(texts, bare, self.find_label(row, choices), row.place, key)

    def _score(self, loaded: LoadedModel, asking: Asking, questions: list[Question]) -> list[Item]:
        pairs = []
        for question in questions:
            for texts in (question.texts, question.bare):
                pairs += encode_pairs(loaded.tokenizer, texts, begin=asking.begin, place=question.place)
        found = iter(score_continuations(loaded.model, pairs, max_tokens=asking.max_tokens))
        items = []
        for question in questions:
            scores, bare = (np.array([-next(found).nats for _ in question.texts]) for _ in range(2))
            lengths = np.array([max(1, len(text.strip())) for _, text in question.texts])
            ways = {"": scores, "norm": scores / lengths, "pmi": scores - bare}
            outcomes = {name: Choice(_normalize(way), question.label) for name, way in ways.items()}
            items.append(Item(question.place, question.key, outcomes))
        return items


def _normalize(scores: np.ndarray) -> tuple[float, ...]:
    """Probabilities in proportion to the exponentials."""
    chances = np.exp(scores - scores.max())
    return tuple((chances / chances.sum()).tolist())


class MultipleChoice(_ChoiceTask):
    r"""Each row has choices of its own, one of them right.

    Args:
        files: Where the rows come from.
        context: What the model is shown; {field} of the row, {choice} of the choice.
        choices: Field that holds the list of choices.
        answer: Field of the right one: its number, or its text.
        continuation: What is scored behind the context.
        bare_context: What is shown instead of the context for PMI.
        separator: Between solved examples.
        first_number: Number of the first choice, where the answer is a number.
    """

    def __init__(
        self,
        files: TaskFiles,
        context: str,
        choices: str,
        answer: str,
        continuation: str = " {choice}",
        bare_context: str = "",
        separator: str = "\n\n",
        first_number: int = 0,
    ) -> None:
        super().__init__(files, context, continuation, bare_context, separator)
        self._choices, self._answer, self._first = choices, answer, first_number

    def list_choices(self, row: Row) -> list[str]:
        """From the row's field."""
        choices = row.pick(self._choices)
        if not isinstance(choices, list) or len(choices) < 2:
            raise DataError(f"{row.place} has no list of choices in {self._choices!r}", got=str(choices)[:60])
        return [str(choice) for choice in choices]

    def find_label(self, row: Row, choices: Sequence[str]) -> int:
        """By number or text."""
        answer = row.pick(self._answer)
        if isinstance(answer, int) and not isinstance(answer, bool):
            label = answer - self._first
        else:
            label = choices.index(str(answer)) if str(answer) in choices else -1
        if not 0 <= label < len(choices):
            raise DataError(
                f"{row.place}: the answer is none of the choices", got=answer, allowed=" | ".join(choices)[:80]
            )
        return label


class Classification(_ChoiceTask):
    r"""The same labels for every row, each said in words.

    Args:
        files: Where the rows come from.
        context: What the model is shown; {field} of the row, {choice} of the label's words.
        label: Field of the right label.
        labels: What each label is called; empty = the values of the field in the file are their own names.
        continuation: What is scored behind the context.
        bare_context: What is shown instead of the context for PMI.
        separator: Between solved examples.
        skip: Values of the field whose rows are left out.
    """

    def __init__(
        self,
        files: TaskFiles,
        context: str,
        label: str,
        labels: dict[str, str] = {},  # noqa: B006 (never changed)
        continuation: str = "{choice}",
        bare_context: str = "",
        separator: str = "\n\n",
        skip: list[str] = [],  # noqa: B006 (never changed)
    ) -> None:
        labelled = _LabelledFiles(**vars(files), label=label, skip=frozenset(skip))
        super().__init__(labelled, context, continuation, bare_context, separator)
        self._label, self._given = label, dict(labels)
        self._labels: Mapping[str, str] = self._given

    def prepare(self, rows: Sequence[Row]) -> None:
        """Collect the labels, where the task does not list them."""
        if not self._given:
            names = sorted({str(row.pick(self._label)) for row in rows})
            self._labels = {name: name for name in names}

    @property
    def num_labels(self) -> int:
        """The labels."""
        return len(self._labels)

    def list_choices(self, row: Row) -> list[str]:
        """The labels' words."""
        return list(self._labels.values())

    def find_label(self, row: Row, choices: Sequence[str]) -> int:
        """By the row's field."""
        label = str(row.pick(self._label))
        if label not in self._labels:
            raise DataError(
                f"{row.place} has a label that the task does not know", got=label, allowed=", ".join(self._labels)
            )
        return list(self._labels).index(label)


@dataclass
class _LabelledFiles(TaskFiles):
    """Files some of whose rows have no usable label."""

    label: str = ""
    skip: frozenset[str] = frozenset()

    def keep(self, row: Row) -> bool:
        """Whether the row is asked."""
        return not self.skip or str(row.pick(self.label)) not in self.skip

"""Tasks of writing: what does the model answer, and how close is that to the references?"""

from __future__ import annotations

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.results import Evaluation, Item, digest
from gpt_lightning.evaluation.rows import Row
from gpt_lightning.evaluation.tasks import Asking, Task, TaskFiles
from gpt_lightning.evaluation.templates import Template
from gpt_lightning.evaluation.text_command import text_measures
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.metrics.cutting import AUTO, check_cut
from gpt_lightning.metrics.overlap import Answer
from gpt_lightning.weights.loading import LoadedModel

_SLOTS = 16


class Generation(Task):
    r"""The model continues a prompt; BLEU, chrF, ROUGE, exact match and F1 of what it wrote.

    Exact match and F1 compare as SQuAD does: no case, no punctuation, no English articles; Chinese by characters.

    Args:
        files: Where the rows come from.
        prompt: What the model is shown; {field} of the row.
        references: Field of the right answer, or of a list of them.
        stop: Texts that end the answer.
        max_tokens: Most tokens of an answer.
        temperature: 0 = the likeliest token each time; above, draws with a seed of each row.
        tokenize: How text is cut into words: auto (by the references), 13a, intl, zh or char.
        separator: Between solved examples.
    """

    def __init__(
        self,
        files: TaskFiles,
        prompt: str,
        references: str,
        stop: list[str] = ["\n"],  # noqa: B006 (never changed)
        max_tokens: int = 64,
        temperature: float = 0.0,
        tokenize: str = AUTO,
        separator: str = "\n\n",
    ) -> None:
        self.files = files
        self._prompt, self._references, self._separator = Template(prompt, "prompt"), references, separator
        if max_tokens < 1:
            raise ConfigError(f"{files.name}: max_tokens is a count", got=max_tokens, allowed="1 or more")
        self._stop, self._max_tokens, self._sampling = tuple(stop), max_tokens, Sampling(temperature=temperature)
        self._cut = check_cut(tokenize)

    def _known(self, row: Row) -> tuple[str, ...]:
        value = row.pick(self._references)
        texts = value if isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{row.place} has no text in {self._references!r}", got=str(value)[:60])
        return tuple(texts)

    def _solve(self, row: Row) -> str:
        return self._prompt.fill(row) + self._known(row)[0]

    def list_texts(self, asking: Asking) -> list[tuple[str, str, str]]:
        """Each prompt with its first answer."""
        rows, _ = self.files.read(asking, self.home)
        return [(row.place, self._key(row), self._solve(row)) for row in rows]

    def _key(self, row: Row) -> str:
        return digest(self._prompt.fill(row), *self._known(row))

    def run(self, loaded: LoadedModel, asking: Asking) -> Evaluation:
        """Ask a model everything, many rows at a time."""
        rows, shots = self.files.read(asking, self.home)
        measures = text_measures(self._cut, [self._known(row) for row in rows], normalize=True)
        rows = asking.take(rows)
        shown = "".join(self._solve(row) + self._separator for row in shots)
        requests = [self._request(loaded, asking, row, shown) for row in rows]
        engine = Engine(loaded.model, loaded.tokenizer, slots=_SLOTS)
        answers = [
            Answer(completions[0].text.strip(), self._known(row))
            for row, completions in zip(rows, engine.generate(requests), strict=True)
        ]
        items = [Item(row.place, self._key(row), {"": answer}) for row, answer in zip(rows, answers, strict=True)]
        settings = {**self.settings(asking), "tokenize": measures[0].options["cut"], "max_tokens": self._max_tokens}
        return Evaluation(
            self.files.name, str(loaded.path), settings, measures, items, self.files.published
        )  # fmt: skip

    def _request(self, loaded: LoadedModel, asking: Asking, row: Row, shown: str) -> Request:
        try:
            ids = loaded.tokenizer.encode(shown + self._prompt.fill(row)).tolist()
        except DataError as error:
            raise DataError(f"{row.place}: {str(error).rstrip('.')}") from error
        start = [loaded.tokenizer.eot_id] if asking.begin == "eot" or not ids else []
        return Request(
            [*start, *ids], max_tokens=self._max_tokens, sampling=self._sampling, stop=self._stop, seed=asking.seed
        )

"""Cloze: the next words of a text, which the model must find likeliest of all there are (LAMBADA).

Tasks of writing: what does the model answer, and how close is that to the references?

A corpus to be predicted from end to end, counted as published numbers count it.
"""

from __future__ import annotations

from pathlib import Path

from gpt_lightning.data.readers.readers import Document, Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.rows import Row
from gpt_lightning.evaluation.kinds.tasks import Asking, Task, TaskFiles
from gpt_lightning.evaluation.kinds.templates import Template, encode_pairs
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, digest
from gpt_lightning.evaluation.scoring.continuations import score_continuations
from gpt_lightning.evaluation.scoring.perplexity import Reach, measure_documents
from gpt_lightning.evaluation.scoring.windows import check_window
from gpt_lightning.evaluation.texts.text_command import text_measures
from gpt_lightning.evaluation.texts.text_files import DETOKENIZERS, UNITS
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.metrics.cutting import AUTO, check_cut
from gpt_lightning.metrics.likelihood import Likelihood
from gpt_lightning.metrics.overlap import Answer
from gpt_lightning.weights.loading import LoadedModel


class Cloze(Task):
    r"""What follows a text: accuracy of the likeliest tokens, and perplexity per text to find.

    Args:
        files: Where the rows come from.
        text: The whole text, {field} of the row. Without ``target`` its last word is to be found.
        target: What is to be found behind the text; null = the text's last word (with the space before it).
        separator: Between solved examples.
    """

    def __init__(
        self,
        files: TaskFiles,
        text: str = "{text}",
        target: str | None = None,
        separator: str = "\n\n",
    ) -> None:
        self.files = files
        self._text, self._separator = Template(text, "text"), separator
        self._target = None if target is None else Template(target, "target")

    def _split(self, row: Row) -> tuple[str, str]:
        text = self._text.fill(row)
        if self._target is not None:
            return text, self._target.fill(row)
        context, space, word = text.rstrip().rpartition(" ")
        if not context or not word:
            raise DataError(f"{row.place} has fewer than two words", got=text[:60])
        return context, space + word

    def list_texts(self, asking: Asking) -> list[tuple[str, str, str]]:
        """Each text with its end."""
        splits = [(row, *self._split(row)) for row in self.files.read(asking, self.home)[0]]
        return [(row.place, digest(context, target), context + target) for row, context, target in splits]

    def run(self, loaded: LoadedModel, asking: Asking) -> Evaluation:
        """Ask a model everything."""
        rows, shots = self.files.read(asking, self.home)
        rows = asking.take(rows)
        shown = "".join("".join(self._split(row)) + self._separator for row in shots)
        items: list[Item] = []
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            splits = [self._split(row) for row in part]
            pairs = [
                pair
                for row, (context, target) in zip(part, splits, strict=True)
                for pair in encode_pairs(
                    loaded.tokenizer, [(shown + context, target)], begin=asking.begin, place=row.place
                )
            ]
            found = score_continuations(loaded.model, pairs, max_tokens=asking.max_tokens)
            for row, (context, target), scored in zip(part, splits, found, strict=True):
                size = len(target.encode("utf-8"))
                likelihood = Likelihood(scored.nats, scored.num_tokens, size, 1, scored.is_greedy)
                items.append(Item(row.place, digest(context, target), {"": likelihood}))
        measures = [Measure("GuessAccuracy"), Measure("UnitPerplexity", {"unit": "target"})]
        return Evaluation(
            self.files.name, str(loaded.path), self.settings(asking), measures, items, self.files.published
        )  # fmt: skip


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
        start = [loaded.tokenizer.begin_id] if asking.begin == "eot" or not ids else []
        return Request(
            [*start, *ids], max_tokens=self._max_tokens, sampling=self._sampling, stop=self._stop, seed=asking.seed
        )


class Corpus(Task):
    """Perplexity of a whole file, per token and per unit of the original text.

    Args:
        files: Where the text lies.
        unit: What published numbers divide by: word (with an end for every line), character or byte.
        detokenize: How the stored text is brought back to plain text first: none, wikitext or ptb.
        last_bytes: Only so many bytes at the end of the file; null = all.
        window: Tokens that the model sees at most; null = its block_size.
        stride: By how many tokens the window slides; null = half the window.

    Raises:
        ConfigError: A name or count that there is not.
    """

    without = ("format", "examples")

    def __init__(
        self,
        files: TaskFiles,
        unit: str = "word",
        detokenize: str = "none",
        last_bytes: int | None = None,
        window: int | None = None,
        stride: int | None = None,
    ) -> None:
        for setting, value, known in (("unit", unit, UNITS), ("detokenize", detokenize, DETOKENIZERS)):
            if value not in known:
                raise ConfigError(f"{files.name}: no such {setting}", got=value, allowed=", ".join(known))
        if last_bytes is not None and last_bytes < 1:
            raise ConfigError(f"{files.name}: last_bytes is a count", got=last_bytes, allowed="1 or more, or null")
        self.files = files
        self._unit, self._detokenize, self._last_bytes = unit, detokenize, last_bytes
        self._window, self._stride = window, stride

    def run(self, loaded: LoadedModel, asking: Asking) -> Evaluation:
        """Read the corpus with a model."""
        documents = self._read(asking)[asking.part[0] :: asking.part[1]]
        reach = Reach(*check_window(self._window, self._stride, loaded.model.block_size), asking.begin)
        items, by_context = measure_documents(
            loaded, documents, reach, prepare=DETOKENIZERS[self._detokenize], count_units=UNITS[self._unit]
        )
        settings = {
            "window": reach.window, "stride": reach.stride, "begin": reach.begin, "detokenize": self._detokenize,
            "unit": self._unit,
        }  # fmt: skip
        measures = [Measure("UnitPerplexity", {"unit": self._unit}), Measure("Perplexity")]
        return Evaluation(
            self.files.name, str(loaded.path), settings, measures, items, self.files.published,
            {"By context": by_context.table()},
        )  # fmt: skip

    def check(self, asking: Asking) -> None:
        """The file is there, and neither shots nor a limit are wanted."""
        self._find(asking)

    def _find(self, asking: Asking) -> Path:
        if asking.shots or asking.limit is not None:
            raise ConfigError(
                f"{self.files.name} is a corpus, read from end to end",
                got={"shots": asking.shots, "limit": asking.limit},
                fix="Leave --shots and --limit out.",
            )
        return self.files.find(self.files.data, asking, self.home)

    def _read(self, asking: Asking) -> list[Document]:
        (reader,) = open_sources([str(self._find(asking))], Reading("file", "text", "utf-8"))
        return [self._cut(document) for document in reader.iterate_documents()]

    def list_texts(self, asking: Asking) -> list[tuple[str, str, str]]:
        """The corpus as models are given it."""
        prepare = DETOKENIZERS[self._detokenize]
        return [(each.name, digest(each.text), prepare(each.text)) for each in self._read(asking)]

    def _cut(self, document: Document) -> Document:
        if self._last_bytes is None:
            return document
        # A character that is cut in two at the beginning is left out.
        text = document.text.encode("utf-8")[-self._last_bytes :].decode("utf-8", errors="ignore")
        return Document(text, document.name, document.num_bytes)

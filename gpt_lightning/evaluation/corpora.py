"""A corpus to be predicted from end to end, counted as published numbers count it."""

from __future__ import annotations

from pathlib import Path

from gpt_lightning.data.readers import Document, Reading
from gpt_lightning.data.sources import open_sources
from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.detokenizing import DETOKENIZERS, UNITS
from gpt_lightning.evaluation.perplexity import Reach, measure_documents
from gpt_lightning.evaluation.results import Evaluation, Measure, digest
from gpt_lightning.evaluation.tasks import Asking, Task, TaskFiles
from gpt_lightning.evaluation.windows import check_window
from gpt_lightning.weights.loading import LoadedModel


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

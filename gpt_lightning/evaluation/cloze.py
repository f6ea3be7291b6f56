"""Cloze: the next words of a text, which the model must find likeliest of all there are (LAMBADA)."""

from __future__ import annotations

from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.continuations import score_continuations
from gpt_lightning.evaluation.prompts import encode_pairs
from gpt_lightning.evaluation.results import Evaluation, Item, Measure, digest
from gpt_lightning.evaluation.rows import Row
from gpt_lightning.evaluation.tasks import Asking, Task, TaskFiles
from gpt_lightning.evaluation.templates import Template
from gpt_lightning.metrics.likelihood import Likelihood
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

"""An application of a few lines, with the whole skeleton around it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gpt_lightning.apps.application import AppFolder, Application, AppSettings
from gpt_lightning.apps.figures import Findings
from gpt_lightning.apps.training import fit_model
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure
from gpt_lightning.metrics.labels import Choice
from gpt_lightning.serving.settings import Address
from tests.training.forked import TEXT, TINY


@dataclass(frozen=True)
class EchoSettings(AppSettings):
    """Of an example.

    Args:
        texts: File of texts, 100 % of them.
        right: How many of a hundred items are right.
    """

    texts: str = "texts.txt"
    right: int = 80


class Echo(Application[EchoSettings]):
    name, title, settings = "echo", "Says what was said", EchoSettings
    samples = ("built-in", "other")
    notes: ClassVar[Mapping[str, str]] = {"built-in": "Expected: 80 % right."}

    def make_sample(self, name: str) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        return {"fit": {"trainer": {"max_steps": 3}}}, {"texts.txt": TEXT}

    def train(self, folder: AppFolder[EchoSettings]) -> None:
        data = {"data.source": str(folder.file(folder.settings.texts)), "trainer.enable_progress_bar": False}
        fit_model(folder, TINY, data)

    def evaluate(self, folder: AppFolder[EchoSettings]) -> Findings:
        return Findings(
            "Echo",
            evaluate("model", folder.settings.right),
            [evaluate("coin", 50)],
            ["A note."],
            lambda page: page.text("What this one adds."),
        )

    def run(self, folder: AppFolder[EchoSettings], address: Address) -> None:
        sys.stdout.write(f"{address}\n")


def evaluate(model: str, right: int) -> Evaluation:
    items = [Item(str(n), str(n), {"": Choice((1.0, 0.0), int(n >= right))}) for n in range(100)]
    return Evaluation("echo", model, {}, [Measure("Accuracy"), Measure("Brier")], items)


APPLICATION = Echo()

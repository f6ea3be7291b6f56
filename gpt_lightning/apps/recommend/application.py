"""Recommendation as an application: ``gpt-lightning app recommend init | train | evaluate | run``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gpt_lightning.apps.application import AppFolder, Application
from gpt_lightning.apps.figures import Findings
from gpt_lightning.apps.recommend.floors import CoOccurrence, Popularity
from gpt_lightning.apps.recommend.protocol import (
    RULE,
    Question,
    ask,
    choose_cold,
    evaluate,
    find_unseen,
    flatten,
    training_histories,
)
from gpt_lightning.apps.recommend.records import (
    Catalogue,
    Moment,
    RecommendSettings,
    read_catalogue,
    read_histories,
)
from gpt_lightning.apps.recommend.sample import MOVIELENS, SAMPLES, find_movielens, make_builtin, read_movielens
from gpt_lightning.apps.serving import serve_model
from gpt_lightning.apps.training import fit_model
from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.outcomes.results import Evaluation
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.page import Page
from gpt_lightning.serving.settings import Address
from gpt_lightning.weights.loading import load_model

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from gpt_lightning.apps.recommend.recommender import Recommender

TRAINING_FILE = "histories.jsonl"
_EXAMPLES = 5
_LENGTHS = (1, 2, 3, 5, 10, 20, 50)
"""Of the lists in the chart."""
_SMALL: dict[str, Any] = {
    "model": {
        "config": {"n_layer": 2, "n_head": 4, "n_embd": 64, "norm": "rms", "rope_theta": 10000.0, "dropout": 0.1},
        "optimizer": {"lr": 0.005},
    },
    "data": {"tokenizer": "bpe:512:chinese", "block_size": 128, "batch_size": 16, "eval_batch_size": 16},
    "trainer": {"accelerator": "cpu", "max_steps": 400, "gradient_clip_val": 1.0},
}
_MOVIES: dict[str, Any] = {
    "model": {
        "config": {
            "n_layer": 3, "n_head": 4, "n_embd": 128, "bias": False, "norm": "rms", "mlp": "relu2",
            "rope_theta": 10000.0, "qk_norm": True, "zero_init": True, "tie_embeddings": False, "dropout": 0.2,
        },
        "optimizer": {
            "class_path": "Muon",
            "init_args": {"embedding_lr": 0.02, "vector_lr": 0.01, "momentum": 0.9, "betas": [0.8, 0.95]},
        },
        "schedule": {"class_path": "WSD", "init_args": {"warmup": 0, "decay": "80%"}},
    },
    "data": {"tokenizer": "bpe:4096", "block_size": 256, "batch_size": 16, "eval_batch_size": 16},
    "trainer": {"accelerator": "cpu", "max_steps": 800, "gradient_clip_val": 1.0},
}  # fmt: skip


class Recommend(Application[RecommendSettings]):
    """What comes next for a person, by the likelihood of texts."""

    name = "recommend"
    title = "Recommendation: what comes next for a person, by how likely a language model finds an item's text."
    settings = RecommendSettings
    samples = SAMPLES
    notes: ClassVar[Mapping[str, str]] = {
        "built-in": "Time: a minute and a half of one CPU core to train, half a minute to evaluate. Expected: hr@10 "
        "0.70 beside 0.12 of popularity and 0.57 of co-occurrence; items kept out of training in the first fifth.",
        MOVIELENS: "Time: half an hour of one CPU core to train, a quarter to evaluate. Measured after 631 of the 800 "
        "steps, on 280 people drawn by chance, with history 30: hr@10 0.163 beside 0.070 of popularity and 0.103 "
        "of co-occurrence.",
    }

    def make_sample(self, name: str) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Series of parts that people follow in order, English and Chinese; or MovieLens-100k."""
        if name == MOVIELENS:
            return {"filter_fields": ["genres", "year"], "fit": _MOVIES}, read_movielens(find_movielens())
        return {"filter_fields": ["genre", "language"], "cold_fraction": 0.05, "fit": _SMALL}, make_builtin()

    def train(self, folder: AppFolder[RecommendSettings]) -> None:
        """A document per person, a line per item."""
        catalogue, histories = _read(folder)
        texts = [
            "".join(f"{catalogue.texts[item]}\n" for item in flatten(moments))
            for moments in training_histories(histories, choose_cold(catalogue.ids, folder.settings.cold_fraction))
            if moments
        ]
        file = folder.path / TRAINING_FILE
        write_text_durably(file, "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
        fit_model(folder, {"data.source": str(file), "data.document_mask": True})

    def evaluate(self, folder: AppFolder[RecommendSettings]) -> Findings:
        """Popularity and co-occurrence beside the model, on the last moment of everybody."""
        settings = folder.settings
        catalogue, histories = _read(folder)
        trained = training_histories(histories, choose_cold(catalogue.ids, settings.cold_fraction))
        questions = ask(histories)[: settings.max_users]
        if len(questions) < 2:
            raise DataError(
                "Fewer than two people have had something at two times or more",
                got=len(questions),
                fix=f"Give more interactions in {folder.file(settings.interactions_file)}.",
            )
        recommender = _build(folder, catalogue)
        ours = list(_score(recommender, questions))
        floors: list[tuple[str, list[Float[np.ndarray, " items"]]]] = [
            (floor.name, [floor.score(question.history) for question in questions])
            for floor in (Popularity(trained, len(catalogue)), CoOccurrence(trained, len(catalogue)))
        ]
        cold = evaluate("cold", questions, ours, settings.k, find_unseen(trained, len(catalogue)))
        curves = [("ours", ours), *floors]

        def add(page: Page) -> None:
            page.chart(_draw_curves(questions, curves))
            _add_examples(page, recommender, questions)

        return Findings(
            "Recommendation",
            evaluate(str(folder.model), questions, ours, settings.k),
            [evaluate(name, questions, scores, settings.k) for name, scores in floors],
            [RULE, _describe_cold(cold)],
            add,
        )

    def run(self, folder: AppFolder[RecommendSettings], address: Address) -> None:
        """``/v1/recommend`` and a page, beside what ``serve`` has."""
        catalogue, histories = _read(folder)
        settings = folder.settings

        def make_routes(service: Any, version: Any) -> Any:
            from gpt_lightning.apps.recommend.recommender import Recommender
            from gpt_lightning.apps.recommend.service import RecommendEndpoints

            recommender = Recommender(version.loaded, catalogue, settings)
            return RecommendEndpoints(
                service, recommender, histories, name=self.name, fingerprint=version.fingerprint, k=settings.k,
                filter_fields=settings.filter_fields,
            ).routes  # fmt: skip

        serve_model(self.name, str(folder.model), address, make_routes)


APPLICATION = Recommend()


def _read(folder: AppFolder[RecommendSettings]) -> tuple[Catalogue, dict[str, list[Moment]]]:
    settings = folder.settings
    catalogue = read_catalogue(folder.file(settings.items_file), settings)
    return catalogue, read_histories(folder.file(settings.interactions_file), settings, catalogue)


def _build(folder: AppFolder[RecommendSettings], catalogue: Catalogue) -> Recommender:
    from gpt_lightning.apps.recommend.recommender import Recommender

    return Recommender(load_model(folder.model), catalogue, folder.settings)


def _score(recommender: Recommender, questions: Sequence[Question]) -> Iterator[Float[np.ndarray, " items"]]:
    """Scores of the right items and of all that can stand above them, by question; progress to the standard error."""
    step = max(1, len(questions) // 10)
    for number, question in enumerate(questions, 1):
        yield recommender.score(question.history, question.targets)
        if number % step == 0:
            sys.stderr.write(f"asked about {number:,} of {len(questions):,} people\n")


def _describe_cold(cold: Evaluation) -> str:
    if len(cold.items) < 2:
        return "No right answer is an item that training has not seen."
    low, high = cold.intervals["percentile"]
    return (
        f"Items that training has not seen, the right answer for {len(cold.items)} people: mean place "
        f"{cold.scores['percentile']:.1f} % of the ranking (95 %: {low:.1f} to {high:.1f}; by chance 50)."
    )


def _draw_curves(
    questions: Sequence[Question], curves: Iterable[tuple[str, Sequence[Float[np.ndarray, " items"]]]]
) -> LineChart:
    series = []
    for name, scores in curves:
        rates = [evaluate(name, questions, scores, k).scores[f"hr@{k}"] for k in _LENGTHS]
        series.append(Series(name, list(map(float, _LENGTHS)), rates, dots=True))
    return LineChart(series, "Hit rate by length of the list", "length of the list", "share of people")


def _add_examples(page: Page, recommender: Recommender, questions: Sequence[Question]) -> None:
    from gpt_lightning.apps.recommend.recommender import Wish

    texts = recommender.catalogue.texts
    page.heading("Examples")
    for question in questions[:_EXAMPLES]:
        page.text(f"{question.user}: had {', '.join(texts[item] for item in question.history[-8:])}; "
                  f"then came {', '.join(texts[item] for item in question.targets)}.")  # fmt: skip
        rows = [
            [
                "yes" if found.item in question.targets else "",
                texts[found.item],
                found.logprob,
                ", ".join(f"{texts[each.item]} (+{each.nats:.2f})" for each in found.reasons),
            ]
            for found in recommender.recommend(Wish(question.history, 5))
        ]
        page.table(["came", "recommended", "log-probability", "because of (nats)"], rows)

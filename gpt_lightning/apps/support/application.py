"""Customer service as an application: ``gpt-lightning app support init | train | evaluate | run``."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gpt_lightning.apps.application import AppFolder, Application
from gpt_lightning.apps.figures import Findings
from gpt_lightning.apps.serving import alone, serve_model
from gpt_lightning.apps.support.assistant import Assistant
from gpt_lightning.apps.support.conversations import Conversations
from gpt_lightning.apps.support.desk import Origin, SupportDesk
from gpt_lightning.apps.support.figures import MOST_NEEDLESS, HandOffs, draw_curve, evaluate, measure_handoffs
from gpt_lightning.apps.support.knowledge import Knowledge, build_scorers, learn, read_knowledge, read_matching
from gpt_lightning.apps.support.matching import Matcher, fit_mixture
from gpt_lightning.apps.support.records import GENERATED, SupportSettings
from gpt_lightning.apps.support.retrieval import Coverage, Words
from gpt_lightning.apps.support.sample import make_sample
from gpt_lightning.apps.support.writing import LEAST_AGREEMENT, Writer, agree, train_writer
from gpt_lightning.data.layouts.base import normalize
from gpt_lightning.errors import CheckpointError, DataError
from gpt_lightning.feedback.redaction import find_redaction
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.objectives.classifier import Classifier, load_classifier
from gpt_lightning.reports.page import Page
from gpt_lightning.serving.command import check_installed
from gpt_lightning.serving.settings import Address
from gpt_lightning.weights.loading import load_model

if TYPE_CHECKING:
    from starlette.routing import Route

    from gpt_lightning.serving.feedback import Desk
    from gpt_lightning.serving.service import Service
    from gpt_lightning.serving.versions import Version

_Folder = AppFolder[SupportSettings]
TOKEN_VARIABLE = "GPT_LIGHTNING_AGENT_TOKEN"
"""What people who answer have to bring; where it is not set, a new one is made at every start, and told."""
_EXAMPLES, _DRAFTS = 12, 200


class Support(Application[SupportSettings]):
    """Answers where it is sure, a person where it is not."""

    name = "support"
    title = "Customer service: answers to known questions, and a person where the answer is not sure."
    settings = SupportSettings
    notes: ClassVar[Mapping[str, str]] = {
        "built-in": "Time: a minute of one CPU core to train, a quarter to evaluate. Expected: the right answer to "
        "93 % of the wordings held out, beside 92 % of BM25 alone; at 10 % needless hand-offs 99 % of what nothing "
        "answers is handed off, beside 97 %."
    }

    def make_sample(self, name: str) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """A shop that does not exist, in English and Chinese."""
        return make_sample()

    def train(self, folder: _Folder) -> None:
        """A classifier of questions, how sure it has to be, and the writer where answers are generated."""
        known = read_knowledge(folder)
        learn(folder, known)
        if folder.settings.answers == GENERATED:
            train_writer(folder, known)

    def evaluate(self, folder: _Folder) -> Findings:
        """BM25 beside the mixture, on wordings that nothing has learned and questions that nothing answers."""
        known, matching = read_knowledge(folder), read_matching(folder.model)
        asked = known.asked.evaluate
        if sum(each.entry is not None for each in asked) < 2:
            raise DataError(
                "Fewer than two paraphrases are held out to be asked",
                fix="Give paraphrases, or raise evaluate_fraction.",
            )
        entries, classifier = known.entries, load_classifier(folder.model)
        matcher = Matcher(entries, build_scorers(entries, known.asked.train, classifier), matching.mixture)
        floor = _build_floor(known)
        ours = evaluate(str(folder.model), matcher, asked)
        found = [measure_handoffs(name, each, asked) for name, each in (("ours", matcher), ("BM25", floor))]

        def add(page: Page) -> None:
            page.heading("Handed off to a person")
            if len(found[0].outside):
                page.chart(draw_curve(found))
            _add_examples(page, matcher, known, matching.threshold)

        notes = _describe(matcher, known, matching.threshold, found)
        if folder.settings.answers == GENERATED:
            notes.append(_describe_writer(_load_writer(folder), known))
        return Findings("Customer service", ours, [evaluate("BM25", floor, asked)], notes, add)

    def run(self, folder: _Folder, address: Address) -> None:
        """The page of customers and that of people who answer; one process per folder."""
        settings = folder.settings
        known, matching = read_knowledge(folder), read_matching(folder.model)
        redact = find_redaction(settings.redact)
        with (
            alone(folder.path),
            FeedbackStore(folder.file(settings.feedback), redact=redact) as store,
            contextlib.closing(Conversations(folder.file(settings.audit), redact or str)) as conversations,
        ):

            def make_routes(service: Service, version: Version) -> Sequence[Route]:
                from gpt_lightning.apps.support.service import SupportEndpoints

                matcher = Matcher(
                    known.entries, build_scorers(known.entries, known.everything, _classifier_of(version)),
                    matching.mixture,
                )  # fmt: skip
                writer = _load_writer(folder) if settings.answers == GENERATED else None
                word = writer.write if writer is not None else None
                assistant = Assistant(known.entries, matcher, matching.threshold, settings, word)
                named = str(folder.file(settings.writer)) if writer is not None else ""
                origin = Origin(version.source, version.fingerprint, named)
                desk = SupportDesk(assistant, conversations, store, origin, consent=settings.consent)
                token = os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(12)
                sys.stdout.write(f"People who answer: /agent#{token}\n")
                return SupportEndpoints(service, desk, token, consent=settings.consent).routes

            serve_model(self.name, str(folder.model), address, make_routes, _make_desk(store, settings))


APPLICATION = Support()


def _make_desk(store: FeedbackStore, settings: SupportSettings) -> Desk:
    check_installed()
    from gpt_lightning.serving.feedback import Desk

    return Desk(store, consent=settings.consent)


def _classifier_of(version: Version) -> Classifier:
    if version.classifier is None:
        raise CheckpointError(f"{version.source} labels nothing", fix="Train it: gpt-lightning app support train.")
    return version.classifier


def _build_floor(known: Knowledge) -> Matcher:
    """BM25 alone, calibrated as ours is; the order of its answers is that of the scores."""
    words = Words(known.entries, known.asked.train)
    scorers = [words, Coverage(words)]
    return Matcher(known.entries, scorers, fit_mixture(known.entries, scorers, known.asked.calibrate))


def _describe(matcher: Matcher, known: Knowledge, threshold: float, found: Sequence[HandOffs]) -> list[str]:
    """The error rate at the threshold that was chosen, and what handing off catches, beside the floor."""
    asked = [(each.text, each.entry) for each in known.asked.evaluate if each.entry is not None]
    likely = matcher.match([text for text, _ in asked])
    sure = likely.max(axis=1) >= threshold
    right = likely.argmax(axis=1) == np.array([entry for _, entry in asked])
    ours = found[0]
    notes = [
        f"Handed off where the likeliest answer has a probability below {threshold:.3f}: of {len(asked):,} questions "
        f"that have an answer {100 * (~sure).mean():.1f} % are handed off needlessly, "
        f"{100 * (sure & right).mean():.1f} % are answered rightly and {100 * (sure & ~right).mean():.1f} % wrongly."
    ]
    if len(ours.outside):
        caught = ", ".join(f"{100 * each.caught(MOST_NEEDLESS):.1f} % by {each.name}" for each in found)
        notes.append(
            f"Of {len(ours.outside):,} questions that have none {100 * (ours.outside < threshold).mean():.1f} % are "
            f"handed off; at {100 * MOST_NEEDLESS:.0f} % needless hand-offs {caught}."
        )
    return notes


def _load_writer(folder: _Folder) -> Writer:
    return Writer(load_model(folder.file(folder.settings.writer)))


def _describe_writer(writer: Writer, known: Knowledge) -> str:
    """How often the writer's own words are the right answer, told it; retrieval has no part in this."""
    asked = [(each.text, known.entries[each.entry].answer) for each in known.asked.evaluate if each.entry is not None]
    some = asked[:: max(1, len(asked) // _DRAFTS)]
    drafts = [(writer.draft(text, answer), answer) for text, answer in some]
    same = sum(normalize(draft) == normalize(answer) for draft, answer in drafts) / len(drafts)
    said = sum(agree(draft, answer) >= LEAST_AGREEMENT for draft, answer in drafts) / len(drafts)
    return (
        f"Told the right answer, the writer repeats it word by word to {100 * same:.1f} % of {len(drafts):,} "
        f"questions; {100 * said:.1f} % of its drafts agree with it well enough to be said, and in place of the "
        "others stands the known answer."
    )


def _add_examples(page: Page, matcher: Matcher, known: Knowledge, threshold: float) -> None:
    asked = known.asked.evaluate
    some = asked[:: max(1, len(asked) // _EXAMPLES)]
    rows: list[list[object]] = []
    for each, row in zip(some, matcher.match([each.text for each in some]), strict=True):
        best = int(row.argmax())
        right = "" if each.entry is None else known.entries[each.entry].wordings[0][0]
        said = known.entries[best].wordings[0][0] if row[best] >= threshold else "a person"
        rows.append([each.text, said, float(row[best]), right or "nothing answers it"])
    page.heading("Examples")
    page.table(["question", "answered as", "probability", "right would be"], rows)

"""What is said to a customer: an answer, or that a person answers, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gpt_lightning.apps.support.matching import Matcher
from gpt_lightning.apps.support.records import Entry, SupportSettings, detect_language
from gpt_lightning.apps.words import WordLists

UNSURE, ENTRY, WISH = "unsure", "entry", "wish"
"""Reasons for a person beside the rules': no answer is sure, the entry says so, the customer does."""
_LEAST_OFFERED = 0.1
"""Probability of a question that a customer may have meant."""


@dataclass(frozen=True)
class Candidate:
    """An entry that may answer.

    Attributes:
        entry: Its id.
        question: How it is asked.
        answer: What it says.
        probability: That it is the right one.
    """

    entry: str
    question: str
    answer: str
    probability: float


@dataclass(frozen=True)
class Reply:
    """What is said.

    Attributes:
        text: To the customer.
        reason: Why a person takes over; "" = nobody has to.
        language: zh or en.
        candidates: The likeliest entries, the likeliest first.
    """

    text: str
    reason: str
    language: str
    candidates: tuple[Candidate, ...]

    @property
    def offered(self) -> tuple[str, ...]:
        """Ids of the entries of which the customer is asked whether one was meant."""
        likely = [each.entry for each in self.candidates if each.probability >= _LEAST_OFFERED]
        return tuple(likely) if self.reason == UNSURE else ()


class Assistant:
    """Answers where it is sure.

    Args:
        entries: What can be answered.
        matcher: Finds which.
        threshold: Of the probability from which an answer is sure enough.
        settings: Rules, texts, how many candidates.
        word: From a question and the known answer to what is said; None = the known answer.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        matcher: Matcher,
        threshold: float,
        settings: SupportSettings,
        word: Callable[[str, str], str] | None = None,
    ) -> None:
        self._word = word or _quote
        self._entries = {each.id: each for each in entries}
        self._order, self._matcher, self._settings = list(entries), matcher, settings
        self._rules = WordLists(settings.rules)
        self.threshold = threshold

    def reply(self, text: str) -> Reply:
        """What is said to a message: rules come first, then the entry that is likeliest, if it is likely enough."""
        language, found = detect_language(text), self.suggest(text)
        broken = self._rules.find(text)
        if broken:
            return self._hand_off(broken[0], language, found)
        if not found or found[0].probability < self.threshold:
            return self._hand_off(UNSURE, language, found)
        return self._answer(text, found[0], language, found)

    def suggest(self, text: str) -> tuple[Candidate, ...]:
        """The likeliest entries, the likeliest first."""
        row = self._matcher.match([text])[0]
        best = np.argsort(-row, kind="stable")[: self._settings.suggestions]
        return tuple(self._describe(self._order[int(each)], float(row[each])) for each in best if row[each] > 0)

    def choose(self, entry: str, language: str) -> Reply | None:
        """What is said where the customer has told which entry was meant; None where there is none of that id."""
        if entry not in self._entries:
            return None
        chosen = self._describe(self._entries[entry], 1.0)
        return self._answer(chosen.question, chosen, language, (chosen,))

    def call_person(self, language: str) -> Reply:
        """What is said to a customer who wishes for a person."""
        return self._hand_off(WISH, language, ())

    def _answer(self, text: str, best: Candidate, language: str, found: tuple[Candidate, ...]) -> Reply:
        reason = ENTRY if self._entries[best.entry].handoff else ""
        return Reply(self._word(text, best.answer), reason, language, found)

    def _hand_off(self, reason: str, language: str, found: tuple[Candidate, ...]) -> Reply:
        return Reply(self._settings.handoff_texts[language], reason, language, found)

    def _describe(self, entry: Entry, probability: float) -> Candidate:
        return Candidate(entry.id, entry.wordings[0][0], entry.answer, round(probability, 6))


def _quote(question: str, known: str) -> str:
    return known

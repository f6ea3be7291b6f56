"""Answers in a model's own words: fine-tuned on questions, told the known answer, and held to it.

A draft that shares too few words with the known answer is not said; the known answer is. So a writer changes how things
are said, and what is said no further than that.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

from gpt_lightning.apps.support.knowledge import Knowledge, SupportFolder
from gpt_lightning.apps.support.retrieval import tokenize
from gpt_lightning.apps.training import fit_model
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.generation.chat import Chat
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.weights.loading import LoadedModel

DIALOGUES_FILE = "dialogues.jsonl"
LEAST_AGREEMENT = 0.7
"""From which a draft is said."""


class Writer:
    """Writes answers.

    Args:
        loaded: A model that chats.
        max_tokens: Most tokens of an answer.
    """

    def __init__(self, loaded: LoadedModel, max_tokens: int = 200) -> None:
        self._loaded, self._max_tokens = loaded, max_tokens

    def draft(self, question: str, known: str) -> str:
        """The likeliest words, token by token; empty where question and answer are too long for the model.

        Args:
            question: The customer's.
            known: What answers it.
        """
        chat = Chat(self._loaded, sampling=Sampling(temperature=0.0), max_tokens=self._max_tokens, system=known)
        try:
            return "".join(chat.ask(question)).strip()
        except DataError:
            return ""

    def write(self, question: str, known: str) -> str:
        """The draft where it agrees with the known answer, else that."""
        draft = self.draft(question, known)
        return draft if agree(draft, known) >= LEAST_AGREEMENT else known


def agree(draft: str, known: str) -> float:
    """F1 of the words of two texts, 0 to 1; of Chinese, characters and pairs of neighbours.

    >>> agree("You pay by card.", "By card."), agree("No.", "By card.")
    (0.6666666666666666, 0.0)
    """
    first, second = Counter(tokenize(draft)), Counter(tokenize(known))
    return 2 * (first & second).total() / max(1, first.total() + second.total())


def train_writer(folder: SupportFolder, known: Knowledge) -> None:
    """Fine-tune the writer on all questions that are learned.

    Raises:
        UserError: As of ``fit_model``.
    """
    settings, file = folder.settings, folder.path / DIALOGUES_FILE
    rows = [
        {
            "messages": [
                {"role": "system", "content": known.entries[each.entry].answer},
                {"role": "user", "content": each.text},
                {"role": "assistant", "content": known.entries[each.entry].answer},
            ]
        }
        for each in known.asked.train
        if each.entry is not None
    ]
    write_text_durably(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    own = dataclasses.replace(folder, settings=dataclasses.replace(settings, fit=settings.writer_fit))
    data = {"data.source": str(file), "data.packing": "Document", "data.layout": "Conversation"}
    fit_model(own, settings.fit, data, {"data.val_fraction": 0.0, "model.objective": "SFT"}, model=settings.writer)

"""Settings of the customer service, and what it can answer: questions and answers, dialogues, questions of nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt_lightning.apps.application import AppSettings
from gpt_lightning.data.layouts.base import normalize
from gpt_lightning.data.readers.readers import Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.parsing.strict_yaml import read_yaml

ENTRY, OUTSIDE = "question and answer", "question"
_FIELDS = (
    "id", "question", "answer", "paraphrases", "topic", "language", "handoff", "messages", "prompt", "completion",
)  # fmt: skip
_SHAPES = (
    'question and answer (paraphrases, topic, language, handoff, id), {"messages": [...]}, or prompt and completion'
)
_RULES = {
    "person": ("human", "real person", "operator", "speak to someone", "talk to someone", "representative", "人工",
               "真人", "转接客服"),
    "angry": ("ridiculous", "outrageous", "unacceptable", "fed up", "worst", "scam", "骗子", "气死", "太差", "投诉",
              "垃圾"),
    "legal": ("lawyer", "attorney", "sue", "court", "legal action", "律师", "起诉", "法院", "消协"),
}  # fmt: skip
_HANDOFF_TEXTS = {
    "en": "I hand this to a colleague, who answers here.",
    "zh": "我请同事来回答您，请稍候。",
}


@dataclass(frozen=True)
class SupportSettings(AppSettings):
    """Of the customer service.

    Args:
        faq: Files (.jsonl, .csv, .yaml ...) of what can be answered. Rows of question and answer, and where there are
            any paraphrases, topic, language, handoff (true = a person answers) and id; a paraphrase may be a list of
            variants. Or dialogues, {"messages": [...]}, as OpenAI writes them. What has the same answer is one entry.
        outside: File of questions that nothing answers, to learn when to hand off; "" = none.
        evaluate_fraction: Share of the paraphrases, by their hash, that evaluate asks and nothing learns.
        calibrate_fraction: Share of them that probabilities are calibrated on.
        needless_handoffs: Share of the questions there is an answer to that may be handed off for being unsure of it.
        rules: Reason -> words; a message with one of them is handed off, whatever can be answered.
        suggestions: How many answers a person is suggested, and questions a customer where the model is unsure.
        handoff_texts: Language -> what a customer is told who is handed off.
        audit: File of everything that was asked, answered, decided and seen, a line each; also what a restart goes on
            from.
        feedback: File of answers and what was said about them, for gpt-lightning feedback and continual.
        consent: Whether what customers and people write may be trained on; the page tells customers so.
        redact: What is taken out of texts in the files of audit and feedback: none, contacts (e-mail addresses, long
            numbers), or package.module.function. What is taken out is not shown to people who answer after a restart.

    Raises:
        ConfigError: A number is out of range.
    """

    faq: tuple[str, ...] = ("faq.jsonl",)
    outside: str = ""
    evaluate_fraction: float = 0.5
    calibrate_fraction: float = 0.15
    needless_handoffs: float = 0.08
    rules: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(_RULES))
    suggestions: int = 3
    handoff_texts: dict[str, str] = field(default_factory=lambda: dict(_HANDOFF_TEXTS))
    audit: str = "audit.jsonl"
    feedback: str = "feedback.db"
    consent: bool = False
    redact: str = "none"

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("evaluate_fraction", "calibrate_fraction")}
        wrong = next((name for name, share in shares.items() if not 0 < share < 1), None)
        if wrong is not None or sum(shares.values()) >= 1:
            raise ConfigError(
                "evaluate_fraction and calibrate_fraction are shares of one whole",
                got=", ".join(f"{name}={share}" for name, share in shares.items()),
                allowed="more than 0, less than 1 together",
            )
        if not 0 <= self.needless_handoffs < 1:
            raise ConfigError("needless_handoffs is a share", got=self.needless_handoffs, allowed="0 to less than 1")
        missing = next((each for each in _HANDOFF_TEXTS if not self.handoff_texts.get(each)), None)
        if missing is not None:
            raise ConfigError("handoff_texts has a text for each language", got=f"none for {missing}", allowed="en, zh")
        if self.suggestions < 1:
            raise ConfigError("suggestions is a count", got=self.suggestions, allowed="1 or more")


Wording = tuple[str, ...]
"""Variants of one way to ask; they are learned or held out together."""


@dataclass(frozen=True)
class Entry:
    """Something that can be answered.

    Attributes:
        id: How others name it.
        answer: What is said.
        wordings: Ways to ask, the question itself first.
        topic: What it is about; "" = not told.
        language: zh or en.
        handoff: Whether a person takes over behind the answer.
    """

    id: str
    answer: str
    wordings: tuple[Wording, ...]
    topic: str = ""
    language: str = "en"
    handoff: bool = False


@dataclass(frozen=True)
class Asked:
    """A question of which is known what answers it.

    Attributes:
        text: The question.
        entry: Place of the entry that answers it; None = nothing does.
    """

    text: str
    entry: int | None


@dataclass(frozen=True)
class Divided:
    """What is learned, calibrated on, and asked in the evaluation."""

    train: list[Asked]
    calibrate: list[Asked]
    evaluate: list[Asked]


def detect_language(text: str) -> str:
    """Zh where a fifth of the letters or more are Chinese characters, else en.

    >>> detect_language("我的 iPhone 订单到哪里了"), detect_language("Where is my order?"), detect_language("42")
    ('zh', 'en', 'en')
    """
    letters = [each for each in text if each.isalpha()]
    chinese = sum("\u3400" <= each <= "\u9fff" for each in letters)
    return "zh" if letters and chinese >= 0.2 * len(letters) else "en"


def read_entries(paths: Sequence[Path]) -> list[Entry]:
    """What can be answered, in the order of the files.

    Raises:
        DataError: A file cannot be read, a row is neither an entry nor a dialogue, or there are fewer than two entries.
    """
    found: dict[tuple[str, str], Entry] = {}
    for path in paths:
        for name, row in _read_rows(path):
            for entry in _parse(name, row):
                key = normalize(entry.answer), entry.language
                found[key] = _merge(found[key], entry) if key in found else entry
    entries = list(found.values())
    if len(entries) < 2:
        raise DataError("There are fewer than two answers", got=len(entries), fix="Give more rows in the files of faq.")
    names = [each.id for each in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError("Two answers have one id", got=twice, fix="Give each answer an id of its own, or none.")
    return entries


def read_outside(path: Path) -> list[str]:
    """Questions that nothing answers.

    Raises:
        DataError: The file cannot be read, or a row has no question.
    """
    return [_take_text(name, row, "question", OUTSIDE) for name, row in _read_rows(path)]


def divide(entries: Sequence[Entry], outside: Sequence[str], settings: SupportSettings) -> Divided:
    """Every wording on one side, by its hash: the same one whatever else there is.

    Questions themselves are learned. Of a wording that is held out the first variant is asked: each counts once.
    """
    divided = Divided([], [], [])
    for number, entry in enumerate(entries):
        first, *others = entry.wordings
        divided.train.extend(Asked(text, number) for text in first)
        for wording in others:
            side = _choose(divided, wording[0], settings)
            kept = wording[:1] if side is divided.evaluate else wording
            side.extend(Asked(text, number) for text in kept)
    for text in outside:
        side = _choose(divided, text, settings)
        # Nothing learns them: what is not asked calibrates.
        (side if side is divided.evaluate else divided.calibrate).append(Asked(text, None))
    return divided


def _choose(divided: Divided, text: str, settings: SupportSettings) -> list[Asked]:
    place = int.from_bytes(hashlib.sha256(normalize(text).encode()).digest()[:4], "big") / (1 << 32)
    if place < settings.evaluate_fraction:
        return divided.evaluate
    return divided.calibrate if place < settings.evaluate_fraction + settings.calibrate_fraction else divided.train


def _read_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and fields of every row."""
    if path.suffix in (".yaml", ".yml"):
        rows = read_yaml(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{path} is no list of rows", allowed=_SHAPES)
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))
        return
    for reader in open_sources([str(path)], Reading("file", "", "utf-8", fields=_FIELDS)):
        yield from ((document.name, document.fields) for document in reader.iterate_documents())


def _parse(name: str, row: Mapping[str, Any]) -> Iterator[Entry]:
    if row.get("messages"):
        yield from _parse_dialogue(name, row["messages"])
        return
    asked, answered = ("prompt", "completion") if "completion" in row else ("question", "answer")
    question, answer = (_take_text(name, row, each, ENTRY) for each in (asked, answered))
    handoff = row.get("handoff") or False
    if handoff not in (True, False, "true", "false"):
        raise DataError(f"{name} has another handoff", got=handoff, allowed="true, false")
    others = tuple(_parse_wording(name, each) for each in _list_paraphrases(row.get("paraphrases")))
    yield _make_entry(
        question, answer, others, row.get("id"), str(row.get("topic") or ""), row.get("language"),
        handoff in (True, "true"),
    )  # fmt: skip


def _parse_dialogue(name: str, messages: Any) -> Iterator[Entry]:
    """What was answered in a dialogue, each answer to the message before it."""
    for before, message in zip([{}, *messages], messages, strict=False):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise DataError(f"{name} has a message that is none", got=message, allowed="role and content")
        if message["role"] == "assistant" and before.get("role") == "user" and message.get("weight", 1):
            question, answer = (_take_text(name, each, "content", "role and content") for each in (before, message))
            yield _make_entry(question, answer)


def _make_entry(
    question: str,
    answer: str,
    others: tuple[Wording, ...] = (),
    name: Any = None,
    topic: str = "",
    language: Any = None,
    handoff: bool = False,
) -> Entry:
    spoken = str(language) if language else detect_language(question)
    made = hashlib.sha256(f"{spoken}\n{normalize(answer)}".encode()).hexdigest()[:8]
    return Entry(str(name) if name else made, answer, ((question,), *others), topic, spoken, handoff)


def _merge(first: Entry, second: Entry) -> Entry:
    known = {normalize(text) for wording in first.wordings for text in wording}
    new = tuple(each for each in second.wordings if normalize(each[0]) not in known)
    return Entry(first.id, first.answer, first.wordings + new, first.topic, first.language,
                 first.handoff or second.handoff)  # fmt: skip


def _list_paraphrases(value: Any) -> Sequence[Any]:
    """A list, or of a table's cell the parts between bars."""
    if value is None:
        return ()
    if isinstance(value, str):
        return [each.strip() for each in value.split("|") if each.strip()]
    return value if isinstance(value, list) else [value]


def _parse_wording(name: str, value: Any) -> Wording:
    variants = value if isinstance(value, list) else [value]
    if not variants or not all(isinstance(each, str) and each.strip() for each in variants):
        raise DataError(f"{name} has a paraphrase that is none", got=value, allowed="a text, or a list of texts")
    return tuple(" ".join(each.split()) for each in variants)


def _take_text(name: str, row: Mapping[str, Any], key: str, allowed: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(
            f"{name} has no text in {key!r}", got=value, allowed=allowed,
            fix=f"Rows are {_SHAPES}." if allowed == ENTRY else "Correct the row.",
        )  # fmt: skip
    return " ".join(value.split()) if key != "answer" else value.strip()

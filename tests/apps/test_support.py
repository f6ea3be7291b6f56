"""Customer service: what it reads, how near an answer is, how sure it is, and its commands."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from jaxtyping import Float

from gpt_lightning import cli
from gpt_lightning.apps.support.figures import HandOffs, evaluate, find_threshold
from gpt_lightning.apps.support.matching import Matcher, Mixture, fit_mixture
from gpt_lightning.apps.support.records import Asked, Entry, SupportSettings, divide, read_entries, read_outside
from gpt_lightning.apps.support.retrieval import Coverage, Scorer, Words, tokenize
from gpt_lightning.errors import ConfigError, DataError

_TINY = [
    *("--set", "fit.trainer.max_steps=2"),
    *("--set", "fit.data.tokenizer=bytes"),
    *("--set", "fit.data.batch_size=8"),
    *("--set", "fit.trainer.enable_progress_bar=false"),
    *("--set", "fit.model.config={n_layer: 1, n_head: 2, n_embd: 16}"),
]
_ENTRIES = [
    Entry("back", "In 30 days.", (("How long can I return it?",), ("until when may it go back",))),
    Entry("pay", "By card.", (("How can I pay?",), ("which cards do you take",))),
    Entry("pay-zh", "刷卡。", (("怎么付款？",),), language="zh"),
]


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_files_of_every_kind_become_the_same_entries(tmp_path: Path) -> None:
    row = {"question": "How can I pay?", "answer": "By card.", "topic": "money", "handoff": True}
    wordings = ["which cards", "cards?"]
    (tmp_path / "a.yaml").write_text(
        json.dumps([{**row, "paraphrases": wordings}, {"question": "怎么付", "answer": "刷卡"}])
    )
    (tmp_path / "a.csv").write_text(
        "question,answer,topic,handoff,paraphrases\n"
        "How can I pay?,By card.,money,true,which cards | cards?\n怎么付,刷卡,,,\n",
        encoding="utf-8",
    )
    write(tmp_path / "a.jsonl", {**row, "paraphrases": wordings}, {"question": "怎么付", "answer": "刷卡"})
    found = {kind: read_entries([tmp_path / f"a.{kind}"]) for kind in ("yaml", "csv", "jsonl")}
    assert found["yaml"] == found["csv"] == found["jsonl"]
    first, second = found["csv"]
    assert first.wordings == (("How can I pay?",), ("which cards",), ("cards?",))
    assert (first.topic, first.language, first.handoff) == ("money", "en", True)
    assert (second.language, second.handoff) == ("zh", False)


def test_dialogues_and_corrections_are_entries_and_equal_answers_are_one(tmp_path: Path) -> None:
    dialogue = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "can I pay by card"},
        {"role": "assistant", "content": "No idea.", "weight": 0},
        {"role": "user", "content": "cards?"},
        {"role": "assistant", "content": "by  card."},
    ]
    faq = write(tmp_path / "faq.jsonl", {"question": "How can I pay?", "answer": "By card."})
    more = write(tmp_path / "more.jsonl", {"messages": dialogue}, {"prompt": "open?", "completion": "From 9."})
    first, second = read_entries([faq, more])
    assert (first.answer, first.wordings) == ("By card.", (("How can I pay?",), ("cards?",)))
    assert (second.answer, second.wordings) == ("From 9.", (("open?",),))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"question": "a", "answer": "b"}], ("fewer than two answers",)),
        ([{"question": "a"}, {"question": "b", "answer": "c"}], ("row 1", "'answer'", "question and answer")),
        ([{"question": "a", "answer": "b", "paraphrases": [3]}], ("paraphrase", "3")),
        ([{"question": "a", "answer": "b", "handoff": "maybe"}], ("handoff", "maybe", "true, false")),
        ([{"messages": [{"role": "user"}]}], ("message", "role and content")),
        ([{"question": x, "answer": x, "id": "one"} for x in "ab"], ("one id",)),
    ],
)
def test_rows_that_are_none_are_named(tmp_path: Path, rows: list[object], words: tuple[str, ...]) -> None:
    (tmp_path / "faq.yaml").write_text(json.dumps(rows))
    with pytest.raises(DataError) as caught:
        read_entries([tmp_path / "faq.yaml"])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_each_wording_is_on_one_side_wherever_it_stands() -> None:
    entries = [
        Entry(str(n), str(n), ((f"question {n}",), *((f"wording {n} {m}",) for m in range(20)))) for n in range(30)
    ]
    outside = [f"outside {n}" for n in range(100)]
    whole = divide(entries, outside, SupportSettings())
    sides = [{each.text for each in side} for side in (whole.train, whole.calibrate, whole.evaluate)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 730
    assert all(f"question {n}" in sides[0] for n in range(30))
    assert not any(each.entry is None for each in whole.train)
    assert len([each for each in whole.evaluate if each.entry is not None]) == pytest.approx(300, abs=40)
    fewer = divide(entries[7:], outside[:5], SupportSettings())
    assert {each.text for each in fewer.evaluate} <= sides[2]
    with pytest.raises(ConfigError, match=r"evaluate_fraction=0\.9, calibrate_fraction=0\.1"):
        SupportSettings(evaluate_fraction=0.9, calibrate_fraction=0.1)


def test_variants_of_a_wording_stay_together() -> None:
    entries = [Entry(str(n), str(n), ((f"q {n}",), (f"a {n}", f"b {n}", f"c {n}"))) for n in range(60)]
    divided = divide(entries, [], SupportSettings())
    learned = Counter(each.entry for each in divided.train)
    assert set(learned.values()) == {1, 4}
    asked = {each.entry for each in divided.evaluate}
    assert {each.text for each in divided.evaluate} == {f"a {n}" for n in asked}
    assert all(learned[n] == 1 for n in asked)


def test_bm25_is_its_formula() -> None:
    known = [Asked(text, number) for number, entry in enumerate(_ENTRIES) for (text,) in entry.wordings]
    documents = [[t for each in known if each.entry == n for t in tokenize(each.text)] for n in range(3)]
    mean = sum(map(len, documents)) / 3
    texts = ["Can I pay by card later?", "how long how long", "付款方式", "", "zebra"]

    def score(query: list[str], document: list[str]) -> float:
        total = 0.0
        for token in query:
            containing, tf = sum(token in each for each in documents), document.count(token)
            rarity = math.log(1 + (3 - containing + 0.5) / (containing + 0.5))
            total += rarity * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * len(document) / mean))
        return total

    words = Words(_ENTRIES, known)
    expected = [[score(tokenize(text), document) for document in documents] for text in texts]
    assert words(texts) == pytest.approx(np.array(expected), abs=1e-5)
    share = Coverage(words)(texts)
    assert share.min() >= 0
    assert share.max() < 1
    assert share[4].tolist() == [0, 0, 0]
    assert (share[0].argmax(), share[0, 1] < share[1, 0]) == (1, True)  # "later" is known to nobody


class Planted(Scorer):
    """Scores that a test has made."""

    name: ClassVar[str] = "planted"

    def __init__(self, scores: Float[np.ndarray, "texts entries"]) -> None:
        self._scores = scores

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "texts entries"]:
        return self._scores[[int(text) for text in texts]]


class Noise(Planted):
    name: ClassVar[str] = "noise"


def test_a_mixture_finds_the_weights_that_made_the_answers() -> None:
    random = np.random.default_rng(0)
    entries = [Entry(str(n), str(n), ((str(n),),)) for n in range(6)]
    scores, noise = random.normal(size=(4000, 6)), 100 * random.normal(size=(4000, 6))
    told = np.concatenate([2.0 * scores, np.full((4000, 1), 0.7)], axis=1)
    chances = np.exp(told) / np.exp(told).sum(axis=1, keepdims=True)
    right = [int(random.choice(7, p=row)) for row in chances]
    asked = [Asked(str(n), None if each == 6 else each) for n, each in enumerate(right)]
    scorers = [Planted(scores), Noise(noise)]
    mixture = fit_mixture(entries, scorers, asked)
    assert mixture.weights["planted"] == pytest.approx(2.0, abs=0.12)
    assert abs(mixture.weights["noise"]) < 0.002
    assert mixture.none == pytest.approx(0.7, abs=0.15)
    found = Matcher(entries, scorers, mixture).match([str(n) for n in range(4000)])
    assert found == pytest.approx(chances[:, :6], abs=0.05)
    with pytest.raises(DataError, match="calibrate"):
        fit_mixture(entries, scorers, [])


def test_without_questions_that_nothing_answers_their_answers_are_taken_away() -> None:
    random = np.random.default_rng(0)
    entries = [Entry(str(n), str(n), ((str(n),),)) for n in range(6)]
    right = random.integers(0, 6, size=400)
    scores = random.normal(size=(400, 6))
    scores[np.arange(400), right] += 8
    matcher = Matcher(entries, [Planted(scores)], mixture := fit_mixture(
        entries, [Planted(scores)], [Asked(str(n), int(each)) for n, each in enumerate(right)]
    ))  # fmt: skip
    assert matcher.match([str(n) for n in range(400)])[np.arange(400), right].mean() > 0.9
    scores[np.arange(400), right] -= 8
    assert Matcher(entries, [Planted(scores)], mixture).match([str(n) for n in range(400)]).max(axis=1).mean() < 0.1


def test_answers_are_in_the_language_of_the_question() -> None:
    matcher = Matcher(_ENTRIES, [Planted(np.zeros((2, 3)))], Mixture({"planted": 1.0}, 0.0))
    assert matcher.match(["0"])[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0])
    matcher = Matcher(
        _ENTRIES, [Coverage(Words(_ENTRIES, [Asked("付款", 2), Asked("pay", 1)]))], Mixture({"coverage": 9.0}, 0.0)
    )
    assert matcher.match(["付款 pay"])[0, :2].tolist() == [0, 0]
    only = Matcher(_ENTRIES[:2], [Planted(np.zeros((2, 2)))], Mixture({"planted": 1.0}, 0.0))
    assert Matcher.match(only, ["0"])[0].sum() == pytest.approx(2 / 3)


def test_thresholds_count_what_is_handed_off() -> None:
    sure = np.array([0.2, 0.9, 0.5, 0.6, 0.4, 0.7, 0.8, 0.3, 0.95, 1.0])
    for needless in (0.0, 0.1, 0.25, 0.3):
        assert (sure < find_threshold(sure, needless)).mean() <= needless
        assert (sure < find_threshold(sure, needless) + 1e-9).mean() > needless
    found = HandOffs("x", sure, np.array([0.1, 0.25, 0.35]))
    assert [round(found.caught(share), 3) for share in (0.0, 0.1, 0.2)] == [0.333, 0.667, 1.0]


def test_an_evaluation_keeps_what_its_figures_need() -> None:
    entries = [Entry(str(n), str(n), ((str(n),),)) for n in range(20)]
    scores = np.random.default_rng(1).normal(size=(200, 20))
    matcher = Matcher(entries, [Planted(scores)], Mixture({"planted": 2.0}, 1.0))
    asked = [Asked(str(n), n % 20) for n in range(200)]
    found = evaluate("x", matcher, [*asked, Asked("0", None)])
    assert found.scores["accuracy"] == pytest.approx(100 * (scores.argmax(axis=1) == np.arange(200) % 20).mean())
    assert max(len(each.outcomes[""].probabilities) for each in found.items) == 6  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for two steps on a part of the sample."""
    place = tmp_path_factory.mktemp("support") / "help"
    assert cli.main(["app", "support", "init", str(place)]) == 0
    for name, rows in (("faq.jsonl", 6), ("outside.jsonl", 40)):
        lines = (place / name).read_text(encoding="utf-8").splitlines()[:rows]
        fewer = [{**row, **({"paraphrases": row["paraphrases"][:12]} if "answer" in row else {})}
                 for row in map(json.loads, lines)]  # fmt: skip
        write(place / name, *fewer)
    assert cli.main(["app", "support", "train", str(place), *_TINY]) == 0
    return place


def test_the_sample_is_large_enough_and_the_same_at_every_call(tmp_path: Path) -> None:
    from gpt_lightning.apps.support.sample import make_sample

    _, files = make_sample()
    assert make_sample()[1] == files
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    entries, outside = read_entries([tmp_path / "faq.jsonl"]), read_outside(tmp_path / "outside.jsonl")
    assert {each.language for each in entries} == {"en", "zh"}
    assert (60 <= len(entries) <= 100, len(outside) >= 200) == (True, True)
    assert min(len(each.wordings) for each in entries) > 20
    assert any(each.handoff for each in entries)
    asked = divide(entries, outside, SupportSettings())
    assert sum(each.entry is None for each in asked.evaluate) >= 100


def test_figures_stand_beside_bm25s(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["app", "support", "evaluate", str(folder)]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if " BM25 " in line and line[0].isalpha()]
    assert [row[0] for row in rows[:2]] == ["accuracy", "calibration_error"]
    assert "questions that have an answer" in out
    assert "at 10 % needless hand-offs" in out
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Handed off to a person" in page
    assert "answered as" in page


def test_mistakes_cost_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change, words in (
        ("faq=[nowhere.jsonl]", "nowhere.jsonl"),
        ("evaluate_fraction=2", "evaluate_fraction=2.0"),
        ("needless_handoffs=-1", "needless_handoffs is a share"),
        ("model=other", "other"),
    ):
        code = cli.main(["app", "support", "evaluate", str(folder), "--set", change])
        err = capsys.readouterr().err
        assert (code in (2, 3), err.count("\n")) == (True, 1), err
        assert words in err


def test_what_cannot_be_calibrated_is_told_before_the_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "plain.jsonl", {"question": "a?", "answer": "b"}, {"question": "c?", "answer": "d"})
    code = cli.main(["app", "support", "train", str(folder), "--set", "faq=[plain.jsonl]", "--set", "model=second"])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (3, 1), err
    assert "too few paraphrases to calibrate on: got 0 (allowed: 5 or more)" in err
    assert not (folder / "second").exists()
    assert cli.main(["app", "support", "run", str(folder), "--set", "model=second"]) == 3
    assert "has not been trained to its end" in capsys.readouterr().err

"""BLEU, chrF and ROUGE against sacrebleu's and rouge-score's public functions, in Chinese too."""

from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from gpt_lightning.errors import ConfigError
from gpt_lightning.metrics.answers import TokenF1
from gpt_lightning.metrics.cutting import choose_cut, cut_text, normalize_answer
from gpt_lightning.metrics.overlap import Answer, Bleu, ChrF, Rouge
from gpt_lightning.metrics.scores import Score, measure_all

ENGLISH = [
    Answer(
        "The quick brown fox jumps over the lazy dog.", ("The fast brown fox leaps over a lazy dog.", "A fox, a dog.")
    ),
    Answer("It rained on Sunday,\nso we stayed at home.", ("We stayed at home.\nIt rained.", "On Sunday it rained.")),
    Answer("", ("Nothing was said.", "Silence.")),
    Answer("one two three four five", ("one two three four five", "five four three two one")),
]
CHINESE = [
    Answer("今天天气很好，我们去公园散步。", ("今天天气真好，我们到公园去散步。",)),
    Answer("他在北京大学学习计算机科学。", ("他在北京大学读计算机专业。",)),
    Answer("这本书的价格是 35 元。", ("这本书卖35元。",)),
]


def measured(score: Score[Answer], answers: list[Answer]) -> dict[str, float]:
    return score.compute(measure_all(score, answers).sum(axis=0))


def columns(answers: list[Answer]) -> tuple[list[str], list[list[str]]]:
    return [a.prediction for a in answers], [list(r) for r in zip(*(a.references for a in answers), strict=True)]


@pytest.mark.parametrize(("answers", "cut"), [(ENGLISH, "13a"), (ENGLISH, "intl"), (CHINESE, "zh"), (CHINESE, "char")])
def test_bleu_is_sacrebleus_with_its_signature(answers: list[Answer], cut: str) -> None:
    predictions, references = columns(answers)
    oracle = BLEU(tokenize=cut)
    bleu = Bleu(cut, len(references))
    assert measured(bleu, answers)["bleu"] == pytest.approx(
        oracle.corpus_score(predictions, references).score, abs=1e-9
    )
    assert bleu.describe() == f"BLEU|{oracle.get_signature()}"


@pytest.mark.parametrize("answers", [ENGLISH, CHINESE])
@pytest.mark.parametrize("word_order", [0, 2])
def test_chrf_is_sacrebleus(answers: list[Answer], word_order: int) -> None:
    oracle = CHRF(word_order=word_order)
    expected = oracle.corpus_score(*columns(answers)).score
    score = ChrF(word_order, len(answers[0].references))
    assert measured(score, answers)["chrf"] == pytest.approx(expected, abs=1e-9)
    assert score.describe() == f"chrF2|{oracle.get_signature()}"


def test_rouge_is_rouge_scores() -> None:
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(kinds)
    each = [scorer.score_multi(list(answer.references), answer.prediction) for answer in ENGLISH]
    expected = {kind: 100 * float(np.mean([scores[kind].fmeasure for scores in each])) for kind in kinds}
    assert measured(Rouge("13a"), ENGLISH) == pytest.approx(expected, abs=1e-9)


def _rouge_by_hand(prediction: list[str], reference: list[str], order: int) -> float:
    """F1 of n-grams by their definition, without rouge-score."""
    first, second = (Counter(zip(*(t[i:] for i in range(order)), strict=False)) for t in (prediction, reference))
    hits = sum((first & second).values())
    return 2 * hits / (sum(first.values()) + sum(second.values()))


def test_chinese_is_counted_by_characters_and_the_default_of_the_libraries_is_zero() -> None:
    scores = {**measured(Bleu("zh"), CHINESE), **measured(Rouge("zh"), CHINESE)}
    cut = [(list(cut_text(a.prediction, "zh")), list(cut_text(a.references[0], "zh"))) for a in CHINESE]
    for order in (1, 2):
        by_hand = np.mean([100 * _rouge_by_hand(*pair, order) for pair in cut])
        assert scores[f"rouge{order}"] == pytest.approx(by_hand)
    assert min(scores.values()) > 25
    wrong = [answer for answer in CHINESE if "35" not in answer.prediction]
    assert measured(Bleu("13a"), wrong)["bleu"] == pytest.approx(0, abs=1e-6)
    assert measured(Rouge("13a"), wrong)["rouge1"] == 0
    assert "tok:zh" in Bleu("zh").describe()
    assert "tok:zh" in Rouge("zh").describe()


def test_a_perfect_chinese_text_has_full_marks() -> None:
    same = [Answer(answer.references[0], answer.references) for answer in CHINESE]
    results = {**measured(Bleu("zh"), same), **measured(ChrF(), same), **measured(Rouge("zh"), same)}
    assert list(results.values()) == pytest.approx([100.0] * len(results))


@pytest.mark.parametrize(
    ("texts", "cut"),
    [
        (["Plain English, one word in Chinese: 好"], "13a"),
        (["Übermäßig schöne Straßen"], "13a"),
        (["今天天气很好"], "zh"),
        (["用 Python 写的程序"], "zh"),
        (["今日はとても天気がいいです"], "char"),
        (["วันนี้อากาศดี"], "char"),
        (["Сегодня хорошая погода"], "intl"),
        (["", "123"], "13a"),
        ([], "13a"),
    ],
)
def test_the_cut_follows_the_text(texts: list[str], cut: str) -> None:
    assert choose_cut(texts) == cut


def test_cuts() -> None:
    assert cut_text("Hello, World-2!", "13a") == ["hello", "world", "2"]
    assert cut_text("用Python 3写，好", "zh") == ["用", "python", "3", "写", "好"]
    assert cut_text("Größe: 3", "intl") == ["größe", "3"]
    assert cut_text("a b。", "char") == ["a", "b", "。"]
    assert normalize_answer("The cat's  hat!", "13a") == ["cats", "hat"]
    assert normalize_answer("“北京”，2008年", "zh") == ["北", "京", "2008", "年"]


def test_nothing_measured_is_nan() -> None:
    for score in (Bleu("13a"), ChrF(), Rouge("13a")):
        assert all(np.isnan(value) for value in score.compute(np.zeros(score.size)).values())


def test_an_unknown_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"got 'chinese' \(allowed: auto, 13a, intl, zh, char\)"):
        Rouge("chinese")


def test_without_the_extra_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("gpt_lightning.parsing.extras.importlib.import_module", fail)
    with pytest.raises(ConfigError, match=r"pip install 'gpt-lightning\[eval\]'"):
        Bleu("13a")


# Devanagari, Bengali, Tamil, Vietnamese and French: each pair differs in vowel signs or accents only.
SIGNS = {
    "hindi": ("कि की कु के को", "का कै कू कं कौ"),
    "bengali": ("কি কী কু কে কো", "কা কৈ কূ কং কৌ"),
    "tamil": ("கி கீ கு கே கோ", "கா கை கூ கெ கௌ"),
    "vietnamese": ("má mà mả mã mạ", "mâ mă ma mấ mầ"),
    "french": ("été où là ça dû", "ete ou la ca du"),
    "arabic": ("كَتَبَ عِلم حُب قَلم دَرس", "كُتِبَ عَلم حِب قِلم دُرس"),
}


@pytest.mark.parametrize("language", SIGNS)
def test_words_are_letters_with_their_marks(language: str) -> None:
    text, other = SIGNS[language]
    cut = choose_cut([text], of_words=True)
    assert cut == "intl"
    for form in ("NFC", "NFD"):
        answers = [Answer(unicodedata.normalize(form, each), (text,)) for each in (other, text)]
        for score in (Rouge(cut), TokenF1(cut)):
            wrong, right = (score.compute(np.array(score.measure(each))) for each in answers)
            assert set(wrong.values()) == {0.0}, "five other words"
            assert set(right.values()) == {100.0}
    assert len(cut_text(text, cut)) == 5


def test_marks_without_a_letter_make_no_word() -> None:
    assert cut_text("☺\ufe0f 你\ufe0f好 naïve", "zh") == ["你", "好", "naïve"]
    assert cut_text("क\u200dष \u200d", "intl") == ["क\u200dष"]


def test_a_few_foreign_names_leave_english_as_published() -> None:
    assert (
        choose_cut(
            ["Beyoncé sang a song that everybody knew by heart. " + "the cat sat on the mat " * 20], of_words=True
        )
        == "13a"
    )
    german = ["Die Bäume blühen, und die Vögel singen im Garten der Großmutter."]
    assert (choose_cut(german), choose_cut(german, of_words=True)) == ("13a", "intl")

"""The sample: made-up opinions about an economy, English and Chinese, and a week of them with one turn of the mood.

Sentences are put together from parts, so a lexicon of their words is right about most and wrong where a sentence turns
them round ("no longer falls"): what a classifier can learn, and a floor cannot know.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from gpt_lightning.apps.watch.records import show_time

START = 1_767_571_200.0
"""Monday, 2026-01-05, UTC."""
TURN_HOURS = range(120, 128)
"""Hours in which the mood about energy is another."""
_HOURS, _TEXTS_AN_HOUR, _LABELLED = 168, 90, 3000
_TOPICS = {
    "rates": (["the central bank", "bond yields", "mortgage rates", "the rate decision"],
              ["央行", "利率", "房贷利率", "国债收益率"]),
    "earnings": (["quarterly profit", "the earnings report", "guidance for the year", "the dividend"],
                 ["季度利润", "财报", "全年指引", "分红"]),
    "energy": (["crude oil", "the gas price", "the grid operator", "power demand"],
               ["原油", "天然气价格", "电网", "用电需求"]),
}  # fmt: skip
_WORDS = {
    "positive": (["rallies", "beats forecasts", "recovers strongly", "looks solid", "is a relief for investors",
                  "rises to a record"],
                 ["大涨", "超出预期", "强劲回升", "表现稳健", "让投资者松了口气", "创新高"]),
    "neutral": (["is due on Tuesday", "was published today", "stays where it was", "is on the agenda",
                 "was discussed at length"],
                ["将于周二公布", "今日发布", "与此前持平", "列入议程", "引发讨论"]),
    "negative": (["slumps", "misses forecasts", "worries analysts", "falls to a low", "is a blow to confidence",
                  "looks fragile"],
                 ["大跌", "不及预期", "令分析师担忧", "跌至低点", "打击信心", "显得脆弱"]),
}  # fmt: skip
_TURNED = {
    "positive": (["no longer slumps", "shrugs off the worries", "is anything but fragile"],
                 ["不再大跌", "摆脱担忧", "一点也不脆弱"]),
    "negative": (["no longer rallies", "fails to beat forecasts", "is far from solid"],
                 ["不再大涨", "未能超出预期", "谈不上稳健"]),
}  # fmt: skip
_BEGINNINGS = (["", "Again ", "This morning ", "As expected, ", "To my mind ", "Hard to believe: "],
               ["", "今天", "看来", "果然，", "据说", "没想到"])  # fmt: skip
_ENDS = (
    ["", ".", ", says a trader", ", and volumes are thin", "!", " #markets"],
    ["", "。", "，成交清淡", "！", "，市场在看", "…"],
)
_LEXICON = {
    1: "rallies beats strongly solid relief record 大涨 超出预期 强劲 稳健 新高",
    -1: "slumps misses worries low blow fragile 大跌 不及预期 担忧 低点 脆弱",
}


def make_sample() -> tuple[dict[str, Any], dict[str, str]]:
    """Settings, and files by name."""
    draw = random.Random("watch")
    labelled = list(dict.fromkeys(_write(draw, ()) for _ in range(_LABELLED)))
    rows = [{"text": text, "mood": mood, "topics": list(topics)} for text, mood, topics in labelled]
    cut = len(rows) * 4 // 5
    files = {
        "train.jsonl": _lines(rows[:cut]),
        "test.jsonl": _lines(rows[cut:]),
        "lexicon.tsv": "".join(f"{word}\t{weight}\n" for weight, words in _LEXICON.items() for word in words.split()),
        "stream.jsonl": _lines(list(_stream(draw))),
    }
    fit = {
        "data.tokenizer": "bpe:512:chinese",
        "data.block_size": 64,
        "data.batch_size": 32,
        "data.eval_batch_size": 64,
        "model.config": {"n_layer": 2, "n_head": 4, "n_embd": 64, "norm": "rms", "rope_theta": 10000.0},
        "model.optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.003}},
        "trainer.max_steps": 400,
        "trainer.accelerator": "cpu",
    }
    return {"topic_model": "topics", "input": "stream.jsonl", "fit": fit}, files


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write(draw: random.Random, shares: tuple[float, ...], about: str = "") -> tuple[str, str, tuple[str, ...]]:
    """A text with its mood and topics."""
    language = draw.randrange(2)
    mood = draw.choices(list(_WORDS), shares or (1.0, 1.0, 1.0))[0]
    turned = mood in _TURNED and draw.random() < 0.3
    said = draw.choice((_TURNED if turned else _WORDS)[mood][language])
    topic = about or draw.choice(list(_TOPICS))
    topics: tuple[str, ...] = (topic,)
    subject = draw.choice(_TOPICS[topic][language])
    if draw.random() < 0.15:
        other = draw.choice([each for each in _TOPICS if each != topic])
        topics = tuple(sorted((topic, other)))
        subject += (" after ", "因")[language] + draw.choice(_TOPICS[other][language])
    text = draw.choice(_BEGINNINGS[language]) + subject + (" ", "")[language] + said + draw.choice(_ENDS[language])
    return text, mood, topics


def _stream(draw: random.Random) -> Iterator[dict[str, Any]]:
    """A week by the hour, some rows late, some twice."""
    for hour in range(_HOURS):
        rows = []
        for number in range(_TEXTS_AN_HOUR):
            topic = draw.choice(list(_TOPICS))
            turned = topic == "energy" and hour in TURN_HOURS
            text, _, _ = _write(draw, (0.1, 0.2, 0.7) if turned else (0.35, 0.4, 0.25), topic)
            moment = START + 3600 * hour + 3600 * number / _TEXTS_AN_HOUR
            rows.append({"id": f"{hour}-{number}", "time": show_time(moment), "text": text})
        for row in rows:
            yield row
            if draw.random() < 0.01:
                yield row

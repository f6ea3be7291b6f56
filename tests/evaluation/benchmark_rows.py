"""Rows that we made up, in the form of the published files; every shipped task finds its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_NEWS = [("球队赢了比赛", 103), ("股市今天上涨", 114), ("新手机发布了", 109)]
_PAIRS = [("怎么还款", "如何还钱", "1"), ("今天下雨吗", "明天几点", "0"), ("关灯", "把灯关了", "1")]
_NLI = [
    ("他在跑步", "他在动", "entailment"),
    ("他在跑步", "他睡了", "contradiction"),
    ("他在跑步", "他高兴", "neutral"),
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "tnews": [{"label": n, "label_desc": "news", "sentence": s, "keywords": "", "id": n} for s, n in _NEWS],
    "eprstmt": [
        {"id": 1, "sentence": "很好用，下次再买", "label": "Positive"},
        {"id": 2, "sentence": "坏了，不能用", "label": "Negative"},
        {"id": 3, "sentence": "质量不错", "label": "Positive"},
    ],
    "bustm": [{"id": 1, "sentence1": a, "sentence2": b, "label": n} for a, b, n in _PAIRS],
    "afqmc": [{"sentence1": a, "sentence2": b, "label": n} for a, b, n in _PAIRS],
    "cluewsc": [
        {
            "target": {"span2_index": 6, "span1_index": 0, "span1_text": "小明", "span2_text": "他"},
            "idx": n, "label": "true" if n else "false", "text": "小明回家了，因为他累了。",
        }
        for n in range(3)
    ],
    "csldcp": [{"content": f"研究了{name}的问题", "label": name} for name in ("数学", "历史学", "数学")],
    "iflytek": [{"label": n, "label_des": d, "sentence": f"{d}应用", "id": n} for n, d in ((0, "打车"), (48, "音乐"))],
    "ocnli": [{"level": "easy", "sentence1": a, "sentence2": b, "label": n} for a, b, n in (*_NLI, ("甲", "乙", "-"))],
    "cmnli": [{"sentence1": a, "sentence2": b, "label": n} for a, b, n in (*_NLI, ("甲", "乙", "-"))],
    "csl": [{"id": n, "abst": "研究了水的流动", "keyword": ["水", "流动"], "label": str(n % 2)} for n in range(3)],
    "chid": [
        {
            "id": n, "candidates": [f"{c}马当先" for c in "一二三四五六七"], "answer": n,
            "content": "他#idiom#，冲在前面。",
        }
        for n in range(2)
    ],
}  # fmt: skip
_FILES = {"afqmc": ("dev.json", "train.json"), "cmnli": ("dev.json", "train.json")}

_C3 = [
    [["女：几点了？", "男：三点。"], [{"question": "几点？", "choice": ["三点", "两点"], "answer": "三点"}], "d-1"],
    [["小狗很高兴。"], [{"question": "谁高兴？", "choice": ["猫", "小狗", "鸟"], "answer": "小狗"}], "m-1"],
]
_SQUAD = {
    "version": "v1",
    "data": [
        {
            "title": "北京",
            "paragraphs": [
                {
                    "id": "P1",
                    "context": "北京是中国的首都。",
                    "qas": [
                        {
                            "id": "Q1", "question": "中国的首都是哪里？",
                            "answers": [{"text": "北京", "answer_start": 0}, {"text": "北京", "answer_start": 0}],
                        }
                    ],
                }
            ],
        }
    ],
}  # fmt: skip
_CBT = "".join(f"{n} The old cat went `` home '' , said he .\n" for n in range(1, 21)) + (
    "21 Then the XXXXX did n't sleep .\tcat\t\tcat|dog|cow|hen|pig|ram|fox|owl|bee|ant\n\n"
)
_WIKITEXT = ' \n = A Title = \n \n The well @-@ known <unk> ( 1 @,@ 000 ) said " yes " , and it \'s fine . \n'
_PTB = " the company said it does n't expect N new <unk> 's \n mr. smith agreed \n"


def write_benchmarks(folder: Path) -> None:
    """All files, where the tasks look for them."""
    for name, rows in ROWS.items():
        for file in _FILES.get(name, ("test_public.json", "train_0.json")):
            _write(folder / name / file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    for file in ("c3/m-dev.json", "c3/m-train.json"):
        _write(folder / file, json.dumps(_C3, ensure_ascii=False, indent=1))
    for file in ("cmrc2018/dev.json", "cmrc2018/train.json"):
        _write(folder / file, json.dumps(_SQUAD, ensure_ascii=False))
    for kind in ("CN", "NE"):
        _write(folder / f"CBTest/data/cbtest_{kind}_valid_2000ex.txt", _CBT * 2)
    _write(
        folder / "lambada_test.jsonl", "".join(json.dumps({"text": f"He met {n} men and one cat"}) + "\n" for n in "ab")
    )
    for name in ("2", "103"):
        _write(folder / f"wikitext-{name}/wiki.test.tokens", _WIKITEXT)
    _write(folder / "ptb/ptb.test.txt", _PTB)
    _write(folder / "enwik8", "<page>[[Wiki]] markup é</page>\n" * 20)
    _write(folder / "text8", " anarchism originated as a term of abuse" * 20)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

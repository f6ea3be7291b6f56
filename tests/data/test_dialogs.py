"""Conversations: other people's records as messages, what fits of them, and what of them is learned."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt_lightning.data.layouts.base import Layout
from gpt_lightning.data.layouts.conversations import Conversation, Preference, Rated
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.readers.bad_records import BadRecord
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.stream.packing import Pack
from gpt_lightning.data.stream.stream import EvaluationWindows
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.errors import DataError
from tests.data.labelled import make_talks, write_jsonl

BYTES = ByteTokenizer()


def encode(layout: Layout, record: dict[str, Any]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Text of every document, what of it is learned, and what was cut."""
    cut: Counter[str] = Counter()
    example = layout.parse(Document("", "x.jsonl:1", 0, fields=record))
    found = []
    for each in layout.encode(example, BYTES, BYTES.encode, cut):
        assert layout.max_tokens is None or len(each.ids) + 1 <= layout.max_tokens
        found.append((BYTES.decode(each.ids), BYTES.decode(each.ids[each.columns["marks"] == 1])))
    return found, {name: count for name, count in cut.items() if count}


WHOLE = "System: Be kind.\nUser: Hi\nAssistant: Yes?<|endoftext|>\n"


def test_a_completion_alone_is_running_text() -> None:
    found, cut = encode(Conversation(max_tokens=5), {"completion": "Once upon"})
    assert found == [("Once", "Once"), (" upo", " upo"), ("n", "n")]
    assert not cut
    with pytest.raises(BadRecord, match="prompt"):
        encode(Conversation(), {"completion": " "})


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
                      {"role": "assistant", "content": "Yes?"}]},
        {"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"},
                      {"role": "assistant", "content": [{"type": "text", "text": "Ye"}, {"text": "s?"}]}]},
        {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"},
                           {"from": "gpt", "value": "Yes?"}]},
        {"prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
         "completion": [{"role": "assistant", "content": "Yes?"}]},
        {"prompt": '[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]',
         "completion": "Yes?"},
    ],
    ids=["openai", "parts", "sharegpt", "lists", "table"],
)  # fmt: skip
def test_all_forms_are_the_same_conversation(record: dict[str, Any]) -> None:
    assert encode(Conversation(), record) == ([(WHOLE, " Yes?<|endoftext|>")], {})


def test_an_answer_of_weight_nothing_is_given_and_not_learned() -> None:
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "weight": 1},
    ]
    ((_, learned),), _ = encode(Conversation(), {"messages": talk})
    assert learned == " d<|endoftext|>"
    with pytest.raises(DataError, match="an answer"):
        encode(Conversation(), {"messages": talk[:2]})


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "just text",
        [{"role": "tool", "content": "x"}],
        [{"role": "assistant", "content": None}],
        [{"role": "assistant", "content": " "}],
        [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}],
        ["x"],
        {"role": "user"},
    ],
)
def test_what_is_no_conversation_is_told(messages: Any) -> None:
    with pytest.raises(DataError, match=r"x\.jsonl:1 has something else in the field 'messages': got .*allowed"):
        encode(Conversation(), {"messages": messages})


def test_long_conversations_are_cut_between_exchanges_and_no_answer_is_lost() -> None:
    chance = random.Random(0)
    for talk in make_talks(40, seed=1):
        longest = chance.randint(60, 400)
        told = talk["messages"][0]["content"] if talk["messages"][0]["role"] == "system" else None
        found, cut = encode(Conversation(max_tokens=longest), talk)
        answers = [f" {each['content'].strip()}" for each in talk["messages"] if each["role"] == "assistant"]
        kept = [answer for _, learned in found for answer in learned.split("<|endoftext|>")[:-1]]
        left_out = sum(count for name, count in cut.items() if name.startswith("answers left out"))
        assert len(kept) + left_out == len(answers)
        rest = iter(answers)
        assert all(answer in rest for answer in kept), "in order, each at most once"
        for text, learned in found:
            assert learned
            assert told is None or text.startswith(f"System: {told}\n")
            assert text.startswith(("System: ", "User: "))
            assert text.endswith("<|endoftext|>\n"), "never within an answer"
        assert cut.get("conversations divided", 0) == (len(found) > 1)


def test_one_exchange_that_is_too_long_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"prompt": "x" * 100, "completion": "y"}, {"prompt": "x", "completion": "y" * 100}]
    rows += [{"prompt": f"question {number}", "completion": "y"} for number in range(4)]
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    settings = PrepareSettings(source=str(source), tokenizer="bytes", val_fraction=0.0, layout=Conversation())
    store = find_or_prepare(settings.limited_to(64), store=tmp_path / "store", workers=1)
    assert store.manifest.layout is not None
    assert store.split("train").num_documents == 4
    assert store.manifest.layout.cut == {"answers left out: longer than 64 tokens": 2}
    assert store.manifest.layout.chat_format == "plain"
    with pytest.raises(DataError, match=r"The corpus is empty: .*answers left out: longer than 20 tokens"):
        find_or_prepare(settings.limited_to(20), store=tmp_path / "none", workers=1)


def test_attention_stays_inside_a_conversation_when_several_share_a_row(tmp_path: Path) -> None:
    settings = PrepareSettings(
        source=str(write_jsonl(tmp_path / "x.jsonl", make_talks(20, seed=5))),
        tokenizer="bytes",
        val_fraction=0.0,
        layout=Conversation(max_tokens=300),
    )
    split = find_or_prepare(settings, store=tmp_path / "store", workers=1).split("train")
    windows = EvaluationWindows(split, 600, packing=Pack(), documents=True)
    rows = next(windows.batches(windows.num_windows))
    assert rows.documents is not None
    assert rows.weights is not None
    marks, inside = rows.columns["marks"], rows.documents[:, 1:] == rows.documents[:, :-1]
    # What is learned is predicted by a token of the same conversation, and counts as a target.
    assert (inside | (marks[:, 1:] == 0)).all()
    assert (rows.weights[marks[:, 1:] == 1] == 1).all()
    learned = np.empty(split.num_tokens, np.uint8)
    split.copy_runs(learned, np.zeros(1, int), np.zeros(1, int), np.array([len(learned)]), "marks")
    assert marks.sum() == learned.sum()
    assert (rows.columns["ends"] >= 0).sum() == split.num_documents


def test_prompts_lose_their_oldest_exchanges_and_both_answers_keep_the_same() -> None:
    prompt = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "second"},
    ]
    pair = {"prompt": prompt, "chosen": "good", "rejected": "bad"}
    found, cut = encode(Preference(), pair)
    start = "System: S\nUser: first\nAssistant: one<|endoftext|>\nUser: second\nAssistant:"
    assert found == [
        (f"{start} good<|endoftext|>\n", " good<|endoftext|>"),
        (f"{start} bad<|endoftext|>\n", " bad<|endoftext|>"),
    ]
    assert cut == {}
    short, cut = encode(Preference(max_tokens=48), pair)
    assert [text for text, _ in short] == [
        "System: S\nUser: second\nAssistant: good<|endoftext|>\n",
        "System: S\nUser: second\nAssistant: bad<|endoftext|>\n",
    ]
    assert cut == {"prompts that lost their oldest exchanges": 1}
    assert encode(Preference(max_tokens=40), pair)[0] == []
    ((text, learned),), _ = encode(Rated(), {"prompt": "p", "completion": "c", "label": 1})
    assert (text, learned) == ("User: p\nAssistant: c<|endoftext|>\n", " c<|endoftext|>")


def test_a_prompt_that_both_answers_begin_with_needs_no_field() -> None:
    start = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    chosen, rejected = ([*start, {"role": "assistant", "content": text}] for text in ("good", "bad"))
    found, _ = encode(Preference(), {"chosen": chosen, "rejected": rejected})
    assert [learned for _, learned in found] == [" good<|endoftext|>", " bad<|endoftext|>"]
    for record in ({"chosen": chosen, "rejected": chosen}, {"chosen": "good", "rejected": "bad"}):
        with pytest.raises(DataError, match="two different answers to one prompt"):
            encode(Preference(), record)

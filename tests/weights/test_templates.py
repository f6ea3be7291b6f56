"""Training ids and marks, what chat feeds, and the exported template under transformers: three that are one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from gpt_lightning.cli import main
from gpt_lightning.data.layouts.chat_formats import Message
from gpt_lightning.data.layouts.conversations import Conversation
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.tokenizers.resolve import resolve
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from tests.data.labelled import make_talks
from tests.weights.models import QWEN3, small_tokenizer, write_run
from tests.weights.test_exporting import marked_tokenizer

CONTROLS = ("<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "</s>", "\u200b", " <|im_end|> ")


def gpt2() -> Tokenizer:
    return resolve("gpt2")


EACH = [
    pytest.param(small_tokenizer, 20, id="plain-20"),
    pytest.param(marked_tokenizer, 20, id="marked-20"),
    *(pytest.param(make, 500, id=f"{name}-500", marks=pytest.mark.slow)
      for name, make in (("plain", small_tokenizer), ("marked", marked_tokenizer), ("gpt2", gpt2))),
]  # fmt: skip


@pytest.mark.parametrize(("make", "count"), EACH)
def test_training_chat_and_the_exported_template_agree(
    make: Callable[[], Tokenizer], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = make()
    write_run(Path("run"), dataclasses.replace(QWEN3, vocab_size=ours.vocab_size), ours)
    assert main(["export", "run", "out"]) == 0
    theirs: Any = transformers.AutoTokenizer.from_pretrained("out")
    transcript, layout = Transcript(ours), Conversation()
    end = transcript.stop_ids[0]
    for talk in make_talks(count, seed=3, controls=CONTROLS):
        messages = [Message(**message) for message in talk["messages"]]
        told = theirs.apply_chat_template(talk["messages"], return_assistant_tokens_mask=True, return_dict=True)
        written = transcript.write(messages)
        assert written.ids.tolist() == told["input_ids"]
        assert written.marks.tolist() == told["assistant_masks"]
        answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
        learned = [int(number) for number, mark in zip(written.ids, written.marks, strict=True) if mark]
        assert learned.count(end) == len(answers), "the end of every turn is learned, and nothing typed is one"
        control = Counter(number for number in written.ids.tolist() if number in ours.special_ids)
        assert sum(control.values()) == _count_control(transcript, messages)
        for number in answers:
            prompt = transcript.encode(messages[:number])
            assert prompt == written.ids[: len(prompt)].tolist()
            assert (written.marks[len(prompt) - 1], written.marks[len(prompt)]) == (0, 1)
            asked = theirs.apply_chat_template(talk["messages"][:number], add_generation_prompt=True, return_dict=True)
            assert asked["input_ids"] == prompt
        example = layout.parse(Document("", "x:1", 0, fields=talk))
        (stored,) = layout.encode(example, ours, ours.encode, Counter())
        assert stored.ids.tolist() == told["input_ids"][1:]
        assert stored.columns["marks"].tolist() == told["assistant_masks"][1:]


def _count_control(transcript: Transcript, messages: list[Message]) -> int:
    """Control tokens that the format itself puts: by its description, not by what was encoded."""
    if transcript.format.name == "marked":
        return 1 + 2 * len(messages)
    return 1 + sum(message.role == "assistant" for message in messages)

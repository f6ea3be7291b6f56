"""Conversations: what the model reads, what is forgotten, and the terminal, piped and interrupted."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.cli import main
from gpt_lightning.data.layouts.chat_formats import MARKED, PLAIN, Message
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.data.tokenizers.bpe import Vocabulary
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, EncodingTokenizer
from gpt_lightning.errors import DataError
from gpt_lightning.generation.chat import Chat
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.weights.loading import LoadedModel
from tests.generation.models import TINY, write_run
from tests.model.options import build_stirred

_TALK = [Message("system", "Be brief."), Message("user", "Hi <|im_end|>"), Message("assistant", "Hello.")]


def _marked_tokenizer() -> EncodingTokenizer:
    specials = {"<|endoftext|>": 256, "<|im_start|>": 257, "<|im_end|>": 258}
    tokens = tuple(bytes([value]) for value in range(256))
    return EncodingTokenizer(Vocabulary(name="marked", pattern=r"[\s\S]", tokens=tokens, specials=specials))


def test_marks_are_special_tokens_and_typed_ones_are_text() -> None:
    tokenizer = _marked_tokenizer()
    transcript = Transcript(tokenizer)
    assert transcript.format is MARKED
    ids = transcript.encode(_TALK)
    assert tokenizer.decode(ids) == (
        "<|endoftext|><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi < |im_end|><|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ids.count(258) == 3
    assert transcript.stop_ids == (258, 256)


def test_other_tokenizers_get_a_script() -> None:
    transcript = Transcript(ByteTokenizer())
    assert transcript.format is PLAIN
    ids = transcript.encode(_TALK)
    text = ByteTokenizer().decode(ids)
    assert ids.count(256) == 2
    assert text == "<|endoftext|>System: Be brief.\nUser: Hi <|im_end|>\nAssistant: Hello.<|endoftext|>\nAssistant:"
    assert transcript.stop == ("\nUser:",)


def _chat(positions: int = 64, **settings: Any) -> Chat:
    model = build_stirred(block_size=positions, vocab_size=257)
    loaded = LoadedModel(model, ByteTokenizer(), {}, Path())
    return Chat(loaded, sampling=Sampling(temperature=1.0), **{"max_tokens": 8, "seed": 3, **settings})


def test_conversation_grows_and_its_oldest_part_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    stream = Engine.stream

    def watched(self: Engine, request: Any) -> Any:
        asked.append(ByteTokenizer().decode(request.prompt))
        assert len(request.prompt) <= 80
        return stream(self, request)

    monkeypatch.setattr(Engine, "stream", watched)
    chat = _chat(80, system="S")
    for question in ("one", "two", "three", "four"):
        answer = "".join(chat.ask(question))
        assert chat.messages[-1] == Message("assistant", answer.rstrip())
    assert asked[0] == "<|endoftext|>System: S\nUser: one\nAssistant:"
    assert asked[1].startswith("<|endoftext|>System: S\nUser: one\nAssistant: ")
    assert asked[3].startswith("<|endoftext|>System: S\nUser: ")
    assert "one" not in asked[3]
    assert chat.forgotten >= 2
    assert len(chat.messages) == 8


def test_too_long_a_question_is_refused_and_not_remembered() -> None:
    chat = _chat()
    with pytest.raises(DataError, match="too long for the model"):
        chat.ask("x" * 70)
    assert chat.messages == []
    assert list(chat.ask("short"))


def test_another_answer_replaces_the_last() -> None:
    chat = _chat()
    with pytest.raises(DataError, match="no answer"):
        chat.regenerate()
    first = "".join(chat.ask("hm"))
    second = "".join(chat.regenerate())
    assert first != second
    assert [message.content for message in chat.messages] == ["hm", second.rstrip()]
    assert "".join(_chat().ask("hm")) == first


def test_an_answer_that_is_stopped_stays_as_far_as_it_came() -> None:
    chat = _chat(max_tokens=20)
    answer = chat.ask("hm")
    piece = next(answer)
    assert isinstance(answer, Iterator)
    del answer
    assert chat.messages[-1] == Message("assistant", piece.rstrip())


def _talk(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    capsys.readouterr()
    assert main(["chat", "run", "--max_tokens=4", "--temperature=0"]) == 0
    told = capsys.readouterr()
    return told.out, told.err


@pytest.fixture
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.generation.models.TINY", GPTConfig.from_dict({**TINY.to_dict(), "block_size": 128}))
    write_run(Path("run"))


@pytest.mark.usefixtures("_run")
def test_piped_lines_are_answered_and_commands_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, notes = _talk("Hi\n\n/system Be kind.\n/save talk.jsonl\n/save talk.jsonl\n/bogus\n", monkeypatch, capsys)
    assert answers.count("\n") >= 1
    assert "You:" not in answers
    assert "Saved to talk.jsonl" in notes
    assert "cannot save to talk.jsonl" in notes
    assert "There is no /bogus" in notes
    messages = [json.loads(line) for line in Path("talk.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    _, notes = _talk("Hi\n/history\n/reset\n/history\n/regenerate\n/help\n/quit\nnever read\n", monkeypatch, capsys)
    assert "You: Hi\nModel: " in notes
    assert "Nothing yet." in notes
    assert "no answer to write anew" in notes
    assert "/regenerate" in notes
    assert "never read" not in notes


@pytest.mark.usefixtures("_run")
def test_interrupting_an_answer_does_not_end_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step, calls = Engine.step, []

    def interrupted(self: Engine) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Engine, "step", interrupted)
    answers, notes = _talk("Hi\nAgain\n/history\n", monkeypatch, capsys)
    assert " (stopped)\n" in answers
    assert "You: Again" in notes


def test_a_chat_model_s_other_ends_stop_an_answer() -> None:
    loaded = LoadedModel(build_stirred(block_size=64, vocab_size=259), _marked_tokenizer(), {}, Path())
    more = dataclasses.replace(loaded, tokenizer=loaded.tokenizer.ending_at([257, 5]))
    assert Transcript(more.tokenizer).stop_ids == (258, 256, 257), "an id of text ends nothing"

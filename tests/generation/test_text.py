"""Streaming never shows half a character."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt_lightning.generation.decode import generate_text
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.generation.text import StopWatch, StreamDecoder
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT


class _Bytes:
    """A tokenizer of single bytes, and 256 = end of text."""

    begin_id = eot_id = 256
    end_ids = (256,)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return bytes(token for token in ids if token < 256)


class _Chunks(_Bytes):
    """A tokenizer whose tokens are arbitrary byte strings."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return b"".join(self._chunks[token] for token in ids)


def _stream(decoder: StreamDecoder, count: int) -> list[str]:
    return [*(decoder.feed(token) for token in range(count)), decoder.flush()]


@given(text=st.text(), cuts=st.lists(st.integers(0, 60)))
def test_pieces_join_to_the_text_and_hold_whole_characters(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", errors="replace")
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[start:end] for start, end in pairwise(borders)]
    pieces = _stream(StreamDecoder(_Chunks(chunks)), len(chunks))
    expected = data.decode()
    assert "".join(pieces) == expected
    assert pieces[-1] == ""
    if "\ufffd" not in expected:
        assert not any("\ufffd" in piece for piece in pieces)


@given(chunks=st.lists(st.binary(max_size=5), max_size=8))
def test_invalid_bytes_become_what_plain_decoding_makes_of_them(chunks: list[bytes]) -> None:
    pieces = _stream(StreamDecoder(_Chunks(chunks)), len(chunks))
    assert "".join(pieces) == b"".join(chunks).decode("utf-8", errors="replace")


def test_characters_appear_when_they_are_complete() -> None:
    decoder = StreamDecoder(_Bytes())
    assert [decoder.feed(byte) for byte in "a\u00e9\u4e2d\U0001f600".encode()] == [
        *("a", "", "\u00e9", "", "", "\u4e2d"),
        *("", "", "", "\U0001f600"),
    ]
    assert decoder.flush() == ""


def test_unfinished_character_is_replaced_at_the_end() -> None:
    decoder = StreamDecoder(_Bytes())
    assert [decoder.feed(0xE4), decoder.feed(0xB8), decoder.flush()] == ["", "", "\ufffd"]


def _model(favourite: int) -> GPT:
    """A model that says one byte for ever."""
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=8, vocab_size=257))
    with torch.no_grad():
        model.token_embedding.weight.zero_()
        model.token_embedding.weight[favourite] = 1.0
        model.final_norm.weight.zero_()
        model.final_norm.bias.fill_(1.0)
    return model


@pytest.mark.parametrize("prompt", ["ab", ""])
def test_text_continues_a_prompt(prompt: str) -> None:
    pieces = generate_text(_model(ord("x")), _Bytes(), prompt, max_tokens=5, sampling=Sampling(temperature=0.0))
    assert list(pieces) == ["x"] * 5


def test_text_ends_with_the_document() -> None:
    pieces = generate_text(_model(256), _Bytes(), "ab", max_tokens=5, sampling=Sampling(temperature=0.0))
    assert list(pieces) == []


def test_half_a_character_at_the_end_is_replaced_once() -> None:
    pieces = generate_text(_model(0xE4), _Bytes(), "ab", max_tokens=1, sampling=Sampling(temperature=0.0))
    assert list(pieces) == ["\ufffd"]


@given(
    text=st.text("abc", max_size=30),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 30)),
)
def test_text_ends_before_the_first_stop_string_however_it_is_cut(text: str, stops: list[str], cuts: list[int]) -> None:
    watch, shown = StopWatch(stops), ""
    for start, end in pairwise(sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})):
        shown += watch.feed(text[start:end])
        places = [shown.find(stop) for stop in stops]
        assert all(place < 0 for place in places)
    shown += watch.flush()
    places = [text.index(stop) for stop in stops if stop in text]
    assert (watch.found is not None) == bool(places)
    ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
    longest = max((len(stop) for stop in stops if ends and text[: min(ends)].endswith(stop)), default=0)
    assert shown == (text[: min(ends) - longest] if ends else text)


def test_nested_stop_strings_do_not_depend_on_borders() -> None:
    for pieces in (["aba"], ["ab", "a"], ["a", "ba"], ["a", "b", "a"]):
        watch = StopWatch(["aba", "b"])
        assert "".join(watch.feed(piece) for piece in pieces) + watch.flush() == "a"
        assert watch.found == "b"


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    watch = StopWatch(["\nUser:"])
    assert [watch.feed(piece) for piece in ("Hi\n", "Us", "a\nUs", "er", ": x")] == ["Hi", "", "\nUsa", "", ""]
    assert watch.found == "\nUser:"

"""tokenizer.json of every kind, run by the library: its ids, our bytes, streaming, special tokens, saving."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from gpt_lightning.data.tokenizers.kinds import from_description, write_tokenizer
from gpt_lightning.data.tokenizers.library_tokenizer import LibraryTokenizer
from gpt_lightning.data.tokenizers.resolve import resolve
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.data.tokenizers.tokenizer_json import describe_as_json
from gpt_lightning.data.tokenizers.tokenizer_json_reading import _read_once, read_tokenizer_folder
from gpt_lightning.errors import DataError
from gpt_lightning.generation.text import StreamDecoder
from tests.data.library_tokenizers import KINDS, LINES, PARTIAL, unigram
from tests.data.test_tokenizer_json import draw

KEEP_TEXT = ["llama2", *PARTIAL]
"""Kinds that give every text back."""


@cache
def content(kind: str) -> dict[str, Any]:
    return KINDS[kind]()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp(kind)
        (made[kind] / "tokenizer.json").write_text(json.dumps(content(kind)))
    return made


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ours(kind: str, folders: dict[str, Path]) -> Tokenizer:
    return read_tokenizer_folder(folders[kind])


def run_by_the_library(kind: str) -> Any:
    theirs = tokenizers.Tokenizer.from_str(json.dumps(content(kind)))
    theirs.encode_special_tokens = True
    return theirs


def test_ids_are_the_library_s(kind: str, ours: Tokenizer) -> None:
    theirs = run_by_the_library(kind)
    assert isinstance(ours, LibraryTokenizer)
    for text in (*LINES, *draw(200), "Hello, world! 12345"):
        ids = ours.encode(text)
        assert ids.tolist() == theirs.encode(text, add_special_tokens=False).ids, repr(text)
        assert ours.encode(text).tolist() == ids.tolist(), "the same again"
    assert ours.vocab_size == theirs.get_vocab_size()


@pytest.mark.parametrize("name", KEEP_TEXT)
def test_no_text_is_lost(name: str, folders: dict[str, Path]) -> None:
    ours = read_tokenizer_folder(folders[name])
    for text in (*LINES, *draw(200), "Hello, world! 12345", "the </s> cat"):
        assert ours.decode(ours.encode(text)) == text


def test_decoding_is_the_library_s(kind: str, ours: Tokenizer) -> None:
    theirs = run_by_the_library(kind)
    for text in LINES:
        ids = ours.encode(text).tolist()
        assert ours.decode(ids).strip() == theirs.decode(ids, skip_special_tokens=False).strip()


def test_streaming_gives_what_decoding_gives(kind: str, ours: Tokenizer) -> None:
    for text in (*LINES, "naïve 一个 12"):
        ids = ours.encode(text).tolist()
        stream = StreamDecoder(ours)
        told = "".join([*(stream.feed(token) for token in ids), stream.flush()])
        assert told == ours.decode_bytes(ids).decode()
        assert told.strip() == ours.decode(ids).strip()


def test_a_continuation_keeps_the_space_before_it(folders: dict[str, Path]) -> None:
    for name in ("llama2", "unigram", "wordpiece", "prefix-space", "whole-words"):
        ours = read_tokenizer_folder(folders[name])
        # Behind a prompt the word comes with its space; as a text of its own without.
        assert ours.decode_bytes(ours.encode("cat")) == b" cat"
        assert ours.decode(ours.encode("cat")) == "cat"


def test_text_never_becomes_a_special_token(kind: str, ours: Tokenizer) -> None:
    for special in ours.specials:
        for text in (special, f"the{special}cat", f" {special} {special}", f"{special[:-1]}{special}"):
            assert not ours.special_ids.intersection(ours.encode(text).tolist()), text


def test_a_piece_that_the_model_would_find_in_text_is_cut_apart() -> None:
    free = tokenizers.Tokenizer.from_str(json.dumps(unigram()))
    free.encode_special_tokens = True
    assert 1 in free.encode("the</s>cat").ids, "the library alone finds it"


def test_a_special_token_of_one_letter_is_refused_in_text(tmp_path: Path) -> None:
    words = {"~": 0, "a": 1, "<unk>": 2}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<unk>"))
    made.add_special_tokens(["~"])
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    ours = LibraryTokenizer("x", json.loads(made.to_str()), "~")
    assert ours.encode("a a").tolist() == [1, 1]
    with pytest.raises(DataError, match=r"This text holds '~'"):
        ours.encode("a ~ a")


def test_saved_and_read_again_it_is_the_same(kind: str, ours: Tokenizer, tmp_path: Path) -> None:
    described = json.loads(json.dumps(ours.describe()))
    write_tokenizer(ours, tmp_path / "saved.json")
    (tmp_path / "tokenizer.json").write_text(json.dumps(describe_as_json(ours)))
    for other in (
        from_description(described),
        resolve(str(tmp_path / "saved.json")),
        resolve(str(tmp_path / "tokenizer.json")),
    ):
        assert other.fingerprint == ours.fingerprint
        assert other.eot_id == ours.eot_id
        assert other.pieces == ours.pieces
        assert other.encode(LINES[0]).tolist() == ours.encode(LINES[0]).tolist()
    with pytest.raises(DataError, match="is not the description"):
        from_description({**described, "content": described["content"][:40]})
    with pytest.raises(DataError, match="its description says 0000"):
        from_description({**described, "fingerprint": "0" * 64})


def test_other_content_is_another_tokenizer(folders: dict[str, Path]) -> None:
    assert len({read_tokenizer_folder(folder).fingerprint for folder in folders.values()}) == len(KINDS)


def test_dropout_truncation_and_padding_are_left_out() -> None:
    known = content("llama2")
    noisy = {**known, "model": {**known["model"], "dropout": 0.5}, "truncation": None}
    noisy["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    ours, other = LibraryTokenizer("x", noisy, "</s>"), LibraryTokenizer("x", known, "</s>")
    assert all(ours.encode(LINES[0]).tolist() == other.encode(LINES[0]).tolist() for _ in range(20))
    assert len(ours.encode(LINES[0])) > 3


def test_without_the_library_the_extra_is_named(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _read_once.cache_clear()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"This tokenizer\.json needs the package tokenizers.*gpt-lightning\[hf\]"):
        read_tokenizer_folder(folders["unigram"])


def test_an_unknown_token_is_no_control_token(folders: dict[str, Path]) -> None:
    ours = read_tokenizer_folder(folders["wordpiece"])
    assert ours.unknown_id is not None
    assert ours.encode("xyzzy").tolist() == [ours.unknown_id]
    assert ours.unknown_id not in ours.special_ids

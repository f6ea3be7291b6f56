from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, CharTokenizer, from_description
from gpt_lightning.data.tokenizers.resolve import read_tokenizer, resolve
from gpt_lightning.errors import DataError

# Recorded from OpenAI's own files, see the model card of GPT-2.
GPT2 = {
    "Hello world": [15496, 995],
    "Hello, I'm a language model,": [15496, 11, 314, 1101, 257, 3303, 2746, 11],
}


@pytest.mark.parametrize(("text", "ids"), GPT2.items())
def test_gpt2_gives_the_published_ids(text: str, ids: list[int]) -> None:
    tokenizer = resolve("gpt2")
    assert tokenizer.encode(text).tolist() == ids
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (50257, 50256)


def test_gpt2_is_described_by_name_only() -> None:
    assert len(json.dumps(resolve("gpt2").describe())) < 1000


def test_bytes_are_utf8() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.encode("aé中").tolist() == list("aé中".encode())
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (257, 256)
    assert tokenizer.decode([0xE4, 0xB8]) == "\ufffd"
    assert tokenizer.decode(np.array([97, 256])) == "a<|endoftext|>"


def test_chars_are_sorted_by_code_point() -> None:
    tokenizer = resolve("chars", iter(["ba", "\nc中"]))
    assert isinstance(tokenizer, CharTokenizer)
    assert tokenizer.characters == "\nabc中"
    assert tokenizer.encode("c中\na").tolist() == [3, 4, 0, 1]
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (6, 5)


@pytest.mark.parametrize("known", ["ab", ""])
def test_chars_refuse_what_they_have_not_seen(known: str) -> None:
    with pytest.raises(DataError, match=rf"Character '中' \(U\+4E2D\) at offset {len(known)} .*the {len(known)} char"):
        CharTokenizer(known).encode(f"{known}中a")


def test_mismatch_can_name_the_part() -> None:
    first, second = CharTokenizer("ab").parts, CharTokenizer("ac").parts
    assert first["characters"] != second["characters"]
    assert first["specials"] == second["specials"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gpt22", r"No such tokenizer: got 'gpt22' .*bytes, chars, bpe:SIZE.*Did you mean gpt2\?"),
        ("bpe:", "got 'bpe:'"),
        ("bpe:256", r"got 'bpe:256' \(allowed: bpe:257 to"),
        ("bpe:-1", "got 'bpe:-1'"),
        ("no/such.json", r"Cannot read the tokenizer file no/such.json"),
    ],
)
def test_wrong_specs_are_explained(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolve(spec, ["text"])


@pytest.mark.parametrize("spec", ["bpe:100", "bpe:1e3", "bpe:300:klingon", "bpe:"])
def test_a_wrong_size_is_refused_before_the_corpus_is_looked_at(spec: str) -> None:
    with pytest.raises(DataError, match=f"got '{spec}'"):
        PrepareSettings("no/such/corpus.txt", spec)


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"kind": "words"}', '{"kind": "chars", "fingerprint": "0"}', "no json"]
)
def test_foreign_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError):
        read_tokenizer(path)


def test_a_tampered_vocabulary_is_refused() -> None:
    description = CharTokenizer("abc").describe() | {"characters": "abz"}
    with pytest.raises(DataError, match="fingerprint"):
        from_description(description)


def test_wide_vocabularies_use_uint32() -> None:
    tokenizer = CharTokenizer(chr(number) for number in range(0x10000, 0x10000 + 70_000))
    assert tokenizer.encode(chr(0x10000 + 69_999)).tolist() == [69_999]
    assert tokenizer.encode("").dtype == np.uint32

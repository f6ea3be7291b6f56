"""What every tokenizer must do. A new one is one line in ``SPECS``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.tokenizers.kinds import Tokenizer, from_description, write_tokenizer
from gpt_lightning.data.tokenizers.resolve import read_tokenizer, resolve
from gpt_lightning.errors import DataError

ALPHABET = "ab <|endoftx>\n\té中😀\u0301\ufffd"
CORPUS = [ALPHABET * 3, "hello hello <|endoftext|> world"]
SPECS = ["bytes", "chars", "bpe:300", "gpt2"]
EVERY_TEXT = ["bytes", "bpe:300", "gpt2"]


@cache
def tokenizer(spec: str) -> Tokenizer:
    return resolve(spec, CORPUS)


def check_round_trip(spec: str, text: str) -> None:
    kind = tokenizer(spec)
    ids = kind.encode(text)
    assert kind.decode(ids) == text
    assert kind.decode_bytes(ids) == text.encode()
    assert kind.decode_bytes(ids.tolist()) == text.encode()
    assert int(kind.token_bytes()[ids].sum()) == len(text.encode())
    assert not kind.special_ids.intersection(ids.tolist())


@pytest.mark.parametrize("spec", SPECS)
@settings(deadline=None)  # the first call loads the vocabulary
@given(text=st.text(alphabet=ALPHABET))
def test_known_characters_come_back(spec: str, text: str) -> None:
    check_round_trip(spec, text)


@pytest.mark.parametrize("spec", EVERY_TEXT)
@settings(deadline=None)
@given(text=st.text())
def test_every_text_comes_back(spec: str, text: str) -> None:
    check_round_trip(spec, text)


@pytest.mark.parametrize("spec", SPECS)
def test_literal_special_token_is_ordinary_text(spec: str) -> None:
    kind = tokenizer(spec)
    ids = kind.encode("<|endoftext|>")
    assert len(ids) > 1
    assert kind.eot_id not in ids
    assert kind.decode(ids) == "<|endoftext|>"


@pytest.mark.parametrize("spec", SPECS)
def test_ids_are_narrow_and_inside_the_vocabulary(spec: str) -> None:
    kind = tokenizer(spec)
    ids = kind.encode(ALPHABET)
    assert ids.dtype == np.uint16 == kind.dtype
    assert int(ids.max()) < kind.vocab_size
    assert kind.eot_id in kind.special_ids
    assert kind.encode("").shape == (0,)
    assert kind.encode("").dtype == np.uint16


@pytest.mark.parametrize("spec", SPECS)
def test_token_bytes_are_zero_for_specials_only(spec: str) -> None:
    kind = tokenizer(spec)
    lengths = kind.token_bytes()
    assert lengths.dtype == np.int64
    assert lengths.shape == (kind.vocab_size,)
    assert set(np.flatnonzero(lengths == 0).tolist()) == set(kind.special_ids)


@pytest.mark.parametrize("spec", SPECS)
def test_lone_surrogates_become_replacement_characters(spec: str) -> None:
    kind = tokenizer(spec)
    assert kind.decode(kind.encode("a\ud800b\udfff")) == "a\ufffdb\ufffd"


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("number", [-1, 10**9])
def test_ids_outside_the_vocabulary_are_refused(spec: str, number: int) -> None:
    with pytest.raises(DataError, match=rf"position 1 .*got {number} \(allowed: 0 to"):
        tokenizer(spec).decode([0, number])


@pytest.mark.parametrize("spec", SPECS)
def test_description_survives_json_and_makes_the_same_tokenizer(spec: str, tmp_path: Path) -> None:
    kind = tokenizer(spec)
    again = from_description(json.loads(json.dumps(kind.describe())))
    write_tokenizer(kind, tmp_path / "saved.json")
    for other in (again, read_tokenizer(tmp_path / "saved.json"), resolve(str(tmp_path / "saved.json"))):
        assert other.fingerprint == kind.fingerprint
        assert (other.name, other.vocab_size, other.eot_id) == (kind.name, kind.vocab_size, kind.eot_id)
        assert other.encode(ALPHABET).tolist() == kind.encode(ALPHABET).tolist()


@pytest.mark.parametrize("spec", SPECS)
def test_a_changed_fingerprint_is_refused(spec: str) -> None:
    description = tokenizer(spec).describe() | {"fingerprint": "0" * 64}
    with pytest.raises(DataError, match=r"its description says 000000000000"):
        from_description(description)


@pytest.mark.parametrize("spec", SPECS)
def test_a_giant_run_takes_no_giant_time(spec: str) -> None:
    text = "a" * 400_000
    kind = tokenizer(spec)
    assert kind.decode(kind.encode(text)) == text


def test_fingerprints_differ() -> None:
    assert len({tokenizer(spec).fingerprint for spec in SPECS}) == len(SPECS)

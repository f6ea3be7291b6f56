"""Special tokens added to a tokenizer: every text keeps its ids, and the tokenizer can be kept and exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt_lightning.data.tokenizers.kinds import from_description
from gpt_lightning.data.tokenizers.resolve import resolve
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer, text_fingerprint
from gpt_lightning.data.tokenizers.tokenizer_json import describe_as_json
from gpt_lightning.data.tokenizers.tokenizer_json_reading import read_tokenizer_folder
from gpt_lightning.errors import DataError

_TEXT = "of <mask> and <|endoftext|>, once <blank>"
_NAMES = ["<mask>", "<blank>"]


def _library() -> Tokenizer:
    pytest.importorskip("tokenizers")
    from gpt_lightning.data.tokenizers.library_tokenizer import LibraryTokenizer
    from tests.data.library_tokenizers import KINDS

    return LibraryTokenizer("llama2", KINDS["llama2"](), "</s>")


_MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": lambda: resolve("bytes"),
    "chars": lambda: resolve("chars", [_TEXT]),
    "bpe": lambda: resolve("bpe:270", [_TEXT] * 3),
    "gpt2": lambda: resolve("gpt2"),
    "library": _library,
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind == "gpt2" else []) for kind in _MAKERS]
)
def test_every_kind_takes_more_special_tokens(kind: str, tmp_path: Path) -> None:
    plain = _MAKERS[kind]()
    more = plain.adding(_NAMES)
    assert more.specials == {**plain.specials, "<mask>": plain.vocab_size, "<blank>": plain.vocab_size + 1}
    assert more.vocab_size == plain.vocab_size + 2
    assert more.encode(_TEXT).tolist() == plain.encode(_TEXT).tolist()
    assert more.decode_bytes([plain.vocab_size]) == b"<mask>"
    assert more.token_bytes()[-3:].tolist() == [*plain.token_bytes()[-1:], 0, 0]
    assert more.adding(["<blank>"]) is more
    # Kept: as plain data, and as a tokenizer.json.
    kept = from_description(json.loads(json.dumps(more.describe())))
    assert (kept.fingerprint, kept.specials) == (more.fingerprint, more.specials)
    assert text_fingerprint(more.describe()) == plain.fingerprint != more.fingerprint
    (tmp_path / "tokenizer.json").write_text(json.dumps(describe_as_json(more)))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": more.pieces[more.eot_id].decode()}))
    if kind != "chars":  # a vocabulary of characters that refuses others is not to be said in that format
        read = read_tokenizer_folder(tmp_path)
        assert read.specials == more.specials
        assert read.encode(_TEXT).tolist() == plain.encode(_TEXT).tolist()


def test_a_later_addition_follows_the_first() -> None:
    both = resolve("bytes").adding(["<a>"]).adding(["<b>", "<a>"])
    assert both.specials == {"<|endoftext|>": 256, "<a>": 257, "<b>": 258}
    assert from_description(both.describe()).specials == both.specials
    assert text_fingerprint(both.describe()) == resolve("bytes").fingerprint


def test_an_ordinary_token_is_no_special_one() -> None:
    with pytest.raises(DataError, match="an ordinary token that is written like the special token"):
        resolve("bytes").adding(["a"])

"""Our tokenizers as tokenizer.json, against the library that reads it; and the way back."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from gpt_lightning.data.tokenizers import tokenizer_json_reading
from gpt_lightning.data.tokenizers.bpe import PATTERNS, Vocabulary, byte_letters, train_vocabulary
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, CharTokenizer, EncodingTokenizer, from_description
from gpt_lightning.data.tokenizers.library_tokenizer import LibraryTokenizer
from gpt_lightning.data.tokenizers.resolve import resolve
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.data.tokenizers.tokenizer_json import GPT2_PATTERN, added_token, describe_as_json, rewrite_pattern
from gpt_lightning.data.tokenizers.tokenizer_json import byte_level as json_byte_level
from gpt_lightning.data.tokenizers.tokenizer_json_reading import read_tokenizer_folder
from gpt_lightning.errors import DataError
from gpt_lightning.generation.text import encode_prompt
from tests.data.library_tokenizers import PARTIAL, byte_level

# cl100k's own pattern as tiktoken 0.14 has it, with the possessive bounds that Oniguruma reads differently.
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyzABC",
    "'s't're've'll'd'S'T\u2019",
    "0123456789",
    "  \t\n\r\x0b\x0c\u00a0\u3000\u2028",
    "你好中文的是不了人在有我他這個們",
    "\U0001f600\U0001f44d\U0001f3fd\U0001f1e9\U0001f1ea\u200d",
    "éüßñøÅ\u0301",
    '!?.,;:-()[]{}<>|/\\"@#$%^&*_+=~`',
    "\x00\x01\x07\x1b\x7f\x85\u200b\ufeff",
    "русский العربية हिन्दी ไทย 한국어²½Ⅷ٣",
)
FIXED = ("", " ", "\n\n", "12345678901234567890", "a  \n b", "  \n\n", "x \r\n y", "   1", " \t1", "it's", "  a  1  ")


def draw(count: int, alphabets: tuple[str, ...] = ALPHABETS) -> list[str]:
    chance = random.Random(0)
    runs = (
        "".join("".join(chance.choices(chance.choice(alphabets), k=chance.randint(1, 9))) for _ in range(8))
        for _ in range(count)
    )
    return [*FIXED, *runs]


def learn(pattern: str) -> Vocabulary:
    prose = Path(random.__file__).read_text(encoding="utf-8")
    return train_vocabulary([prose, *draw(300)], 700, pattern)


def gapped() -> EncodingTokenizer:
    """As cl100k: special ids behind a gap, and not one after the other."""
    learned = learn("gpt4")
    specials = {"<|endoftext|>": 800, "<|fim|>": 801, "<|endofprompt|>": 820}
    return EncodingTokenizer(Vocabulary("gapped", CL100K, learned.tokens, specials))


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": lambda: EncodingTokenizer("gpt2"),
    "bytes": ByteTokenizer,
    "chars": lambda: CharTokenizer("".join((*ALPHABETS, *FIXED))),
    "bpe": lambda: EncodingTokenizer(learn("gpt4")),
    "chinese": lambda: EncodingTokenizer(learn("chinese")),
    "gapped": gapped,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def ours(request: pytest.FixtureRequest) -> Tokenizer:
    tokenizer: Tokenizer = TOKENIZERS[request.param]()
    return tokenizer


@pytest.fixture(scope="module")
def content(ours: Tokenizer) -> str:
    return json.dumps(describe_as_json(ours))


def write(folder: Path, content: Any, **settings: Any) -> Path:
    (folder / "tokenizer.json").write_text(content if isinstance(content, str) else json.dumps(content))
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_two_thousand_texts_have_the_same_ids(ours: Tokenizer, content: str) -> None:
    theirs = tokenizers.Tokenizer.from_str(content)
    texts = draw(2000)
    assert sum(len(text) for text in texts) > 50_000
    for text in texts:
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert ids == ours.encode(text).tolist(), repr(text)
        assert theirs.decode(ids, skip_special_tokens=False) == text
    for text, number in ours.specials.items():
        assert theirs.token_to_id(text) == number
        assert theirs.encode(f"a{text}").ids[-1] == number


def check_reading(ours: Tokenizer, content: str, tmp_path: Path) -> None:
    pattern = ours.pattern_name if isinstance(ours, EncodingTokenizer) else ""
    folder = write(tmp_path, content, gpt_lightning={"name": ours.name, "pattern": pattern})
    back = read_tokenizer_folder(folder)
    assert (type(back), back.fingerprint, back.name) == (type(ours), ours.fingerprint, ours.name)
    assert resolve(f"{folder}/tokenizer.json").fingerprint == ours.fingerprint


@pytest.mark.parametrize("kind", [*list(TOKENIZERS)[1:], pytest.param("gpt2", marks=pytest.mark.slow)])
def test_reading_gives_the_same_tokenizer(kind: str, tmp_path: Path) -> None:
    known = TOKENIZERS[kind]()
    check_reading(known, json.dumps(describe_as_json(known)), tmp_path)


@pytest.mark.parametrize("kind", ["chars", "bpe", "gapped"])
def test_without_our_mark_only_the_spelling_of_a_pattern_can_differ(kind: str, tmp_path: Path) -> None:
    known: Tokenizer = TOKENIZERS[kind]()
    stranger = read_tokenizer_folder(write(tmp_path, describe_as_json(known)))
    assert all((stranger.encode(text) == known.encode(text)).all() for text in draw(100))
    assert stranger.specials == known.specials


def test_a_character_unknown_to_the_vocabulary_is_an_error_there_too() -> None:
    theirs = tokenizers.Tokenizer.from_str(json.dumps(describe_as_json(CharTokenizer("ab"))))
    with pytest.raises(Exception, match="UNK"):
        theirs.encode("abc")


def test_patterns_are_rewritten_for_the_other_engine() -> None:
    assert rewrite_pattern(r"\p{N}{1,3}+|\s++$|[^\s]{2}+x\$") == r"(?>\p{N}{1,3})|\s++\z|(?>[^\s]{2})x\$"
    assert rewrite_pattern(PATTERNS["gpt4"]) == PATTERNS["gpt4"]


@pytest.mark.parametrize("written", sorted(tokenizer_json_reading._PATTERNS))
def test_known_patterns_cut_alike_in_both_engines_and_match_every_text(tmp_path: Path, written: str) -> None:
    cut = {"type": "Split", "pattern": {"Regex": written}, "behavior": "Isolated", "invert": False}
    steps = [cut, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    content = describe_as_json(EncodingTokenizer(learn("gpt4")))
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    ours = read_tokenizer_folder(write(tmp_path, content))
    assert isinstance(ours, EncodingTokenizer)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(content))
    for text in draw(2000):
        assert ours.encode(text).tolist() == theirs.encode(text, add_special_tokens=False).ids, repr(text)
        assert ours.decode(ours.encode(text)) == text


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return describe_as_json(EncodingTokenizer(learn("gpt4")))


def changed(plain: dict[str, Any], **parts: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(plain))
    model = parts.pop("model", {})
    copy["model"] |= model
    return copy | parts


@pytest.mark.parametrize(
    ("cutting", "form"),
    [
        ([{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": False}], None),
        ([{"type": "ByteLevel", "add_prefix_space": False}], None),
        ([{"type": "ByteLevel", "add_prefix_space": False}], {"type": "NFC"}),
        (
            [
                {"type": "Split", "pattern": {"Regex": r"\p{L}+|\s+|."}, "behavior": "Removed", "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
            None,
        ),
    ],
    ids=["digits", "gpt2", "nfc", "split"],
)
def test_other_ways_of_cutting_text(plain: dict[str, Any], tmp_path: Path, cutting: Any, form: Any) -> None:
    steps = [
        {"trim_offsets": True, "use_regex": True} | step if step["type"] == "ByteLevel" else step for step in cutting
    ]
    written = changed(plain, pre_tokenizer={"type": "Sequence", "pretokenizers": steps}, normalizer=form)
    if len(steps) == 1:
        written["pre_tokenizer"] = steps[0]
    ours, theirs = read_tokenizer_folder(write(tmp_path, written)), tokenizers.Tokenizer.from_str(json.dumps(written))
    for text in draw(500):
        assert ours.encode(text).tolist() == theirs.encode(text).ids, repr(text)
    if form is not None:
        assert ours.encode("e\u0301").tolist() == ours.encode("\u00e9").tolist()
        assert ours.fingerprint != read_tokenizer_folder(write(tmp_path, written | {"normalizer": None})).fingerprint


def renamed(plain: dict[str, Any], *names: str) -> dict[str, Any]:
    """Its special tokens have other names, more than one if wanted."""
    first = plain["added_tokens"][0]
    added = [first | {"content": name, "id": first["id"] + place} for place, name in enumerate(names)]
    written = changed(plain, added_tokens=added)
    vocabulary = {token: number for token, number in plain["model"]["vocab"].items() if token != first["content"]}
    written["model"]["vocab"] = vocabulary | {entry["content"]: entry["id"] for entry in added}
    return written


@pytest.mark.parametrize(
    ("files", "end", "ends"),
    [
        ({"tokenizer_config": {"eos_token": "<turn>"}}, "<turn>", ["<turn>"]),
        ({"special_tokens_map": {"eos_token": {"content": "<turn>"}}}, "<turn>", ["<turn>"]),
        ({"generation_config": {"eos_token_id": 700}}, "<turn>", ["<turn>"]),
        ({"config": {"eos_token_id": [701, 700]}}, "<other>", ["<other>", "<turn>"]),
        (
            {"tokenizer_config": {"eos_token": "<turn>"}, "generation_config": {"eos_token_id": [700, 699]}},
            "<turn>",
            ["<turn>", "<|endoftext|>"],
        ),
        ({"config": {"eos_token_id": 5}}, "<|endoftext|>", ["<|endoftext|>"]),  # the default of a class: a word here
        ({"config": {"eos_token_id": None}, "tokenizer_config": {"eos_token": "gone"}}, "<|endoftext|>", None),
        ({}, "<|endoftext|>", ["<|endoftext|>"]),
    ],
    ids=["settings", "map", "number", "list", "several", "word", "null", "usual"],
)
def test_a_folder_s_own_ends_come_before_any_fixed_name(
    plain: dict[str, Any], tmp_path: Path, files: dict[str, Any], end: str, ends: list[str] | None
) -> None:
    write(tmp_path, renamed(plain, "<|endoftext|>", "<turn>", "<other>"))
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    ours = read_tokenizer_folder(tmp_path)
    assert ours.pieces[ours.eot_id].decode() == end
    assert [ours.pieces[number].decode() for number in ours.end_ids] == (ends or [end])
    again = from_description(json.loads(json.dumps(ours.describe())))
    assert (again.end_ids, again.fingerprint) == (ours.end_ids, ours.fingerprint)


def framed(plain: dict[str, Any], *parts: str) -> dict[str, Any]:
    """With a begin-of-text, and a template of ``single`` that has these parts (A = the text)."""
    known = renamed(plain, "<|endoftext|>", "<s>")
    ids = {entry["content"]: entry["id"] for entry in known["added_tokens"]}
    template = {
        "type": "TemplateProcessing",
        "single": [{"Sequence" if part == "A" else "SpecialToken": {"id": part, "type_id": 0}} for part in parts],
        "pair": [{"Sequence": {"id": part, "type_id": 0}} for part in "AB"],
        "special_tokens": {part: {"id": part, "ids": [ids[part]], "tokens": [part]} for part in parts if part != "A"},
    }
    return {**known, "post_processor": template}


@pytest.mark.parametrize(
    ("parts", "settings", "begin"),
    [
        (("<s>", "A"), {}, "<s>"),
        (("<s>", "A", "<|endoftext|>"), {"bos_token": "<s>"}, "<s>"),
        (("A", "<|endoftext|>"), {"bos_token": "<s>"}, None),
        (("A",), {"bos_token": "<s>"}, None),
    ],
    ids=["front", "both sides", "behind", "nothing"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_text_begins_as_in_the_library(
    plain: dict[str, Any], tmp_path: Path, parts: tuple[str, ...], settings: dict[str, Any], begin: str, nested: bool
) -> None:
    content = framed(plain, *parts)
    if nested:  # as Llama 3 has it
        steps = [json_byte_level(use_regex=True), content["post_processor"]]
        content["post_processor"] = {"type": "Sequence", "processors": steps}
    ours = read_tokenizer_folder(write(tmp_path, content, **settings))
    theirs = tokenizers.Tokenizer.from_str(json.dumps(content)).encode("a text").ids
    assert theirs[: 1 + len(ours.encode("a text"))] == (encode_prompt(ours, "a text") if begin else theirs)
    assert ours.opening == ((ours.specials[begin],) if begin else ())
    again = from_description(json.loads(json.dumps(ours.describe())))
    assert (again.begin_id, again.fingerprint) == (ours.begin_id, ours.fingerprint)
    more = ours.adding(["<new>"])
    assert (more.begin_id, from_description(more.describe()).fingerprint) == (ours.begin_id, more.fingerprint)
    bare = read_tokenizer_folder(write(tmp_path, content, **settings, add_bos_token=False))
    assert bare.begin_id == bare.eot_id
    assert (bare.fingerprint == ours.fingerprint) == (begin is None), "other ids stand in a store"
    told = read_tokenizer_folder(write(tmp_path, content, bos_token={"content": "<s>"}, add_bos_token=True))
    assert told.begin_id == told.specials["<s>"]


def test_a_tokenizer_without_an_end_of_text_is_refused(plain: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, renamed(plain, "<turn>"), eos_token="elsewhere")
    with pytest.raises(
        DataError, match=r"none of its 1 special tokens is eos_token or <\|endoftext\|>.*tokenizer_config"
    ):
        read_tokenizer_folder(tmp_path)


def test_older_layout_of_two_files(tmp_path: Path) -> None:
    content = describe_as_json(
        EncodingTokenizer(Vocabulary("x", GPT2_PATTERN, learn("gpt4").tokens, {"<|endoftext|>": 699}))
    )
    (tmp_path / "vocab.json").write_text(json.dumps(content["model"]["vocab"]))
    lines = [" ".join(merge) for merge in content["model"]["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    ours = read_tokenizer_folder(tmp_path)
    assert (ours.eot_id, ours.vocab_size) == (699, 700)
    assert ours.decode(ours.encode("it's 12 é")) == "it's 12 é"


def reversed_merges(plain: dict[str, Any]) -> dict[str, Any]:
    return changed(plain, model={"merges": plain["model"]["merges"][::-1]})


def other_split(plain: dict[str, Any]) -> dict[str, Any]:
    """The same token out of two other parts."""
    merges = [list(merge) for merge in plain["model"]["merges"]]
    vocabulary = plain["model"]["vocab"]
    for merge in merges:
        whole = "".join(merge)
        for place in range(1, len(whole)):
            if place != len(merge[0]) and whole[:place] in vocabulary and whole[place:] in vocabulary:
                merge[:] = [whole[:place], whole[place:]]
                return changed(plain, model={"merges": merges})
    raise AssertionError("no token can be split otherwise")


def without_a_byte(plain: dict[str, Any]) -> dict[str, Any]:
    written = changed(plain)
    missing = byte_letters()[7]
    del written["model"]["vocab"][missing]
    written["model"]["merges"] = [merge for merge in written["model"]["merges"] if missing not in merge]
    return written


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plain: changed(plain, model={"byte_fallback": True}), "its model has byte_fallback True"),
        (lambda plain: changed(plain, normalizer={"type": "Lowercase"}), "normalizer 'Lowercase'"),
        (
            lambda plain: changed(plain, pre_tokenizer=json_byte_level(use_regex=True) | {"add_prefix_space": True}),
            "it cuts text by ByteLevel",
        ),
        (
            lambda plain: changed(
                plain,
                added_tokens=[*plain["added_tokens"], added_token("    ", 700) | {"special": False}],
            ),
            "'    ' stands for ordinary text",
        ),
        (without_a_byte, "no token for the byte 7"),
        (reversed_merges, "not in the order of their ids"),
        (other_split, "as byte pair encoding would"),
        *((lambda _, split=split: byte_level(split), "not known to match every text") for split in PARTIAL.values()),
    ],
)
def test_what_tiktoken_would_not_do_alike_is_done_by_the_library(
    plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, reason: str
) -> None:
    content = change(plain)
    ours = read_tokenizer_folder(write(tmp_path, content))
    assert isinstance(ours, LibraryTokenizer)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(content))
    theirs.encode_special_tokens = True
    for text in draw(100):
        assert ours.encode(text).tolist() == theirs.encode(text, add_special_tokens=False).ids
    # And the reason is told where the library is not there.
    forget = tokenizer_json_reading._read_once
    forget.cache_clear()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=rf"pip install 'gpt-lightning\[hf\]' \(tiktoken cannot.*{reason}") as told:
        read_tokenizer_folder(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plain: changed(plain, model={"type": "Unigram"}), "the library tokenizers does not take it"),
        (lambda plain: changed(plain, pre_tokenizer={"type": "Nothing"}), "the library tokenizers does not take it"),
        (lambda plain: changed(plain, added_tokens=[]), "no special token"),
        (
            lambda plain: changed(plain, added_tokens=[{"id": 1 << 60, "content": "<x>", "special": True}]),
            "the id of '<x>' is 1152921504606846976",
        ),
        (
            lambda plain: changed(
                plain, added_tokens=[*plain["added_tokens"], added_token("<y>", 5000)], normalizer={}
            ),
            "does not take it|ids of its added tokens",
        ),
        (
            lambda plain: changed(plain, model={"vocab": {**plain["model"]["vocab"], "zq": 3}}),
            "two of its tokens have one",
        ),
        (lambda plain: changed(plain, model={"merges": ["a b c"]}), "is no merge of two tokens"),
        (lambda plain: changed(plain, model={"merges": [["z", "\u0100"]]}), "makes no token"),
        (lambda plain: {"model": 3}, "is not a tokenizer.json"),
        (lambda plain: {"model": {"type": "BPE", "vocab": 7}, "added_tokens": [added_token("</s>", 0)]}, "is not a"),
    ],
)
def test_what_makes_no_tokenizer_is_refused_with_the_reason(
    plain: dict[str, Any], tmp_path: Path, change: Any, reason: str
) -> None:
    with pytest.raises(DataError, match=reason) as told:
        read_tokenizer_folder(write(tmp_path, change(plain)))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{", "[]", '{"a": "\ud800"'.encode("utf-8", "surrogatepass").decode("latin1")]
)
def test_files_that_are_no_json_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        read_tokenizer_folder(write(tmp_path, content))

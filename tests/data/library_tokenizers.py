"""Files of the kinds that only Hugging Face's library runs, learned from a few lines by the library itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LINES = [
    "the cat sat on the mat, and the dog did not.",
    "naïve café 12 345",
    "def f(x): return x",
    "一个 中文 句子",
] * 4
BYTES = [f"<0x{value:02X}>" for value in range(256)]
ENDS = ["<unk>", "<s>", "</s>"]


def _finish(theirs: Tokenizer, change: Callable[[dict[str, Any]], Any] = lambda content: None) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(theirs.to_str())
    change(content)
    return content


def llama2() -> dict[str, Any]:
    """BPE over characters, bytes for what it does not know, a space in front of every text."""
    learned = Tokenizer(models.BPE(unk_token="<unk>"))
    learned.normalizer = normalizers.Replace(" ", "▁")
    learned.train_from_iterator(
        [f" {line}" for line in LINES], trainers.BpeTrainer(vocab_size=70, special_tokens=ENDS, show_progress=False)
    )
    content = json.loads(learned.to_str())
    names = [*ENDS, *BYTES]
    names += [token for token in content["model"]["vocab"] if token not in names]
    theirs = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    theirs.add_special_tokens(ENDS)
    theirs.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    theirs.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    theirs.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])

    def fill(made: dict[str, Any]) -> None:
        vocabulary = {name: number for number, name in enumerate(names)}
        made["model"] |= {"vocab": vocabulary, "merges": content["model"]["merges"]}

    return _finish(theirs, fill)


def unigram() -> dict[str, Any]:
    """As T5 and Albert: its special tokens are pieces like any other, and unknown characters are lost."""
    theirs = Tokenizer(models.Unigram())
    theirs.normalizer = normalizers.NFKC()
    theirs.pre_tokenizer = pre_tokenizers.Metaspace()
    theirs.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    theirs.train_from_iterator(LINES, trainer)
    return _finish(theirs)


def wordpiece() -> dict[str, Any]:
    """As BERT: lower case, accents gone, words that it does not have are one unknown token."""
    theirs = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    theirs.normalizer = normalizers.BertNormalizer()
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    theirs.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=150, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    theirs.train_from_iterator(LINES, trainer)
    return _finish(theirs)


def byte_level(split: str | None = None, *, prefix: bool = False, **options: Any) -> dict[str, Any]:
    """BPE over bytes that cuts text by a pattern of its own, or writes a space in front of it (RoBERTa, OPT)."""
    theirs = Tokenizer(models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=split is None)
    theirs.pre_tokenizer = last
    if split is not None:
        from tokenizers import Regex

        cut = pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False)
        theirs.pre_tokenizer = pre_tokenizers.Sequence([cut, last])
    theirs.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator(LINES, trainer)
    return _finish(theirs, lambda content: content["model"].update(options))


def whole_words() -> dict[str, Any]:
    """Words between spaces, an end of text among them."""
    words = sorted({word for line in LINES for word in line.split()})
    vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", *words])}
    theirs = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    theirs.add_special_tokens(["<unk>", "</s>"])
    theirs.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _finish(theirs)


BLOOM = " ?[^(\\s|[.,!?…。，、।\u06d4،])]+"
PARTIAL = {
    "bloom": BLOOM,
    "letters": r"\p{L}+",
    "digits": r"\p{N}{1,3}",
    "gpt2-but-one": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    "zero-width": r"\p{L}+|(?=\p{N})",
}
"""Patterns that do not match all of a text."""

KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "llama2": llama2,
    "unigram": unigram,
    "wordpiece": wordpiece,
    "prefix-space": lambda: byte_level(prefix=True),
    "whole-words": whole_words,
    "suffix": lambda: _suffix(),
    **{name: partial(byte_level, split) for name, split in PARTIAL.items()},
}


def _suffix() -> dict[str, Any]:
    """Words end in a mark of their own (GPT-1, CLIP)."""
    theirs = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    theirs.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    theirs.decoder = decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=150, special_tokens=["<unk>", "</s>"], end_of_word_suffix="</w>", show_progress=False
    )
    theirs.train_from_iterator(LINES, trainer)
    return _finish(theirs)

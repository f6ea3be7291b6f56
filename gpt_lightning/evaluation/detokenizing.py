"""Back from the tokenization of old corpora to plain text, which is what models are trained on.

GPT-2's numbers on WikiText and the Penn Treebank use such detokenizers (2.5 to 5 points of perplexity, section 3.1 of
the paper); theirs are not published, so ours are stated here. Perplexity is still per word of the *original* text.
"""

from __future__ import annotations

import re

_CONTRACTIONS = re.compile(r" (n't|'s|'re|'ve|'ll|'d|'m)\b", re.IGNORECASE)
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}


def keep_text(text: str) -> str:
    """The text as it is."""
    return text


def detokenize_wikitext(text: str) -> str:
    """WikiText: ``@-@``, ``@,@`` and ``@.@`` inside words, spaces around punctuation, brackets and quotes.

    ``<unk>``, headings (`` = Title = ``) and line ends stay.
    """
    text = re.sub(r" @([-,.])@ ", r"\1", text)
    text = re.sub(r" ([,.;:!?%)\]])", r"\1", text)
    text = re.sub(r"([(\[$£]) ", r"\1", text)
    text = re.sub(r'" ([^"\n]*?) "', r'"\1"', text)
    return _CONTRACTIONS.sub(r"\1", text)


def detokenize_ptb(text: str) -> str:
    """The Penn Treebank as prepared by Mikolov, and the Children's Book Test: contractions, quotes, brackets.

    ``<unk>`` and ``N`` (a number) stay.
    """
    for mark, sign in _BRACKETS.items():
        text = text.replace(mark, sign)
    text = re.sub(r"(?:``|'') ?(.*?) ?''", r'"\1"', text)
    text = text.replace("``", '"').replace("''", '"')
    text = _CONTRACTIONS.sub(r"\1", text)
    text = re.sub(r" ([,.;:!?%)\]])", r"\1", text)
    text = re.sub(r"([(\[$#]) ", r"\1", text)
    return re.sub(r" ' (?=\w)", r"' ", text)


DETOKENIZERS = {"none": keep_text, "wikitext": detokenize_wikitext, "ptb": detokenize_ptb}


def count_words(text: str) -> int:
    """Words between spaces, and one end of sentence for every line: how perplexities of these corpora are counted."""
    return len(text.split()) + text.count("\n") + (not text.endswith("\n"))


UNITS = {"word": count_words, "character": len, "byte": lambda text: len(text.encode("utf-8"))}
"""What a published number divides by, of the stored text."""

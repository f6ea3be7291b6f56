"""How text is cut into the units that BLEU, ROUGE and F1 count.

    13a     words and punctuation as the WMT scripts cut them; ROUGE's own rule (runs of a-z and 0-9, lower case)
    intl    the same for any alphabet with spaces (Unicode): a word is letters with their accents and vowel signs
    zh      Chinese characters one by one, everything else as words
    char    every character that is not a space (Japanese, Thai: no spaces, and not only Chinese characters)

The names are sacrebleu's. With 13a a Chinese sentence is one word, and BLEU and ROUGE are 0.0 however good it is: that
is why ``choose_cut`` looks at the text. ROUGE's 13a drops every accented letter, as its published scores in English do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from gpt_lightning.errors import ConfigError

CUTS = ("13a", "intl", "zh", "char")
AUTO = "auto"

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_KANA = "\u3040-\u30ff"
_HAN_RE, _KANA_RE = re.compile(f"[{_HAN}]"), re.compile(f"[{_KANA}]")
_SHARE = 0.1
_ACCENTED_SHARE = 0.005
"""Latin letters with accents of all letters: French has 4 %, German 1.5 %, English with its names 0.1 %."""
_ACCENTED_RE = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_JOINERS = "\u200c\u200d"  # inside words of Persian and of Indic scripts
_SPACELESS_RE = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese, Khmer
_UNITS = {
    "13a": re.compile(r"[a-z0-9]+"),
    "intl": re.compile(r"\w+"),
    "zh": re.compile(rf"[{_HAN}{_KANA}]|[^\W{_HAN}{_KANA}]+"),
    "char": re.compile(r"\S"),
}


def check_cut(name: str) -> str:
    """The name, if there is such a cut (or ``auto``).

    Raises:
        ConfigError: There is none.
    """
    if name not in (AUTO, *CUTS):
        raise ConfigError(
            "No such way to cut text", got=name, allowed=", ".join((AUTO, *CUTS)), fix="Leave it out to choose by text."
        )
    return name


def choose_cut(texts: Iterable[str], *, of_words: bool = False) -> str:
    """The cut that fits these texts (references, say): by the share of each script among their letters.

    A tenth of Chinese characters makes ``zh``, a tenth of kana or of a script without spaces ``char``; more letters
    outside a-z than inside make ``intl``; else ``13a``.

    Args:
        texts: To look at.
        of_words: For ROUGE, whose 13a knows a-z only: one accented letter in 200 makes ``intl`` as well.
    """
    letters = han = spaceless = latin = accented = 0
    for each in texts:
        text = unicodedata.normalize("NFC", each)
        letters += sum(character.isalpha() for character in text)
        latin += sum(character.isascii() and character.isalpha() for character in text)
        accented += len(_ACCENTED_RE.findall(text)) if of_words else 0
        han += len(_HAN_RE.findall(text))
        spaceless += len(_KANA_RE.findall(text)) + len(_SPACELESS_RE.findall(text))
    if spaceless >= _SHARE * letters and spaceless:
        return "char"
    if han >= _SHARE * letters and han:
        return "zh"
    return "intl" if 2 * latin < letters or accented > _ACCENTED_SHARE * letters else "13a"


def cut_text(text: str, cut: str) -> list[str]:
    """The units of a text in lower case, punctuation left out (``char`` keeps it)."""
    return _find_units(text.lower(), cut)


def _find_units(text: str, cut: str) -> list[str]:
    if cut in ("13a", "char") or text.isascii():  # the first as published, the second takes everything
        return _UNITS[cut].findall(text)
    text = unicodedata.normalize("NFC", text)
    return [text[found.start() : found.end()] for found in _UNITS[cut].finditer(_mask_marks(text))]


def _mask_marks(text: str) -> str:
    """As many characters, with a letter for every mark behind a letter, where ``re`` would end the word."""
    masked, in_word = [], False
    for character in text:
        if character in _JOINERS or unicodedata.category(character)[0] == "M":
            masked.append("a" if in_word else character)
        else:
            in_word = character.isalnum() and not _HAN_RE.match(character) and not _KANA_RE.match(character)
            masked.append(character)
    return "".join(masked)


def normalize_answer(text: str, cut: str) -> list[str]:
    """The units of a short answer as SQuAD compares them: lower case, no punctuation, no English articles.

    Chinese is compared by characters, as in CMRC 2018. (Rajpurkar et al. 2016; Cui et al. 2019.)
    """
    plain = "".join(" " if unicodedata.category(c)[0] in "PS" and cut != "13a" else c for c in text.lower())
    if cut == "13a":
        # SQuAD removes ASCII punctuation without leaving a space, and only then the articles.
        plain = re.sub(r"[!-/:-@\[-`{-~]", "", plain)
        return re.sub(r"\b(a|an|the)\b", " ", plain).split()
    return _find_units(plain, cut)

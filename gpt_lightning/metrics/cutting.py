"""How text is cut into the units that BLEU, ROUGE and F1 count.

    13a     words and punctuation as the WMT scripts cut them; ROUGE's own rule (runs of a-z and 0-9, lower case)
    intl    the same for any alphabet with spaces (Unicode)
    zh      Chinese characters one by one, everything else as words
    char    every character that is not a space (Japanese, Thai: no spaces, and not only Chinese characters)

The names are sacrebleu's. With 13a a Chinese sentence is one word, and BLEU and ROUGE are 0.0 however good it is: that
is why ``choose_cut`` looks at the text.
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


def choose_cut(texts: Iterable[str]) -> str:
    """The cut that fits these texts (references, say): by the share of each script among their letters.

    A tenth of Chinese characters makes ``zh``, a tenth of kana or of a script without spaces ``char``; more letters
    outside a-z than inside make ``intl``; else ``13a``.
    """
    letters = han = spaceless = latin = 0
    for text in texts:
        letters += sum(character.isalpha() for character in text)
        latin += sum(character.isascii() and character.isalpha() for character in text)
        han += len(_HAN_RE.findall(text))
        spaceless += len(_KANA_RE.findall(text)) + len(_SPACELESS_RE.findall(text))
    if spaceless >= _SHARE * letters and spaceless:
        return "char"
    if han >= _SHARE * letters and han:
        return "zh"
    return "intl" if 2 * latin < letters else "13a"


def cut_text(text: str, cut: str) -> list[str]:
    """The units of a text in lower case, punctuation left out (``char`` keeps it)."""
    return _UNITS[cut].findall(text.lower())


def normalize_answer(text: str, cut: str) -> list[str]:
    """The units of a short answer as SQuAD compares them: lower case, no punctuation, no English articles.

    Chinese is compared by characters, as in CMRC 2018. (Rajpurkar et al. 2016; Cui et al. 2019.)
    """
    plain = "".join(" " if unicodedata.category(c)[0] in "PS" and cut != "13a" else c for c in text.lower())
    if cut == "13a":
        # SQuAD removes ASCII punctuation without leaving a space, and only then the articles.
        plain = re.sub(r"[!-/:-@\[-`{-~]", "", plain)
        return re.sub(r"\b(a|an|the)\b", " ", plain).split()
    return _UNITS[cut].findall(plain)

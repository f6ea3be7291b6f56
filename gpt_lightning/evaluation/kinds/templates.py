"""Texts with holes: ``Question: {question} Answer: {choice}``.

Prompts -> ids, and where the context ends and what is scored begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.rows import Row
from gpt_lightning.evaluation.scoring.continuations import Pair

_HOLE = re.compile(r"\{([^{}\n]+)\}")


class Template:
    """A text with fields of a row in braces; dots lead into objects and lists (``{target.span1_text}``).

    Args:
        text: The text; braces around anything else cannot be written.
        setting: Name of the setting, for messages.

    Raises:
        ConfigError: Braces that do not match.
    """

    def __init__(self, text: str, setting: str) -> None:
        rest = _HOLE.sub("", text)
        if "{" in rest or "}" in rest:
            raise ConfigError(
                f"{setting} is not a template", got=text, allowed="{field}", fix="Close every brace around a field."
            )
        self.text = text
        self.fields = list(dict.fromkeys(_HOLE.findall(text)))

    def fill(self, row: Row, values: Mapping[str, str] | None = None) -> str:
        """The text of a row.

        Args:
            row: Its fields; a list is written with commas, anything else but text as Python shows it.
            values: Further fields, which win.

        Raises:
            DataError: The row has no such field.
        """
        known = values or {}
        return _HOLE.sub(lambda hole: known[hole[1]] if hole[1] in known else _write(row.pick(hole[1])), self.text)


def _write(value: object) -> str:
    return ", ".join(map(_write, value)) if isinstance(value, list) else str(value)


def encode_pairs(
    tokenizer: Tokenizer, texts: Sequence[tuple[str, str]], *, begin: str, place: str, together: bool = True
) -> list[Pair]:
    """Ids of several contexts, each with a continuation.

    A context and its continuation are encoded as one text, since a tokenizer may join their border: spaces at the
    context's end always belong to the continuation. Where all continuations have one context, they are cut at the same
    token, the first at which any of them differs from the context alone, so that they are compared behind the same
    beginning.

    Args:
        tokenizer: The model's.
        texts: Contexts and continuations.
        begin: ``eot``: end-of-text before each; ``none``: only before an empty context.
        place: For messages.
        together: Whether texts of the same context are compared with each other.

    Raises:
        DataError: A continuation is empty, or the tokenizer refuses a text.
    """
    wholes, cuts = [], []
    for context, continuation in texts:
        if not continuation:
            raise DataError(f"{place} asks for an empty text", fix="Check the template of the task.")
        try:
            head = tokenizer.encode(context.rstrip()).tolist()
            whole = tokenizer.encode(context + continuation).tolist()
        except DataError as error:
            raise DataError(f"{place}: {str(error).rstrip('.')}") from error
        wholes.append(whole)
        cuts.append(min(_common_length(head, whole), len(whole) - 1))
    lowest: dict[str, int] = {}
    for (context, _), cut in zip(texts, cuts, strict=True):
        lowest[context] = min(cut, lowest.get(context, cut))
    pairs: list[Pair] = []
    for (context, _), whole, cut in zip(texts, wholes, cuts, strict=True):
        place_of_cut = lowest[context] if together else cut
        start = [tokenizer.begin_id] if begin == "eot" or not place_of_cut else []
        pairs.append(([*start, *whole[:place_of_cut]], whole[place_of_cut:]))
    return pairs


def _common_length(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))

"""Prompts -> ids, and where the context ends and what is scored begins."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_lightning.data.tokenizers import Tokenizer
from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.continuations import Pair


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
        start = [tokenizer.eot_id] if begin == "eot" or not place_of_cut else []
        pairs.append(([*start, *whole[:place_of_cut]], whole[place_of_cut:]))
    return pairs


def _common_length(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))

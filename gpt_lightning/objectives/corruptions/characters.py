"""Where text may be cut: between its characters, whatever its tokens are.

Tokens of a byte-level vocabulary may begin inside a character, and no cut may fall there. Others hold several
characters, and a model that never saw a cut inside them would not know how to go on from one; whoever asks for a
middle cuts where they like. So a token may be cut as well, where both halves are tokens themselves:

>>> texts = [b"", b"a", b"b", b"ab"]
>>> cuts = CharacterCuts(texts, torch.device("cpu"))
>>> cuts.halve(torch.tensor([3]), torch.tensor([1])).tolist()
[[1, 2]]
>>> cuts.is_pair(torch.tensor([1]), torch.tensor([2])).tolist(), cuts.join(1, 2)
([True], 3)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

_MOST = 16
"""Characters of a token that are looked at; longer ones are rare, and mostly runs of spaces."""
_INSIDE = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 with which no character begins."""


class CharacterCuts:
    """What a vocabulary says about cuts, as tables on a device.

    Args:
        texts: Bytes of every id; empty for special tokens.
        device: Where the rows are.

    Attributes:
        texts: As given.
        begins_inside: Whether a token begins inside a character, ``(vocab,)``.
        characters: Characters that begin in a token, but at least 1 and at most 16, ``(vocab,)``.
    """

    def __init__(self, texts: Sequence[bytes], device: torch.device) -> None:
        self.texts = texts
        halves = _find_halves(texts)
        self._joined = {(left, right): token for (token, _), (left, right) in halves.items()}
        self._size = len(texts)
        self.begins_inside = torch.tensor([text[:1] in _INSIDE and text != b"" for text in texts], device=device)
        counts = [len(text.translate(None, _INSIDE)) for text in texts]
        self.characters = torch.tensor(counts, device=device).clamp(1, _MOST)
        table = torch.full((len(texts), _MOST, 2), -1, dtype=torch.int32)
        if halves:
            table[tuple(torch.tensor(list(halves)).T)] = torch.tensor(list(halves.values()), dtype=torch.int32)
        self._halves = table.to(device)
        keys = sorted(left * self._size + right for left, right in self._joined) or [-1]
        self._pairs = torch.tensor(keys, device=device)

    @classmethod
    def of(cls, texts: Sequence[bytes], device: torch.device) -> CharacterCuts:
        """The tables of a vocabulary, made once; the last vocabulary of each device is kept."""
        found = _KNOWN.get(device)
        if found is None or found.texts is not texts:
            found = _KNOWN[device] = cls(texts, device)
        return found

    def halve(self, tokens: Int[Tensor, "*shape"], characters: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape 2"]:
        """The two tokens that a token is cut into behind so many of its characters; -1 where it cannot be."""
        return self._halves[tokens, characters].long()

    def is_pair(self, left: Int[Tensor, "*shape"], right: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Whether two tokens in a row look like the halves of one."""
        keys = left * self._size + right
        places = torch.searchsorted(self._pairs, keys.contiguous()).clamp_max(len(self._pairs) - 1)
        return self._pairs[places] == keys

    def join(self, left: int, right: int) -> int | None:
        """The token of which two are the halves; None where they are not."""
        return self._joined.get((left, right))


_KNOWN: dict[torch.device, CharacterCuts] = {}


def _find_halves(texts: Sequence[bytes]) -> dict[tuple[int, int], tuple[int, int]]:
    """(token, characters in front of the cut) -> its two halves."""
    times = Counter(texts)
    # A text that two ids have could not be put together again.
    numbers = {text: number for number, text in enumerate(texts) if text and times[text] == 1}
    halves = {}
    for text, number in numbers.items():
        if len(text) == 1:
            continue
        borders = [at for at in range(1, len(text)) if text[at] not in _INSIDE][: _MOST - 1]
        for count, at in enumerate(borders, 1):
            left, right = numbers.get(text[:at]), numbers.get(text[at:])
            if left is not None and right is not None:
                halves[number, count] = left, right
    return halves

"""Keys and values of prompts that were read before, by pieces: what begins alike is not read again.

A piece is found by everything its numbers depend on: the tokens from position 0 to its end, and the adapter (the base
weights are the engine's, which has a cache of its own). Only whole pieces of prompts are kept. What decoding has
written is not: its rounding is that of single rows, and the next answer would depend on whether it is still here.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from torch import Tensor

Piece = list[tuple[Tensor, Tensor]]
"""Keys and values of one piece, ``(heads, piece, head)`` each, by layer."""


class PromptCache:
    """The pieces used last, up to a number of bytes.

    Args:
        capacity_bytes: Most memory of all pieces together.

    Attributes:
        size_bytes: Memory in use.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.size_bytes = 0
        self._capacity = capacity_bytes
        self._pieces: OrderedDict[bytes, Piece] = OrderedDict()

    def find(self, keys: Sequence[bytes]) -> list[Piece]:
        """The leading pieces that are here, up to the first that is not."""
        found: list[Piece] = []
        for key in keys:
            if key not in self._pieces:
                break
            found.append(self._pieces[key])
        # A piece is of use only with those before it, so they count as used later and leave later.
        for key in reversed(keys[: len(found)]):
            self._pieces.move_to_end(key)
        return found

    def keep(self, key: bytes, piece: Piece) -> None:
        """Keep a piece, in the place of those that were not used for longest."""
        size = _count_bytes(piece)
        if key in self._pieces or size > self._capacity:
            return
        while self.size_bytes + size > self._capacity:
            self.size_bytes -= _count_bytes(self._pieces.popitem(last=False)[1])
        self._pieces[key] = piece
        self.size_bytes += size


def _count_bytes(piece: Piece) -> int:
    return sum(tensor.nbytes for pair in piece for tensor in pair)


def name_pieces(tokens: Sequence[int], piece_tokens: int, scope: str) -> list[bytes]:
    """A key for each whole piece of a prompt: BLAKE2b of its tokens and the key of the piece before it.

    Args:
        tokens: The prompt from position 0.
        piece_tokens: Length of a piece.
        scope: What else the numbers depend on.
    """
    keys: list[bytes] = []
    key = scope.encode()
    for piece in _cut(tokens, piece_tokens):
        key = hashlib.blake2b(key + array("q", piece).tobytes(), digest_size=16).digest()
        keys.append(key)
    return keys


def _cut(tokens: Sequence[int], piece_tokens: int) -> Iterable[Sequence[int]]:
    whole = len(tokens) - len(tokens) % piece_tokens
    return (tokens[start : start + piece_tokens] for start in range(0, whole, piece_tokens))

"""From token ids to characters while they arrive; a character may be spread over several tokens."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from gpt_lightning.generation.decode import generate
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.gpt import GPT


@runtime_checkable
class TextTokenizer(Protocol):
    """What generation needs of a tokenizer."""

    @property
    def eot_id(self) -> int:
        """Id of the token between documents."""

    def encode(self, text: str) -> Any:
        """Ids of ``text``, a sequence of integers (a NumPy array will do)."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """UTF-8 bytes of ``ids``; the bytes of a list are those of its members in a row."""


class StreamDecoder:
    """Emits whole characters only: bytes of an unfinished one wait for the next token.

    All pieces joined equal ``decode_bytes(ids).decode("utf-8", errors="replace")``.

    Args:
        tokenizer: Gives the bytes of a token.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The characters that ``token`` completes; often none, for a token inside a character."""
        return self._decoder.decode(self._tokenizer.decode_bytes([token]))

    def flush(self) -> str:
        """The end of the stream: U+FFFD for a character that was never completed, else nothing."""
        return self._decoder.decode(b"", final=True)


def generate_text(
    model: GPT,
    tokenizer: TextTokenizer,
    prompt: str,
    *,
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> Iterator[str]:
    """The continuation of ``prompt`` (without the prompt) in pieces of whole characters, as they are decoded.

    Ends after ``max_tokens`` tokens or at the end of the document. An empty prompt begins a new document. Other
    arguments and errors as in ``generate``.
    """
    ids = [int(token) for token in tokenizer.encode(prompt)] or [tokenizer.eot_id]
    decoder = StreamDecoder(tokenizer)
    tokens = generate(
        model, ids, max_tokens=max_tokens, sampling=sampling, generator=generator, stop_id=tokenizer.eot_id
    )
    for token in tokens:
        piece = decoder.feed(token)
        if piece:
            yield piece
    rest = decoder.flush()
    if rest:
        yield rest

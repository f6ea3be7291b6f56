"""What every tokenizer is: text <-> token ids, with a fingerprint and a description in plain data."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.tokenizers.bpe import replace_surrogates
from gpt_lightning.errors import DataError

Ids = npt.NDArray[np.unsignedinteger[Any]]
"""Token ids: uint16 up to 65,536 tokens, else uint32."""
_TEXT = "text_fingerprint"


class Tokenizer(ABC):
    """Text <-> ids.

    Attributes:
        kind: Key of the class in descriptions.
        name: Shown in messages and folder names.
        eot_id: Id of end-of-text, which stands in front of every document of a store.
        begin_id: Id in front of a text that a model is given: ``eot_id``, or the begin-of-text of an imported model
            (Llama's), which then also begins every document, behind end-of-text.
        special_ids: Ids that ``encode`` never produces and that stand for no text; end-of-text among them.
        end_ids: Ids at which a text that a model writes is over: ``eot_id``, and of a chat model what ends a turn.
        added: Special tokens that ``adding`` brought, in the order of their ids, the last ones.
        lossless: Whether decoding gives back every text that ``encode`` takes, to the byte.
        unknown_id: What stands for text that the vocabulary cannot write; None = there is no such id.
    """

    kind: ClassVar[str]
    lossless: bool = True
    unknown_id: int | None = None

    def __init__(self, name: str, eot_id: int, special_ids: Iterable[int]) -> None:
        self.name, self.eot_id, self.special_ids = name, eot_id, frozenset(special_ids)
        self.begin_id = eot_id
        self.end_ids: tuple[int, ...] = (eot_id,)
        self.added: tuple[str, ...] = ()
        self._base: Tokenizer = self

    def adding(self, names: Iterable[str]) -> Tokenizer:
        """The same tokenizer with further special tokens, behind its other ids; every text keeps its ids.

        Args:
            names: How they are written; those that are special tokens of it already stay what they are.

        Raises:
            DataError: A name is how an ordinary token is written.
        """
        known = self.specials
        new = [name for name in dict.fromkeys(names) if name not in known]
        if not new:
            return self
        ordinary = sorted({name.encode() for name in new} & set(self.pieces))
        if ordinary:
            raise DataError(
                f"Tokenizer {self.name} has an ordinary token that is written like the special token to be added",
                got=ordinary[0].decode(),
                fix="Choose another name for the special token.",
            )
        other = copy.copy(self)
        for cached in ("pieces", "parts"):
            vars(other).pop(cached, None)
        other._base, other.added = self._base, (*self.added, *new)
        other.special_ids = self.special_ids | set(range(self.vocab_size, self.vocab_size + len(new)))
        return other

    def beginning_with(self, number: int | None) -> Tokenizer:
        """The same tokenizer for a model whose texts begin with a token of their own.

        Args:
            number: The id of a special token; None = end-of-text.
        """
        if number is None or number == self.begin_id:
            return self
        other = copy.copy(self)
        vars(other).pop("parts", None)
        other.begin_id, other._base = number, other
        return other

    def ending_at(self, ids: Iterable[int]) -> Tokenizer:
        """The same tokenizer for a model that also ends its texts at other ids.

        Args:
            ids: From a model's configuration. Ids of ordinary text are passed over: configurations carry the default of
                their class along, which in another vocabulary is a word.
        """
        more = [number for number in ids if number in self.special_ids]
        if set(more) <= set(self.end_ids):
            return self
        other = copy.copy(self)
        other.end_ids = tuple(dict.fromkeys((*self.end_ids, *more)))
        return other

    @abstractmethod
    def _encode(self, text: str) -> npt.NDArray[np.integer[Any]]:
        """Ids of text without surrogates."""

    @abstractmethod
    def _list_pieces(self) -> list[bytes]:
        """Bytes of every id in order; specials as they are written, empty where an id is not in use."""

    @abstractmethod
    def _list_parts(self) -> dict[str, bytes]:
        """What determines the ids, by name."""

    @abstractmethod
    def _describe_content(self) -> dict[str, Any]:
        """What ``_from_content`` needs, as JSON values."""

    @classmethod
    @abstractmethod
    def _from_content(cls, content: Mapping[str, Any]) -> Tokenizer:
        """Inverse of ``_describe_content``."""

    @cached_property
    def pieces(self) -> list[bytes]:
        """Bytes of every id in order; specials as they are written, empty where an id is not in use."""
        return self._list_pieces() + [name.encode() for name in self.added]

    @property
    def opening(self) -> tuple[int, ...]:
        """What begins every text of a store, behind end-of-text: begin-of-text, where that is a token of its own."""
        return () if self.begin_id == self.eot_id else (self.begin_id,)

    @property
    def specials(self) -> dict[str, int]:
        """How the special tokens are written, with their ids, by id."""
        return {self.pieces[number].decode("utf-8"): number for number in sorted(self.special_ids)}

    @property
    def vocab_size(self) -> int:
        """Number of ids: 1 + the largest."""
        return len(self.pieces)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Narrowest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def encode(self, text: str) -> Ids:
        """Ids of a text, without end-of-text.

        Returns:
            Array of ``dtype``, one axis.

        Raises:
            DataError: ``chars`` only: a character that is not in the vocabulary.
        """
        clean, _ = replace_surrogates(text)
        return self._encode(clean).astype(self.dtype)

    def decode_bytes(self, ids: Iterable[int] | npt.NDArray[Any]) -> bytes:
        """Bytes behind ids; may end inside a character.

        Raises:
            DataError: An id outside the vocabulary.
        """
        pieces = self.pieces
        numbers = np.asarray(ids if isinstance(ids, np.ndarray | Sequence) else list(ids), dtype=np.int64).reshape(-1)
        outside = (numbers < 0) | (numbers >= len(pieces))
        if outside.any():
            position = int(outside.argmax())
            raise DataError(
                f"Cannot decode the id at position {position} with tokenizer {self.name}",
                got=int(numbers[position]),
                allowed=f"0 to {len(pieces) - 1}",
                fix="Decode with the tokenizer that made the ids.",
            )
        return b"".join([pieces[number] for number in numbers.tolist()])

    def decode(self, ids: Iterable[int] | npt.NDArray[Any]) -> str:
        """Text behind ids; bytes that are not UTF-8 become U+FFFD, end-of-text is written ``<|endoftext|>``.

        Raises:
            DataError: An id outside the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token_bytes(self) -> npt.NDArray[np.int64]:
        """UTF-8 bytes of text that each id stands for, ``(vocab,)``; 0 for specials. Makes bits per byte exact."""
        lengths = np.array([len(piece) for piece in self.pieces], dtype=np.int64)
        lengths[sorted(self.special_ids)] = 0
        return lengths

    @cached_property
    def parts(self) -> dict[str, str]:
        """SHA-256 of each part that determines the ids, so that a mismatch can say which part differs."""
        if self.added:
            return {**self._base.parts, "added": hashlib.sha256(json.dumps(self.added).encode()).hexdigest()}
        own = {} if self.begin_id == self.eot_id else {"begin_of_text": str(self.begin_id).encode()}
        return {name: hashlib.sha256(content).hexdigest() for name, content in {**self._list_parts(), **own}.items()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over everything that determines the ids; equal fingerprints, equal ids."""
        return hashlib.sha256(json.dumps([self.kind, self.parts], sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Plain JSON data from which ``from_description`` makes the same tokenizer.

        Self-contained, except that tiktoken's own encodings are named, not copied.
        """
        known = {"kind": self.kind, "name": self.name, "fingerprint": self.fingerprint, "parts": dict(self.parts)}
        # Left out where it says nothing: earlier versions do not know the entry.
        ends = {"end_ids": list(self.end_ids)} if len(self.end_ids) > 1 else {}
        begin = {} if self.begin_id == self.eot_id else {"begin_id": self.begin_id}
        more = {"added": list(self.added), _TEXT: self._base.fingerprint} if self.added else {}
        return {**known, **begin, **ends, **more, **self._describe_content()}


def text_fingerprint(description: Mapping[str, Any]) -> str:
    """Fingerprint of what a described tokenizer makes of text, whatever special tokens were added to it."""
    return str(description.get(_TEXT, description["fingerprint"]))

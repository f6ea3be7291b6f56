"""A ``tokenizer.json`` run by Hugging Face's ``tokenizers``: Unigram, WordPiece, byte fallback, metaspace and the rest.

The library makes the ids, so they are its own by construction. What is ours:

- Text never becomes a special token. ``encode_special_tokens`` sees to it where the library looks for them; a model
  that has their spelling among its ordinary pieces (Unigram, whole words) would still find them, so their first
  letter is cut off from the rest, and what slips through even then is refused.
- What stands around a text (``post_processor``), truncation, padding and dropout are left out: documents are put
  together by whoever makes them, and the same text has the same ids.
- Bytes of a single id, which streaming and bits per byte need and the library does not tell: what an id adds behind
  another one. Many of these vocabularies write a space in front of a text; ``decode`` of a whole text takes it away
  again, ``decode_bytes`` of a continuation does not.

Such a tokenizer may change text (lower case, Unicode forms, characters it cannot write): ``lossless`` is False, and
``prepare`` counts what changed.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.tokenizers.bpe import byte_letters
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.errors import DataError
from gpt_lightning.parsing.extras import import_extra

LARGEST_ID = 1 << 22
LARGEST_FILE = 1 << 28
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_MOST_PROBES = 1000


class LibraryTokenizer(Tokenizer):
    """A tokenizer that the library runs.

    Args:
        name: Shown in messages and folder names.
        content: Of ``tokenizer.json``.
        end_of_text: Which of its special tokens stands between documents.

    Raises:
        DataError: The library is not installed or does not take the file; ids that are no ids.
    """

    kind = "tokenizers"
    lossless = False

    def __init__(self, name: str, content: Mapping[str, Any], end_of_text: str) -> None:
        library = import_extra("tokenizers", "hf", "This tokenizer.json needs")
        left_out = dict.fromkeys(("truncation", "padding", "post_processor"))
        model = {**content["model"], **({"dropout": None} if "dropout" in content["model"] else {})}
        added = list(content.get("added_tokens") or [])
        self.content: dict[str, Any] = {**content, **left_out, "model": model, "added_tokens": added}
        self._end_of_text = end_of_text
        self._theirs = _load(library, self.content)
        vocabulary: dict[str, int] = self._theirs.get_vocab()
        self._size = 1 + max(vocabulary.values(), default=-1)
        moved = [entry["content"] for entry in added if vocabulary.get(entry["content"]) != entry["id"]]
        if self._size > LARGEST_ID or moved:
            raise DataError("ids of its added tokens are not those of the vocabulary", got=moved[:3] or self._size)
        self.unknown_id = _find_unknown(self.content["model"], vocabulary)
        self._specials = {
            entry["content"]: int(entry["id"])
            for entry in added
            if entry["special"] and not _BYTE.fullmatch(entry["content"])
        }
        control = [number for number in self._specials.values() if number != self.unknown_id]
        super().__init__(name, self._specials[end_of_text], control)
        self._is_control = np.zeros(self._size, dtype=bool)
        self._is_control[control] = True
        reachable = [text for text in self._specials if self._finds(text)]
        if reachable:
            self._theirs = _load(library, _cut_apart(self.content, reachable))

    @property
    def vocab_size(self) -> int:
        """Number of ids: 1 + the largest."""
        return self._size + len(self.added)

    def decode(self, ids: Any) -> str:
        """A whole text: without the space that the tokenizer itself puts around it."""
        text = self.decode_bytes(ids)
        before, behind = self._surroundings
        return text.removeprefix(before).removesuffix(behind).decode("utf-8", errors="replace")

    def _encode(self, text: str) -> npt.NDArray[np.integer[Any]]:
        with _told(f"Tokenizer {self.name} cannot write this text"):
            ids = np.array(self._theirs.encode(text, add_special_tokens=False).ids, dtype=np.int64)
        if self._is_control[ids].any():
            number = int(ids[self._is_control[ids].argmax()])
            raise DataError(
                f"This text holds {self._theirs.id_to_token(number)!r}, which tokenizer {self.name} cannot tell from "
                "its special token",
                fix="Take it out of the text, or use another tokenizer.",
            )
        return ids

    def _finds(self, special: str) -> bool:
        """Whether the model makes a special token out of text that is spelled like it."""
        number = self._specials[special]
        probes = (special, f"a{special}a", f" {special} {special}")
        with _told("the library does not take its own special tokens as text"):
            return any(number in self._theirs.encode(probe, add_special_tokens=False).ids for probe in probes)

    @cached_property
    def _anchor(self) -> tuple[str, list[int]]:
        """A text that the vocabulary can write, and its ids."""
        added = {entry["id"] for entry in self.content["added_tokens"]}
        ordinary = [number for number in range(self._size) if number not in added][:_MOST_PROBES]
        for text in ("a", *(self._show([number]).strip() for number in ordinary)):
            ids: list[int] = self._theirs.encode(text, add_special_tokens=False).ids
            if ids and text.isalpha() and self.unknown_id not in ids and self._show(ids).strip() == text:
                return text, ids
        return "", []

    @cached_property
    def _surroundings(self) -> tuple[bytes, bytes]:
        """What encoding puts in front of a text and behind it: white space, which decoding a whole text takes away."""
        text, ids = self._anchor
        before, found, behind = self.decode_bytes(ids).partition(text.encode())
        return (before, behind) if found and not before.strip() and not behind.strip() else (b"", b"")

    def _show(self, ids: list[int]) -> str:
        """As the library decodes, special tokens too."""
        with _told("the library does not decode with it"):
            return str(self._theirs.decode(ids, skip_special_tokens=False))

    def _list_pieces(self) -> list[bytes]:
        # An unknown token stands in the place of a word and is spaced like one.
        added = {entry["id"]: entry["content"].encode() for entry in self.content["added_tokens"]}
        added.pop(self.unknown_id, None)
        reads_bytes, read = bool(self.content["model"].get("byte_fallback")), self._choose_reader()
        pieces = []
        for number in range(self._size):
            token = self._theirs.id_to_token(number) or ""
            byte = _BYTE.fullmatch(token) if reads_bytes else None
            if byte:
                pieces.append(bytes([int(byte[1], 16)]))
            else:
                pieces.append(added[number] if number in added else read(number, token))
        return pieces

    def _choose_reader(self) -> Callable[[int, str], bytes]:
        """A function of an id and its token: the bytes that it adds behind other ones."""
        decoder = self.content.get("decoder") or {}
        steps = {step["type"]: step for step in decoder.get("decoders", [decoder] if decoder else [])}
        if "ByteLevel" in steps:
            return _read_letters
        if "BPEDecoder" in steps:
            suffix = str(steps["BPEDecoder"].get("suffix") or "</w>")
            return lambda _, token: token.replace(suffix, " ").encode("utf-8")
        _, ids = self._anchor
        alone = self._show(ids)

        def read_behind(number: int, token: str) -> bytes:
            both = self._show([*ids, number])
            return (both[len(alone) :] if both.startswith(alone) else token).encode("utf-8")

        return read_behind

    def _list_parts(self) -> dict[str, bytes]:
        names = ("normalizer", "pre_tokenizer", "model", "decoder", "added_tokens")
        parts = {name: _dump(self.content.get(name)) for name in names}
        return {**parts, "end_of_text": str(self.eot_id).encode()}

    def _describe_content(self) -> dict[str, Any]:
        # A quarter of the size, in every manifest and every checkpoint.
        packed = base64.b64encode(zlib.compress(_dump(self.content), 9)).decode("ascii")
        return {"content": packed, "end_of_text": self._end_of_text}

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> LibraryTokenizer:
        unpacking = zlib.decompressobj()
        try:
            text = unpacking.decompress(base64.b64decode(content["content"]), LARGEST_FILE)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if not unpacking.eof:
            raise ValueError(f"more than {LARGEST_FILE} bytes, or cut off")
        return cls(content["name"], json.loads(text), content["end_of_text"])


def _load(library: Any, content: Mapping[str, Any]) -> Any:
    with _told("the library tokenizers does not take it"):
        theirs = library.Tokenizer.from_str(_dump(content).decode("utf-8"))
    theirs.encode_special_tokens = True
    return theirs


def _dump(value: Any) -> bytes:
    """The same bytes for the same content, whatever the order of the entries in its file."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@contextmanager
def _told(problem: str) -> Iterator[None]:
    """The library's own errors as one line; a panic of its Rust code is no ``Exception``."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, DataError) or not (
            isinstance(error, Exception) or type(error).__name__ == "PanicException"
        ):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{problem} ({lines[0][:200].rstrip('.')})") from error


def _find_unknown(model: Mapping[str, Any], vocabulary: Mapping[str, int]) -> int | None:
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    return vocabulary.get(str(model.get("unk_token")))


def _cut_apart(content: Mapping[str, Any], specials: list[str]) -> dict[str, Any]:
    """The same tokenizer with the first letter of every text that looks like a special token a word of its own."""
    firsts = "|".join(f"{re.escape(text[0])}(?={re.escape(text[1:])})" for text in specials if len(text) > 1)
    if not firsts:
        return dict(content)
    cut = {"type": "Split", "pattern": {"Regex": firsts}, "behavior": "Isolated", "invert": False}
    before = content.get("pre_tokenizer")
    return {
        **content,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [cut] if before is None else [before, cut]},
    }


def _read_letters(number: int, token: str) -> bytes:
    """Bytes of a token in GPT-2's spelling; one that holds other letters is text as it is."""
    values = _letter_values()
    if all(letter in values for letter in token):
        return bytes([values[letter] for letter in token])
    return token.encode("utf-8")


@cache
def _letter_values() -> dict[str, int]:
    return {letter: value for value, letter in enumerate(byte_letters())}

"""Text <-> token ids: bytes, characters, byte-level BPE, and whatever Hugging Face's library reads.

One interface, four kinds. A tokenizer is chosen by a short spec:

    bytes           256 byte values and end-of-text; knows every text
    chars           the characters of the corpus and end-of-text; refuses a character it has not seen
    bpe:4096        byte-level BPE trained on the corpus, 4096 tokens with end-of-text
    bpe:8192:chinese  the same with words cut as Chinese needs it, see ``bpe.PATTERNS``
    gpt2, ...       any encoding tiktoken knows
    vocab.json      a tokenizer saved with ``write_tokenizer``, or a tokenizer.json in Hugging Face's layout: a
                    byte-level BPE is run by tiktoken where the ids are the same, anything else by that library

Text that happens to contain ``<|endoftext|>`` is ordinary text everywhere: special ids never come out of ``encode``.
Lone surrogates, which UTF-8 cannot hold, become U+FFFD.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tiktoken

from gpt_lightning.data.tokenizers.bpe import END_OF_TEXT, Vocabulary, cut_unbroken_runs, replace_surrogates
from gpt_lightning.data.tokenizers.library_tokenizer import LibraryTokenizer
from gpt_lightning.data.tokenizers.tokenizer import Ids as Ids
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer as Tokenizer
from gpt_lightning.data.tokenizers.vocabularies import find_encoding
from gpt_lightning.errors import DataError


class ByteTokenizer(Tokenizer):
    """The 256 byte values of UTF-8, and end-of-text (id 256)."""

    kind = "bytes"

    def __init__(self) -> None:
        super().__init__("bytes", 256, [256])

    def _encode(self, text: str) -> npt.NDArray[np.integer[Any]]:
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)

    def _list_pieces(self) -> list[bytes]:
        return [bytes([value]) for value in range(256)] + [END_OF_TEXT.encode()]

    def _list_parts(self) -> dict[str, bytes]:
        return {"specials": json.dumps({END_OF_TEXT: self.eot_id}).encode()}

    def _describe_content(self) -> dict[str, Any]:
        return {}

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> ByteTokenizer:
        return cls()


class CharTokenizer(Tokenizer):
    """The characters of a corpus in code point order, and end-of-text as the last id.

    There is no "unknown" id: mapping unseen characters to one would lose text silently, so they are refused.

    Args:
        characters: The vocabulary, in any order, repetitions allowed.
    """

    kind = "chars"

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(sorted(set(characters)))
        super().__init__("chars", len(self.characters), [len(self.characters)])
        self._code_points = np.array([ord(character) for character in self.characters], dtype=np.uint32)

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> CharTokenizer:
        """The vocabulary of these texts."""
        characters: set[str] = set()
        for text in texts:
            characters.update(replace_surrogates(text)[0])
        return cls(characters)

    def _encode(self, text: str) -> npt.NDArray[np.integer[Any]]:
        wanted = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        ids = np.searchsorted(self._code_points, wanted)
        if len(self._code_points):
            unknown = self._code_points[np.minimum(ids, len(self._code_points) - 1)] != wanted
        else:
            unknown = np.ones(len(wanted), dtype=bool)
        if unknown.any():
            offset = int(unknown.argmax())
            raise DataError(
                f"Character {text[offset]!r} (U+{ord(text[offset]):04X}) at offset {offset} is not among the "
                f"{len(self.characters)} characters that this vocabulary was made of",
                fix="Leave it out, prepare again with text that contains it, or use --data.tokenizer bytes.",
            )
        return ids

    def _list_pieces(self) -> list[bytes]:
        return [character.encode("utf-8") for character in self.characters] + [END_OF_TEXT.encode()]

    def _list_parts(self) -> dict[str, bytes]:
        return {"characters": self.characters.encode(), "specials": json.dumps({END_OF_TEXT: self.eot_id}).encode()}

    def _describe_content(self) -> dict[str, Any]:
        return {"characters": self.characters}

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> CharTokenizer:
        return cls(content["characters"])


class EncodingTokenizer(Tokenizer):
    """A byte-level BPE run by tiktoken: one of its own encodings, or a vocabulary trained here.

    Args:
        vocabulary: A trained vocabulary, or the name of one of tiktoken's encodings.

    Raises:
        DataError: The encoding is unknown, its files cannot be found, or it has no end-of-text token.
    """

    kind = "encoding"

    def __init__(self, vocabulary: Vocabulary | str) -> None:
        self._vocabulary = vocabulary
        if isinstance(vocabulary, Vocabulary):
            ranks = {token: rank for rank, token in enumerate(vocabulary.tokens) if token}
            self._encoding = tiktoken.Encoding(
                vocabulary.name, pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens=vocabulary.specials
            )
        else:
            self._encoding = find_encoding(vocabulary)
        specials = {text: self._encoding.encode_single_token(text) for text in self._encoding.special_tokens_set}
        end = vocabulary.end_of_text if isinstance(vocabulary, Vocabulary) else END_OF_TEXT
        self._form = vocabulary.normalization if isinstance(vocabulary, Vocabulary) else None
        if end not in specials:
            raise DataError(
                f"Encoding {self._encoding.name} has no {end} token to stand between documents",
                fix="Use another tokenizer, for example gpt2.",
            )
        self._specials = dict(sorted(specials.items()))
        super().__init__(self._encoding.name, specials[end], specials.values())

    @property
    def pattern(self) -> str:
        """Regular expression that splits text before merging (syntax of the Rust crate ``fancy-regex``)."""
        return str(self._encoding._pat_str)

    @property
    def pattern_name(self) -> str:
        """What stands for the pattern in the fingerprint."""
        vocabulary = self._vocabulary
        # tiktoken rewrites its own patterns for speed between releases without changing ids: their name stands for
        # them, or a store would look foreign after an update.
        if isinstance(vocabulary, str):
            return f"tiktoken:{vocabulary}"
        return vocabulary.pattern_name or vocabulary.pattern

    @property
    def lossless(self) -> bool:  # type: ignore[override]
        """Whether text stays as it is, which a Unicode form does not leave it."""
        return self._form is None

    @property
    def normalization(self) -> str | None:
        """Unicode form into which text is brought before it is encoded; None = it stays as it is."""
        return self._form

    def _encode(self, text: str) -> npt.NDArray[np.integer[Any]]:
        # An empty set of allowed special tokens makes this `encode_ordinary` without the Python list of ints.
        if self._form is not None:
            text = unicodedata.normalize(self._form, text)  # type: ignore[arg-type]
        arrays = [self._encoding.encode_to_numpy(piece, disallowed_special=()) for piece in cut_unbroken_runs(text)]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def _list_pieces(self) -> list[bytes]:
        pieces = []
        for number in range(self._encoding.n_vocab):
            try:
                pieces.append(self._encoding.decode_single_token_bytes(number))
            except KeyError:  # cl100k_base and others leave a few ids unused
                pieces.append(b"")
        return pieces

    def _list_parts(self) -> dict[str, bytes]:
        ranks = b"".join(len(piece).to_bytes(4, "little") + piece for piece in self.pieces)
        specials = json.dumps(self._specials, sort_keys=True)
        parts = {"pattern": self.pattern_name.encode(), "ranks": ranks, "specials": specials.encode()}
        if self._form is not None:
            parts["normalization"] = self._form.encode()
        if self._specials.get(END_OF_TEXT) != self.eot_id:
            parts["end_of_text"] = str(self.eot_id).encode()
        return parts

    def _describe_content(self) -> dict[str, Any]:
        return self._vocabulary.describe() if isinstance(self._vocabulary, Vocabulary) else {}

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> EncodingTokenizer:
        return cls(Vocabulary.from_description(dict(content)) if "tokens" in content else content["name"])


_KINDS: dict[str, type[Tokenizer]] = {
    tokenizer.kind: tokenizer for tokenizer in (ByteTokenizer, CharTokenizer, EncodingTokenizer, LibraryTokenizer)
}


def from_description(description: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that ``describe`` described.

    Raises:
        DataError: Not a description, or what it describes has another fingerprint than it states.
    """
    try:
        tokenizer = _KINDS[description["kind"]]._from_content(description)
        tokenizer = tokenizer.beginning_with(description.get("begin_id")).adding(description.get("added", ()))
        tokenizer = tokenizer.ending_at(description.get("end_ids", ()))
        stated = str(description["fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"This is not the description of a tokenizer ({type(error).__name__}: {error})",
            allowed=f"kind one of {', '.join(_KINDS)}",
            fix="Prepare the data again, or restore the file.",
        ) from error
    if tokenizer.fingerprint != stated:
        raise DataError(
            f"Tokenizer {tokenizer.name} has fingerprint {tokenizer.fingerprint[:12]}, but its description says "
            f"{stated[:12]}",
            fix="The description was changed or comes from another version of the vocabulary; prepare the data again.",
        )
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Save a tokenizer as a JSON file whose path can be given wherever a tokenizer is asked for."""
    path.write_text(json.dumps(tokenizer.describe(), indent=0) + "\n", encoding="utf-8")

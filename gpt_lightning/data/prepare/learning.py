"""Vocabularies that are learned from the corpus: from all of a small one, from a sample of a large one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpt_lightning.data.prepare.chunks import Chunk
from gpt_lightning.data.prepare.intake import Intake
from gpt_lightning.data.readers.compression import find_compression
from gpt_lightning.data.readers.readers import Reader
from gpt_lightning.data.tokenizers.kinds import Tokenizer, write_tokenizer
from gpt_lightning.data.tokenizers.resolve import is_learned, read_tokenizer, resolve
from gpt_lightning.errors import DataError

_log = logging.getLogger(__name__)
SAMPLE_BYTES = 1 << 28
"""How much text a vocabulary is learned from: more changes few merges, and this takes a minute or two."""
_PLACES = 64
_EXPANSION = 4  # a guess: how much text a stored byte of a compressed file holds


def sample_texts(
    readers: Sequence[Reader], units: Sequence[Chunk], intake: Intake, *, max_bytes: int = SAMPLE_BYTES
) -> Iterator[str]:
    """All texts of a corpus of up to ``max_bytes``; of a larger one the beginnings of 64 units spread over it.

    The same corpus gives the same sample: no random numbers, no dependence on workers.

    Args:
        readers: The inputs.
        units: The whole plan.
        intake: What enters.
        max_bytes: UTF-8 bytes to give at most (and up to one document more for each unit).
    """
    sizes = [
        span.num_bytes * (_EXPANSION if find_compression(readers[number].name) else 1)
        for unit in units
        for number, span in unit.spans
    ]
    whole = sum(sizes) <= max_bytes
    count = min(len(units), _PLACES)
    chosen = list(units) if whole else [units[number * len(units) // count] for number in range(count)]
    budget = max_bytes if whole else max_bytes // count
    for group in [chosen] if whole else [[unit] for unit in chosen]:
        left = budget
        for example in intake.iterate(readers, group):
            yield example.text
            left -= len(example.text.encode("utf-8"))
            if left <= 0:
                break


def find_tokenizer(
    spec: str, readers: Sequence[Reader], units: Sequence[Chunk], intake: Intake, folder: Path
) -> Tokenizer:
    """The tokenizer that a spec asks for; a learned one is kept in ``folder``, so that a killed run learns it once.

    ``chars`` reads the whole corpus, since a character that is not found cannot be written; ``bpe:SIZE`` a sample.

    Raises:
        DataError: The spec means nothing, or the corpus cannot be read.
    """
    if not is_learned(spec):
        return resolve(spec)
    identity = [spec, vars(intake.cleaning), *intake.describe(), *(unit.key for unit in units)]
    path = folder / f"tokenizer-{hashlib.sha256(repr(identity).encode()).hexdigest()[:32]}.json"
    if path.is_file():
        try:
            return read_tokenizer(path)
        except DataError:
            path.unlink()  # torn by a kill
    _log.info("Learning the vocabulary %s", spec)
    everything = (example.text for example in intake.iterate(readers, units))
    tokenizer = resolve(spec, everything if spec == "chars" else sample_texts(readers, units, intake))
    write_tokenizer(tokenizer, path)
    return tokenizer

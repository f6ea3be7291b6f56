"""``gpt-lightning tokenizer train``: learn a vocabulary once, use it for many stores."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpt_lightning.data.commands.prepare import ProgressLine
from gpt_lightning.data.prepare.chunks import plan_chunks
from gpt_lightning.data.prepare.cleaning import Cleaning
from gpt_lightning.data.prepare.intake import Intake
from gpt_lightning.data.prepare.learning import SAMPLE_BYTES, sample_texts
from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.data.tokenizers.bpe import DEFAULT_PATTERN, PATTERNS, train_vocabulary
from gpt_lightning.data.tokenizers.kinds import EncodingTokenizer, write_tokenizer
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.parsing.command import run_command

_log = logging.getLogger(__name__)
_HELD_TEXTS = 1000
_HELD_BYTES = 1 << 20


def tokenizer_train(command: str, args: list[str]) -> None:
    """Take all leading arguments as files, so that a shell may expand ``*.txt``."""
    count = next((number for number, arg in enumerate(args) if arg.startswith("-")), len(args))
    files = [f"--files+={name}" for name in args[:count]]
    run_command(train_tokenizer, [*files, *args[count:]], f"gpt-lightning {command}")


def train_tokenizer(
    files: list[str],
    vocab_size: int,
    out: str,
    pattern: str = DEFAULT_PATTERN,
    max_bytes: int = SAMPLE_BYTES,
    document_per: str = PrepareSettings.document_per,
    text_field: str = PrepareSettings.text_field,
    bad_records: str = PrepareSettings.bad_records,
    encoding: str = PrepareSettings.encoding,
    normalize_nfc: bool = PrepareSettings.normalize_nfc,
) -> None:
    """Learn a byte-level BPE vocabulary from text.

    Example: gpt-lightning tokenizer train text/*.txt --vocab_size 8192 --out bpe-8k.json

    The file can be given wherever a tokenizer is asked for: --data.tokenizer bpe-8k.json. To learn from a corpus and
    use the vocabulary for it alone, --data.tokenizer bpe:8192 does it in one step.

    Args:
        files: Files, folders, globs or builtin:NAME, as for data.source.
        vocab_size: Tokens altogether, the 256 bytes and end-of-text included.
        out: File to write, NAME.json.
        pattern: How text is cut into words first: gpt4, or chinese (runs of Chinese characters of at most four).
        max_bytes: Learn from a sample of about so many bytes, spread over the corpus, when there are more.
        document_per: As data.document_per.
        text_field: As data.text_field.
        bad_records: As data.bad_records.
        encoding: As data.encoding.
        normalize_nfc: As data.normalize_nfc.
    """
    _check(vocab_size, pattern, max_bytes, Path(out))
    settings = PrepareSettings(
        files, document_per=document_per, text_field=text_field, encoding=encoding, bad_records=bad_records
    )
    readers = open_sources(settings.sources, settings.reading)
    units = plan_chunks(readers, settings.reading)
    total = min(max_bytes, sum(unit.num_bytes for unit in units))
    intake = Intake(Cleaning(normalize_nfc, min_characters=0, max_characters=None))
    count = _Count(sample_texts(readers, units, intake, max_bytes=max_bytes), total)
    tokenizer = EncodingTokenizer(train_vocabulary(count, vocab_size, pattern))
    if not count.num_bytes:
        raise DataError("The corpus is empty", got=files, fix="Name files that hold text.")
    if tokenizer.vocab_size < vocab_size:
        _log.warning("The text is too small for %d tokens: it gives %d", vocab_size, tokenizer.vocab_size)
    write_tokenizer(tokenizer, Path(out))
    tokens = sum(len(tokenizer.encode(text)) for text in count.held)
    size = sum(len(text.encode("utf-8")) for text in count.held)
    sys.stdout.write(
        f"tokenizer   {tokenizer.name}, {tokenizer.vocab_size:,} ids, fingerprint {tokenizer.fingerprint[:12]}\n"
        f"learned     from {count.num_bytes / 1e6:.3g} MB; {size / tokens:.2f} bytes per token at its beginning\n"
        f"file        {out}\n"
    )


class _Count:
    """Passes texts through, counts them, and holds the first ones back for a measurement."""

    def __init__(self, texts: Iterable[str], total_bytes: int) -> None:
        self._texts, self._total = texts, total_bytes
        self.num_bytes = 0
        self.held: list[str] = []

    def __iter__(self) -> Iterator[str]:
        line = ProgressLine("reading")
        for text in self._texts:
            if len(self.held) < _HELD_TEXTS and self.num_bytes < _HELD_BYTES:
                self.held.append(text[:_HELD_BYTES])
            self.num_bytes += len(text.encode("utf-8"))
            line.show(min(self.num_bytes, self._total), self._total, 0)
            yield text
        line.close()


def _check(vocab_size: int, pattern: str, max_bytes: int, out: Path) -> None:
    if not 257 <= vocab_size <= 1 << 24:
        raise ConfigError(
            "--vocab_size is out of range", got=vocab_size, allowed=f"257 to {1 << 24}", fix="Write 8192."
        )
    if pattern not in PATTERNS:
        raise ConfigError("--pattern", got=pattern, allowed=", ".join(PATTERNS), fix="Correct the name.")
    if max_bytes < 1:
        raise ConfigError("--max_bytes is a size", got=max_bytes, allowed=">= 1", fix="Leave it out.")
    # Found out now, not after the minutes that training takes.
    if out.suffix != ".json" or not out.absolute().parent.is_dir():
        raise ConfigError(
            "--out is the file to write", got=str(out), allowed="NAME.json in a folder that exists", fix="Correct it."
        )

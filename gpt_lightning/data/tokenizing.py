"""The work of preparing: documents through the tokenizer into shards."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gpt_lightning._version import __version__
from gpt_lightning.data.manifest import InputRecord, Manifest, SplitRecord
from gpt_lightning.data.readers import Document, Reader
from gpt_lightning.data.runs import replace_surrogates
from gpt_lightning.data.shard_writer import ShardWriter
from gpt_lightning.data.splitting import SplitRule, choose_rule
from gpt_lightning.data.tokenizers import Tokenizer, resolve
from gpt_lightning.errors import DataError

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all); the second is 0 while it is unknown."""


def fill_folder(
    folder: Path,
    readers: Sequence[Reader],
    settings: dict[str, Any],
    *,
    tokenizer: str,
    val_fraction: float,
    test_fraction: float,
    split_seed: int,
    shard_tokens: int = 100_000_000,
    progress: Progress | None = None,
) -> Manifest:
    """Write all shards into an empty folder.

    The corpus is read once more beforehand when the vocabulary is learned from it (all of it, validation included),
    and its beginning to see whether whole documents can be divided.

    Args:
        folder: Where the shards go.
        readers: The corpus.
        settings: Recorded in the manifest.
        tokenizer: Spec, see ``tokenizers``.
        val_fraction: See ``splitting``.
        test_fraction: See ``splitting``.
        split_seed: See ``splitting``.
        shard_tokens: Size at which a new shard begins.
        progress: Told how far it is.

    Returns:
        The manifest, not yet written.

    Raises:
        DataError: Unreadable or empty corpus, or an input that changed meanwhile.
    """
    before = [reader.measure() for reader in readers]
    kind = resolve(tokenizer, (document.text for document in _iterate(readers)))
    rule = choose_rule((_clean(document) for document in _iterate(readers)), val_fraction, test_fraction, split_seed)
    wanted = {"train": 1.0, "val": val_fraction, "test": test_fraction}
    work = _Work(kind, rule, Counter(), progress, sum(size for size, _ in before))
    splits = work.write(folder, readers, [name for name, share in wanted.items() if share > 0], shard_tokens)
    inputs = [_record(reader, known) for reader, known in zip(readers, before, strict=True)]
    if not any(split.shards for split in splits.values()):
        skipped = ", ".join(f"{count} {reason}" for reason, count in work.skipped.items())
        names = ", ".join(record.name for record in inputs[:3]) + (" ..." if len(inputs) > 3 else "")
        raise DataError(
            f"The corpus is empty: {len(inputs)} inputs read ({names}), documents skipped: {skipped or 'none'}",
            fix="Correct --data.source.",
        )
    return Manifest(
        settings=settings,
        tokenizer=kind.describe(),
        vocab_size=kind.vocab_size,
        eot_id=kind.eot_id,
        dtype=kind.dtype.name,
        splits=splits,
        inputs=inputs,
        split_rule=rule.summary,
        skipped=dict(work.skipped),
        replaced_surrogates=work.replaced_surrogates,
        created_by={"python": platform.python_version(), "gpt_lightning": __version__},
    )


def _iterate(readers: Sequence[Reader]) -> Iterator[Document]:
    for reader in readers:
        yield from (document for document in reader.iterate_documents() if document.text)


def _clean(document: Document) -> str:
    return replace_surrogates(document.text)[0]


class _Work:
    """The pass that writes, and what it counts."""

    def __init__(
        self, tokenizer: Tokenizer, rule: SplitRule, skipped: Counter[str], progress: Progress | None, total_bytes: int
    ) -> None:
        self._tokenizer, self._rule, self._progress, self._total_bytes = tokenizer, rule, progress, total_bytes
        self.skipped = skipped
        self.replaced_surrogates = 0

    def write(
        self, folder: Path, readers: Sequence[Reader], names: list[str], shard_tokens: int
    ) -> dict[str, SplitRecord]:
        tokenizer, done = self._tokenizer, 0
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(
                    ShardWriter(
                        folder, name, dtype=tokenizer.dtype.name, eot_id=tokenizer.eot_id, shard_tokens=shard_tokens
                    )
                )
                for name in names
            }
            for reader in readers:
                for document in reader.iterate_documents():
                    self._add(document, writers)
                    done += document.num_bytes
                    if self._progress is not None:
                        self._progress(done, max(done, self._total_bytes) if self._total_bytes else 0)
            return {name: writer.finish() for name, writer in writers.items()}

    def _add(self, document: Document, writers: dict[str, ShardWriter]) -> None:
        if not document.text:
            self.skipped["empty"] += 1
            return
        text, replaced = replace_surrogates(document.text)
        self.replaced_surrogates += replaced
        for name, piece in self._rule.divide(text):
            try:
                ids = self._tokenizer.encode(piece)
            except DataError as error:
                raise DataError(f"{document.name}: {str(error).rstrip('.')}") from error
            writers[name].add(ids, len(piece.encode("utf-8")))


def _record(reader: Reader, before: tuple[int, int]) -> InputRecord:
    record = InputRecord(reader.name, type(reader).__name__, *before, reader.checksum())
    if reader.measure() != before:
        raise DataError(f"{reader.name} was changed while it was being read", fix="Run the same command again.")
    return record

"""``gpt-lightning data info | verify | head | sample``: look into a store, whatever ``data.store`` may name.

Ours, one behind a URL, or token files of another program; the latter do not say which tokenizer made them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gpt_lightning.data.manifest import MANIFEST_FILE, Manifest, read_manifest
from gpt_lightning.data.opening import open_existing
from gpt_lightning.data.packing import Concat, Packing
from gpt_lightning.data.prepare import PrepareSettings
from gpt_lightning.data.report import summarize
from gpt_lightning.data.shards import TokenSplit
from gpt_lightning.data.stream import TrainStream
from gpt_lightning.errors import ConfigError

_TOKENIZER, _VAL_FRACTION = PrepareSettings.tokenizer, PrepareSettings.val_fraction


def info_command(
    store: str, tokenizer: str = _TOKENIZER, val_fraction: float = _VAL_FRACTION, dtype: str | None = None
) -> None:
    """Show what is in a prepared store: tokenizer, splits, shards, inputs.

    Example: gpt-lightning data info ~/.cache/gpt_lightning/stores/pydoc-gpt2-0123456789ab

    Args:
        store: Folder or URL of the store, or token files of another program.
        tokenizer: What made the ids of token files; a store says it itself.
        val_fraction: As data.val_fraction of the run, of token files without a validation split.
        dtype: As data.dtype of the run, of token files without a header.
    """
    manifest = _read_manifest(store, tokenizer, val_fraction, dtype)
    lines = [summarize(manifest), f"fingerprint {manifest.fingerprint}"]
    made = manifest.created_by
    if made:
        lines.append("made by     " + ", ".join(f"{name} {version}" for name, version in made.items()))
    lines.append("settings    " + ", ".join(f"{name} {value!r}" for name, value in manifest.settings.items()))
    lines += [
        f"shard       {shard.tokens_file}: {shard.num_tokens:,} tokens, {shard.num_documents:,} documents, "
        f"ids {shard.min_id} to {shard.max_id}"
        for split in manifest.splits.values()
        for shard in split.shards
    ]
    shown = manifest.inputs[:10]
    lines += [f"input       {record.name} ({record.num_bytes:,} bytes, {record.reader})" for record in shown]
    if len(manifest.inputs) > len(shown):
        lines.append(f"            and {len(manifest.inputs) - len(shown):,} more")
    sys.stdout.write("\n".join(lines) + "\n")


def _read_manifest(store: str, tokenizer: str, val_fraction: float, dtype: str | None) -> Manifest:
    folder = Path(store).expanduser()
    # Of our own the manifest alone: it can still say what a damaged store was made of.
    if (folder / MANIFEST_FILE).is_file():
        return read_manifest(folder)
    return open_existing(store, tokenizer, val_fraction, dtype).manifest


def verify_command(store: str, tokenizer: str = _TOKENIZER, dtype: str | None = None) -> None:
    """Read a prepared store and compare every checksum with its manifest.

    Ends with an error that names the file if one is missing, cut short or changed.

    Token files of another program carry no checksum; they are compared with the one of their first reading here.

    Args:
        store: Folder or URL of the store, or token files of another program.
        tokenizer: What made the ids of token files; a store says it itself.
        dtype: As data.dtype of the run, of token files without a header.
    """
    opened = open_existing(store, tokenizer, 0.0, dtype)
    opened.verify()
    shards = [shard for split in opened.manifest.splits.values() for shard in split.shards]
    tokens = sum(shard.num_tokens for shard in shards)
    sys.stdout.write(f"{store} is whole: {len(shards)} shards, {tokens:,} tokens, all checksums agree\n")


def head_command(
    store: str,
    split: str = "train",
    documents: int = 3,
    characters: int = 500,
    tokenizer: str = _TOKENIZER,
    val_fraction: float = _VAL_FRACTION,
    dtype: str | None = None,
) -> None:
    """Show the first documents of a prepared store as text.

    Args:
        store: Folder or URL of the store, or token files of another program.
        split: train, val or test.
        documents: How many.
        characters: Of each, at most.
        tokenizer: What made the ids of token files; a store says it itself.
        val_fraction: As data.val_fraction of the run, of token files without a validation split.
        dtype: As data.dtype of the run, of token files without a header.
    """
    _check_counts(documents=documents, characters=characters)
    opened = open_existing(store, tokenizer, val_fraction, dtype)
    tokens = opened.split(split)
    start = 0
    for number, end in enumerate(tokens.document_ends[:documents].tolist(), start=1):
        # End-of-text is left out; we write it in front of a document, other programs behind it.
        first, last = (int(_read(tokens, place, 1)[0]) == tokens.eot_id for place in (start, end - 1))
        inside = max(0, end - start - first - last)
        # A token is a byte at least and a character four at most, so this many suffice.
        length = min(inside, 4 * characters)
        text = opened.tokenizer.decode(_read(tokens, start + first, length)) if length else ""
        whole = length == inside and len(text) <= characters
        title = f"{split} document {number} of {tokens.num_documents:,}, {inside:,} tokens"
        sys.stdout.write(f"--- {title}\n{text[:characters]}{'' if whole else ' ...'}\n")
        start = end


def sample_command(
    store: str,
    block_size: int = 256,
    seed: int = 0,
    sample: int = 0,
    count: int = 1,
    packing: Packing = Concat(),  # noqa: B008 (no state)
    tokenizer: str = _TOKENIZER,
    val_fraction: float = _VAL_FRACTION,
    dtype: str | None = None,
) -> None:
    """Show training windows of a prepared store as text: what the model is given, in the order of training.

    Args:
        store: Folder or URL of the store, or token files of another program.
        block_size: As data.block_size of the run.
        seed: As the seed of the run.
        sample: Number of the first window.
        count: How many.
        packing: As data.packing of the run: Concat, Pack or Document.
        tokenizer: What made the ids of token files; a store says it itself.
        val_fraction: As data.val_fraction of the run, of token files without a validation split.
        dtype: As data.dtype of the run, of token files without a header.
    """
    _check_counts(block_size=block_size, count=count, sample=sample + 1)
    opened = open_existing(store, tokenizer, val_fraction, dtype)
    stream = TrainStream(opened.split("train"), block_size, seed, packing=packing)
    rows = stream.read(np.arange(sample, sample + count, dtype=np.int64))
    for number, tokens in enumerate(rows.tokens, start=sample):
        text = opened.tokenizer.decode(tokens)
        sys.stdout.write(f"--- sample {number} of seed {seed}, {block_size + 1} tokens\n{text}\n")


def _read(split: TokenSplit, start: int, length: int) -> np.ndarray:
    row: np.ndarray = split.gather(np.array([start]), length)[0]
    return row


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"--{name} is too small", got=count, allowed=">= 1", fix="Leave it out.")

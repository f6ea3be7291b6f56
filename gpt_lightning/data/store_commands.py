"""``gpt-lightning data info | verify | head | sample``: look into a prepared store."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gpt_lightning.data.manifest import read_manifest
from gpt_lightning.data.report import summarize
from gpt_lightning.data.shards import TokenSplit, TokenStore
from gpt_lightning.data.stream import TrainStream
from gpt_lightning.errors import ConfigError, DataError


def info_command(store: str) -> None:
    """Show what is in a prepared store: tokenizer, splits, shards, inputs.

    Example: gpt-lightning data info ~/.cache/gpt_lightning/stores/pydoc-gpt2-0123456789ab

    Args:
        store: Folder of the store.
    """
    folder = Path(store).expanduser()
    manifest = read_manifest(folder)
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


def verify_command(store: str) -> None:
    """Read a prepared store and compare every checksum with its manifest.

    Ends with an error that names the file if one is missing, cut short or changed.

    Args:
        store: Folder of the store.
    """
    opened = TokenStore.open(Path(store).expanduser())
    opened.verify()
    shards = [shard for split in opened.manifest.splits.values() for shard in split.shards]
    tokens = sum(shard.num_tokens for shard in shards)
    sys.stdout.write(f"{opened.path} is whole: {len(shards)} shards, {tokens:,} tokens, all checksums agree\n")


def head_command(store: str, split: str = "train", documents: int = 3, characters: int = 500) -> None:
    """Show the first documents of a prepared store as text.

    Args:
        store: Folder of the store.
        split: train, val or test.
        documents: How many.
        characters: Of each, at most.
    """
    _check_counts(documents=documents, characters=characters)
    opened = TokenStore.open(Path(store).expanduser())
    tokens = opened.split(split)
    start = 0
    for number, end in enumerate(tokens.document_ends[:documents].tolist(), start=1):
        # A token is a byte at least and a character four at most, so this many suffice; end-of-text is left out.
        length = min(end - start - 1, 4 * characters)
        text = opened.tokenizer.decode(_read(tokens, start + 1, length)) if length else ""
        whole = length == end - start - 1 and len(text) <= characters
        title = f"{split} document {number} of {tokens.num_documents:,}, {end - start - 1:,} tokens"
        sys.stdout.write(f"--- {title}\n{text[:characters]}{'' if whole else ' ...'}\n")
        start = end


def sample_command(store: str, block_size: int = 256, seed: int = 0, sample: int = 0, count: int = 1) -> None:
    """Show training windows of a prepared store as text: what the model is given, in the order of training.

    Args:
        store: Folder of the store.
        block_size: As data.block_size of the run.
        seed: As the seed of the run.
        sample: Number of the first window.
        count: How many.
    """
    _check_counts(block_size=block_size, count=count, sample=sample + 1)
    opened = TokenStore.open(Path(store).expanduser())
    split = opened.split("train")
    if split.num_tokens < block_size + 1:
        raise DataError(
            f"The train split has {split.num_tokens} tokens, fewer than one window",
            got=block_size,
            allowed=f"--block_size up to {split.num_tokens - 1}",
            fix="Use a smaller one.",
        )
    rows = TrainStream(split, block_size, seed).read(np.arange(sample, sample + count, dtype=np.int64))
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

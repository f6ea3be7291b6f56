"""What is told about preparing: the line while it runs, and the summary of a store.

``gpt-lightning data info | verify | head | sample``: look into a store, whatever ``data.store`` may name.

Ours, one behind a URL, or token files of another program; the latter do not say which tokenizer made them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gpt_lightning.data.open import open_existing
from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.data.store.manifest import MANIFEST_FILE, Manifest, read_manifest
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.packing import Concat, Packing
from gpt_lightning.data.stream.stream import TrainStream
from gpt_lightning.errors import ConfigError

_WASTEFUL = 1.5
"""Tokens per Chinese character above which a vocabulary was plainly not made for Chinese (GPT-2: 2.05, o200k: 0.79)."""


def format_progress(done_bytes: int, total_bytes: int, num_tokens: int, seconds: float, doing: str) -> str:
    """One line: how much is done, how fast, and how long the rest will take.

    Args:
        done_bytes: Input bytes done.
        total_bytes: Input bytes in all; 0 = unknown.
        num_tokens: Tokens made so far; 0 = not shown.
        seconds: Time taken so far.
        doing: The word at the beginning.
    """
    speed = done_bytes / max(seconds, 1e-9)
    tokens = (f"{num_tokens / 1e6:.1f} M tokens, " if num_tokens else "") + f"{speed / 1e6:.1f} MB/s"
    if not total_bytes:
        return f"{doing} {done_bytes / 1e6:.1f} MB, {tokens}"
    left = (total_bytes - done_bytes) / max(speed, 1e-9)
    share = f"{done_bytes / 1e6:.1f} MB of {total_bytes / 1e6:.1f} ({done_bytes / total_bytes:.0%})"
    return f"{doing} {share}, {tokens}, {_format_seconds(left)} left"


def _format_seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 3.6e6 else "very long"


def summarize(manifest: Manifest) -> str:
    """The closing report: what is in a store, and what was left out."""
    name, digits = manifest.tokenizer["name"], manifest.tokenizer["fingerprint"][:12]
    lines = [
        f"tokenizer   {name}, {manifest.vocab_size:,} ids, {manifest.dtype}, fingerprint {digits}",
        f"split rule  {manifest.split_rule}",
    ]
    for split, record in manifest.splits.items():
        line = f"{split:<11} {record.num_documents:,} documents, {record.num_tokens:,} tokens"
        if record.text_bytes or not record.num_tokens:  # token files of other programs do not say how many
            per_token = record.text_bytes / max(record.num_tokens, 1)
            line += f", {record.text_bytes:,} bytes of text ({per_token:.2f} bytes per token)"
        lines.append(line)
    lines += _describe_vocabulary(manifest)
    lines += _describe_layout(manifest)
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in manifest.skipped.items())
    lines.append(f"skipped     {skipped or 'nothing'}")
    lines += [f"bad record  {problem}" for problem in manifest.bad_records]
    if manifest.replaced_surrogates:
        lines.append(f"replaced    {manifest.replaced_surrogates:,} lone surrogates by U+FFFD")
    lines += _describe_round_trip(manifest.round_trip)
    return "\n".join(lines)


def _describe_layout(manifest: Manifest) -> list[str]:
    """What the documents are, what stands beside them, and what of them stands on both sides of a split."""
    layout = manifest.layout
    if layout is None:
        return []
    columns = ", ".join(f"{column.name} ({column.dtype} per {column.per})" for column in layout.columns)
    lines = [f"layout      {layout.name}: {columns}; documents of up to {layout.longest:,} tokens"]
    if layout.labels:
        lines.append(f"labels      {len(layout.labels)}: {', '.join(layout.labels[:12])}")
    lines += [f"cut         {count:,} {what}" for what, count in layout.cut.items()]
    lines += [
        f"leaks       {leak['same'] + leak['near']:,} of {leak['documents']:,} {split} documents stand in train too "
        f"({leak['same']:,} the same, {leak['near']:,} nearly)"
        for split, leak in layout.leaks.items()
    ]
    return lines


def _describe_round_trip(counts: Mapping[str, int]) -> list[str]:
    """Whether decoding gives the text back."""
    if not counts.get("texts"):
        return []
    texts, changed, unknown = (counts[name] for name in ("texts", "changed", "unknown"))
    if not changed and not unknown:
        return [f"decoding    gives all {texts:,} texts back"]
    more = f"; {unknown:,} tokens stand for text it cannot write" if unknown else ""
    return [f"warning     this tokenizer changes text: decoding gives {changed:,} of {texts:,} texts otherwise{more}"]


def _describe_vocabulary(manifest: Manifest) -> list[str]:
    """How well the vocabulary fits the text."""
    counts = manifest.counts
    if not counts:
        return []
    unused = counts["unused_ids"]
    lines = [f"vocabulary  {unused:,} of {manifest.vocab_size:,} ids do not occur ({unused / manifest.vocab_size:.0%})"]
    characters, tokens = counts["chinese_characters"], counts["chinese_tokens"]
    if characters and tokens:
        lines.append(f"Chinese     {characters:,} characters, {characters / tokens:.2f} characters per token")
        # Characters and bytes cannot do better by design, and whoever chose them knows it.
        if tokens / characters > _WASTEFUL and manifest.tokenizer["kind"] == "encoding":
            lines.append(
                f"warning     this vocabulary spends {tokens / characters:.1f} tokens on a Chinese character, so that "
                "little text fits into a window; use --tokenizer o200k_base or bpe:8192:chinese"
            )
    return lines


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
        sys.stdout.write(
            f"--- {title}{_show_known(tokens, number - 1)}\n{text[:characters]}{'' if whole else ' ...'}\n"
        )
        start = end


def _show_known(split: TokenSplit, document: int) -> str:
    """What stands beside a document as a whole."""
    layout, shown = split.layout, ""
    for column in layout.columns if layout is not None else ():
        if column.per == "document":
            values = split.document_column(column.name)[document].tolist()
            shown += f", {column.name} {' '.join(f'{value:g}' for value in values)}"
            if layout is not None and column.name == "label":
                shown += f" ({layout.labels[values[0]]})"
    return shown


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

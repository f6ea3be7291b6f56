"""Does this data fit this model and run? Each check raises before the first step, with numbers and the way out.

All of them read the manifest only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt_lightning.data.store.manifest import Manifest
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.tokenizers.tokenizer import text_fingerprint
from gpt_lightning.errors import DataError

_ROUND_TO = 64


def check_vocabulary(manifest: Manifest, model_vocab_size: int) -> None:
    """Every id must be one that the model has an embedding for.

    Of a store without shards (it is still being made) every id of the tokenizer counts.

    Raises:
        DataError: Names the shard with the largest id; suggests the store's size rounded up to a multiple of 64.
    """
    if not manifest.splits and manifest.vocab_size > model_vocab_size:
        raise DataError(
            f"The model's vocabulary is smaller than that of tokenizer {manifest.tokenizer['name']}",
            got=model_vocab_size,
            allowed=f"vocab_size >= {manifest.vocab_size}",
            fix=f"Set vocab_size to {manifest.vocab_size}, or leave it null.",
        )
    for split in manifest.splits.values():
        for shard in split.shards:
            if shard.max_id >= model_vocab_size:
                rounded = -(-manifest.vocab_size // _ROUND_TO) * _ROUND_TO
                raise DataError(
                    f"{shard.tokens_file} holds the token id {shard.max_id}, but the model's vocabulary ends before it",
                    got=model_vocab_size,
                    allowed=f"vocab_size >= {manifest.vocab_size}, the size of tokenizer {manifest.tokenizer['name']}",
                    fix=f"Set vocab_size to {manifest.vocab_size}, or to {rounded} for speed.",
                )


def check_block_size(split: TokenSplit, block_size: int) -> None:
    """A split must hold at least one window of ``block_size + 1`` tokens.

    Raises:
        DataError: States the tokens found and the largest block that works.
    """
    if split.num_tokens < block_size + 1:
        side = "" if split.name == "train" else f" (split {split.name} only: a larger fraction helps as well)"
        raise DataError(
            f"The {split.name} split has {split.num_tokens} tokens, fewer than one window of block_size + 1",
            got=block_size,
            allowed=f"block_size from 1 to {split.num_tokens - 1}" if split.num_tokens > 1 else "more text",
            fix=f"Use a smaller block_size or more text{side}.",
        )


def check_global_batch(windows_per_epoch: int, *, batch_size: int, accumulate: int = 1, world: int = 1) -> None:
    """One optimizer step must not need more windows than an epoch has.

    Raises:
        DataError: States the product and the largest batch size that works.
    """
    wanted = batch_size * accumulate * world
    if wanted > windows_per_epoch:
        largest = windows_per_epoch // (accumulate * world)
        smaller = f"Set batch_size to {largest} at most" if largest else "Lower accumulate_grad_batches or the devices"
        raise DataError(
            f"One step takes {wanted} windows (batch_size {batch_size} x {world} processes x {accumulate} "
            f"accumulated), but the training split has only {windows_per_epoch}",
            fix=f"{smaller}, shorten block_size, or add text.",
        )


def check_tokenizer(manifest: Manifest, description: Mapping[str, Any], *, owner: str = "The checkpoint") -> None:
    """The store must have been made by the tokenizer that something else was made with, special tokens added or not.

    Args:
        manifest: Of the store.
        description: See ``Tokenizer.describe``; of the other side.
        owner: Who the other side is, as the start of the message.

    Raises:
        DataError: Names both tokenizers, the first 12 digits of both fingerprints and the parts that differ.
    """
    ours, theirs = manifest.tokenizer, description
    if text_fingerprint(ours) == text_fingerprint(theirs):
        return
    names = sorted({*ours["parts"], *theirs["parts"]})
    differing = [name for name in names if ours["parts"].get(name) != theirs["parts"].get(name)] or ["kind"]
    raise DataError(
        f"{owner} uses tokenizer {theirs['name']} ({theirs['fingerprint'][:12]}), but the store was made with "
        f"{ours['name']} ({ours['fingerprint'][:12]}): {', '.join(differing)} differ",
        fix=f"Prepare the data with --data.tokenizer {theirs['name']}, in a store of its own.",
    )

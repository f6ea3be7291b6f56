"""Model, objective and data brought together: by ``build``, or at ``setup`` under a stock ``lightning.Trainer``.

    Trainer(max_steps=100).fit(GPTModule(GPTConfig(n_layer=2, n_head=2, n_embd=64)), TokenDataModule(source="my.txt"))

The model takes its open sizes from the data, the schedule its length from the Trainer. What belongs to a run stays
``build``'s: its folder, exact resume, logs, randomness as a function of the sample number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer

from gpt_lightning.data.store.checks import check_tokenizer, check_vocabulary
from gpt_lightning.data.store.columns import check_columns, check_labels
from gpt_lightning.data.store.manifest import Manifest
from gpt_lightning.data.store.shards import TokenStore, count_text_bytes
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Needs, Objective
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.training.loading.datamodule import TokenDataModule


@dataclass(frozen=True)
class TextFacts:
    """What a run knows once its data are open.

    Attributes:
        config: The architecture with the sizes that it left to the data.
        manifest: Of the store.
        tokenizer: The store's, with the special tokens of the objective.
        context: For the objective.
    """

    config: GPTConfig
    manifest: Manifest
    tokenizer: Tokenizer
    context: Context


def meet_needs(config: GPTConfig, objective: Objective, store: TokenStore, block_size: int) -> TextFacts:
    """Bring together what the model has, the objective needs and the data are.

    Args:
        config: Sizes that are set stay; what the objective adds has to fit in.
        objective: Its special tokens come behind the ids of the store, where padded rows of the vocabulary fill up
            first; its room comes behind the window's positions.
        store: Stays as it was prepared.
        block_size: Training positions of a window.

    Raises:
        ConfigError: Windows or special tokens do not fit the model.
        DataError: The store has ids that the model has not, or lacks a column.
    """
    needs = objective.needs(replace(config, block_size=block_size))
    tokenizer = store.tokenizer.adding(needs.special_tokens)
    complete = config.complete(
        vocab_size=max(store.vocab_size, tokenizer.vocab_size), block_size=block_size + needs.room
    )
    vocab_size, positions = complete.data_sizes()
    if block_size + needs.room > positions:
        extra = f", with the {needs.room} that {type(objective).__name__} adds" if needs.room else ""
        raise ConfigError(
            f"The windows of the data are longer than the model has positions{extra}",
            got=block_size + needs.room,
            allowed=f"1 to {positions}",
            fix=f"Set --data.block_size {max(1, positions - needs.room)}, or leave model.config.block_size null.",
        )
    check_vocabulary(store.manifest, vocab_size)
    if tokenizer.added and tokenizer.vocab_size > vocab_size:
        raise ConfigError(
            f"The model's vocabulary has no place for the special tokens of {type(objective).__name__}: "
            + ", ".join(tokenizer.added),
            got=vocab_size,
            allowed=f"vocab_size >= {tokenizer.vocab_size}",
            fix="Leave model.config.vocab_size null.",
        )
    check_needed(needs, store, type(objective).__name__)
    token_bytes = torch.from_numpy(count_text_bytes(store))
    context = Context(
        store.vocab_size,
        tokenizer.eot_id,
        {name: tokenizer.specials[name] for name in needs.special_tokens},
        torch.cat([token_bytes, token_bytes.new_zeros(len(tokenizer.added))]),
        tuple(b"" if token in tokenizer.special_ids else text for token, text in enumerate(tokenizer.pieces)),
        () if store.manifest.layout is None else store.manifest.layout.labels,
        measure_shares(store, needs.columns[0]) if needs.label_shares else (),
    )
    return TextFacts(complete, store.manifest, tokenizer, context)


def check_needed(needs: Needs, store: TokenStore, name: str) -> None:
    """Refuse a store of another layout than an objective learns from.

    Args:
        needs: What it asks for.
        store: Of text, or of a layout with columns.
        name: Of the objective.

    Raises:
        DataError: A column is missing, or rows do not belong together as they should.
    """
    layout = store.manifest.layout
    check_columns(layout, needs.columns, owner=name)
    found = 1 if layout is None else layout.rows_per_sample
    if needs.rows_per_sample not in (1, found):
        raise DataError(
            f"{name} learns from samples of {needs.rows_per_sample} rows",
            got=f"{layout.name if layout is not None else 'text'}, whose samples are {found}",
            fix="Set --data.layout to Preference or Rated, whichever has its columns.",
        )


def measure_shares(store: TokenStore, name: str) -> tuple[float, ...]:
    """How often each label occurs among the training items of a store, 0 to 1.

    Args:
        store: With labels.
        name: Of the column that says which an item has: a place among the labels, or a mark for each of them.
    """
    layout, split = store.manifest.layout, store.split("train")
    assert layout is not None
    (column,) = [column for column in layout.columns if column.name == name]
    if column.per == "document":
        values = split.document_column(name)
    else:
        starts = np.concatenate(([0], split.document_ends[:-1]))
        values = np.empty(split.num_tokens, column.stored)
        split.copy_runs(values, starts, starts, np.diff(split.document_ends, prepend=0), name)
    if column.width > 1:
        return tuple(values.mean(axis=0).tolist())
    counts = np.bincount(values[values >= 0], minlength=len(layout.labels))
    return tuple((counts / max(1, counts.sum())).tolist())


def check_text(manifest: Manifest, card: Mapping[str, Any]) -> None:
    """Refuse data of another tokenizer, or with other labels, than a checkpoint was trained on.

    Args:
        manifest: Of the data.
        card: Of the checkpoint.

    Raises:
        DataError: They differ.
    """
    check_tokenizer(manifest, card["tokenizer"])
    if "use" in card:
        check_labels(manifest.layout, card["use"]["labels"])


def find_horizon(trainer: Trainer, data: TokenDataModule) -> Horizon:
    """The length of a training by the Trainer's own limits.

    Raises:
        ConfigError: It would never end.
    """
    steps = trainer.estimated_stepping_batches
    if steps == float("inf"):
        raise ConfigError(
            "Training would never end, and a schedule needs its length",
            got={"max_steps": trainer.max_steps, "max_epochs": trainer.max_epochs},
            allowed="a limit",
            fix="Trainer(max_steps=...).",
        )
    tokens = data.block_size * data.batch_size * trainer.accumulate_grad_batches * trainer.world_size
    return Horizon(total_steps=int(steps), tokens_per_step=tokens)

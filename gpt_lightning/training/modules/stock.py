"""What ``build`` does beforehand, found out at ``setup`` under a stock ``lightning.Trainer``.

    Trainer(max_steps=100).fit(GPTModule(GPTConfig(n_layer=2, n_head=2, n_embd=64)), TokenDataModule(source="my.txt"))

The model takes its open sizes from the data, the schedule its length from the Trainer. What belongs to a run stays
``build``'s: its folder, exact resume, logs, randomness as a function of the sample number.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from lightning.pytorch import Trainer
from torch import Tensor

from gpt_lightning.data.store.checks import check_vocabulary
from gpt_lightning.data.store.manifest import Manifest
from gpt_lightning.data.store.shards import count_text_bytes
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.training.loading.datamodule import TokenDataModule


def read_data(config: GPTConfig, data: TokenDataModule) -> tuple[GPTConfig, Manifest, Int[Tensor, " vocab"]]:
    """The architecture with the sizes that it left to the data, the store's manifest, and the bytes of every token.

    Raises:
        ConfigError: Vocabulary or window do not fit the model.
    """
    store = data.open_store()
    complete = config.complete(vocab_size=store.vocab_size, block_size=data.block_size)
    vocab_size, positions = complete.data_sizes()
    check_vocabulary(store.manifest, vocab_size)
    if data.block_size > positions:
        raise ConfigError(
            "The windows of the data are longer than the model has positions",
            got=data.block_size,
            allowed=f"1 to {positions}",
            fix=f"TokenDataModule(block_size={positions}, ...), or leave block_size out of GPTConfig.",
        )
    return complete, store.manifest, torch.from_numpy(count_text_bytes(store))


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

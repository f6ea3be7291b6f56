"""``TokenDataModule``: the prepared store as loaders. No worker processes, no sampler, no state but one number.

The order of samples is a pure function of (seed, sample number), see ``data.stream``. A resumed run therefore only
needs to know how many samples were consumed, and asks for the rest. The training loader spans the *whole* run, not an
epoch of the data: Lightning flushes accumulation and restarts iterators at its epoch borders, and a run has none of
these at ours. Its length is known, since Lightning fetches one batch ahead from loaders without one.

Prepared tokens are gathered from the memory map many batches at a time; moving that into worker processes made it
7 to 20 times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from gpt_lightning.batch import Batch
from gpt_lightning.data.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.shards import TokenStore
from gpt_lightning.data.stream import EvaluationWindows, TrainStream
from gpt_lightning.errors import ConfigError


@dataclass(frozen=True)
class Share:
    """Which part of every global batch this process takes, and how many micro-batches make a step."""

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    world: int = 1

    @property
    def global_batch_size(self) -> int:
        """Windows consumed by one optimizer step, over all processes."""
        return self.batch_size * self.accumulate * self.world


class TrainLoader:
    """Micro-batches from the next step to the end of the run; iterating asks anew where the run stands."""

    def __init__(self, stream: TrainStream, share: Share, total_steps: int, steps_done: Callable[[], int]) -> None:
        self._stream, self._share, self._total_steps, self._steps_done = stream, share, total_steps, steps_done

    def __len__(self) -> int:
        return (self._total_steps - self._steps_done()) * self._share.accumulate

    def __iter__(self) -> Iterator[Batch]:
        share, first = self._share, self._steps_done()
        micro_batches = self._stream.micro_batches(
            first,
            self._total_steps - first,
            batch_size=share.batch_size,
            accumulate=share.accumulate,
            rank=share.rank,
            world=share.world,
        )
        for tokens, position in micro_batches:
            yield Batch(torch.from_numpy(tokens), position=position)


class EvaluationLoader:
    """Every token of a split exactly once as a target; the same number of batches on every process."""

    def __init__(self, windows: EvaluationWindows, share: Share) -> None:
        self._windows, self._share = windows, share

    def __len__(self) -> int:
        return self._windows.num_batches(self._share.batch_size, self._share.world)

    def __iter__(self) -> Iterator[Batch]:
        for tokens, weights, position in self._windows.batches(
            self._share.batch_size, self._share.rank, self._share.world
        ):
            yield Batch(torch.from_numpy(tokens), weights=torch.from_numpy(weights), position=position)


class TokenDataModule(LightningDataModule):
    """Windows of a tokenized corpus for fit, validate, test and predict.

    Args:
        block_size: Training positions per window (a window holds one token more).
        batch_size: Windows per micro-batch on each device.
        eval_batch_size: Windows per batch in validation, test and prediction; null = batch_size.
        predict_split: Split whose tokens ``predict`` scores: train, val or test.
        store: Folder of the prepared store; null = a folder in the cache named after source and tokenizer.
        **settings: Identity of the store, see PrepareSettings.
    """

    def __init__(
        self,
        block_size: int = 1024,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        predict_split: str = "val",
        store: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        for name, value in (
            ("block_size", block_size),
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"data.{name} is a count", got=value, allowed=">= 1", fix=f"Set --data.{name} 8.")
        if predict_split not in ("train", "val", "test"):
            raise ConfigError(
                "data.predict_split names a split", got=predict_split, allowed="train, val, test", fix="Say val."
            )
        self.block_size, self.batch_size = block_size, batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.predict_split = predict_split
        self.store_path = store
        self.settings = PrepareSettings(**settings)
        self.seed = 0
        self._store: TokenStore | None = None

    def open_store(self) -> TokenStore:
        """The store of these settings: found, or prepared first when it is missing or stale."""
        if self._store is None:
            self._store = find_or_prepare(self.settings, store=self.store_path)
        return self._store

    def share(self, batch_size: int) -> Share:
        """This process's part of a batch, asked of the Trainer it is attached to."""
        trainer = self.trainer
        assert trainer is not None
        return Share(batch_size, trainer.accumulate_grad_batches, trainer.global_rank, trainer.world_size)

    def _stream(self) -> TrainStream:
        return TrainStream(self.open_store().split("train"), self.block_size, self.seed)

    def windows_per_epoch(self) -> int:
        """Windows in one pass over the training split."""
        return self._stream().windows_per_epoch

    def train_dataloader(self) -> TrainLoader:
        """From where the run stands to its last step."""
        trainer = self.trainer
        assert trainer is not None
        return TrainLoader(self._stream(), self.share(self.batch_size), trainer.max_steps, lambda: trainer.global_step)

    def _evaluation(self, split: str) -> EvaluationLoader:
        windows = EvaluationWindows(self.open_store().split(split), self.block_size)
        return EvaluationLoader(windows, self.share(self.eval_batch_size))

    def val_dataloader(self) -> EvaluationLoader:
        """The whole validation split."""
        return self._evaluation("val")

    def test_dataloader(self) -> EvaluationLoader:
        """The whole test split."""
        return self._evaluation("test")

    def predict_dataloader(self) -> EvaluationLoader:
        """The whole ``predict_split``."""
        return self._evaluation(self.predict_split)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Widen the ids on the device: they travel as uint16, a quarter of int64."""
        batch.tokens = batch.tokens.long()
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: samples consumed by the optimizer steps done."""
        assert self.trainer is not None
        return {"consumed_samples": self.trainer.global_step * self.share(self.batch_size).global_batch_size}

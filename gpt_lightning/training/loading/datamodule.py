"""``TokenDataModule``: prepared stores as loaders. No worker processes, no sampler, no state but one number.

The order of samples is a pure function of (seed, sample number), see ``data.stream``. A resumed run therefore only
needs to know how many samples were consumed, and asks for the rest. The training loader spans the *whole* run, not an
epoch of the data: Lightning flushes accumulation and restarts iterators at its epoch borders, and a run has none of
these at ours. Its length is known: Lightning fetches one batch ahead from loaders without one. Tokens are gathered from
the memory map many batches at a time; moving that into worker processes made it 7 to 20 times slower.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.data.live.growing import GrowingSplit, GrowingStore
from gpt_lightning.data.live.growing_stream import STRETCH_TOKENS, GrowingEvaluation, GrowingStream
from gpt_lightning.data.open import check_on_the_fly, open_mixture, open_on_the_fly, open_store
from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.data.store.columns import LayoutRecord
from gpt_lightning.data.store.manifest import SPLITS
from gpt_lightning.data.store.mixed_store import MixedStore
from gpt_lightning.data.store.remote import RemoteStore
from gpt_lightning.data.store.shards import TokenSplit, TokenStore
from gpt_lightning.data.store.verification import forget_verified
from gpt_lightning.data.stream.mixed_stream import MixedStream, mix
from gpt_lightning.data.stream.mixture import Mixture
from gpt_lightning.data.stream.packing import Concat, Pack, Packing, check_rows
from gpt_lightning.data.stream.stream import EvaluationWindows, SampleStream, TrainStream
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.optim.batch_ramps import BatchRamp
from gpt_lightning.optim.batch_sizes import BatchSizes
from gpt_lightning.training.engine.processes import process_rank
from gpt_lightning.training.engine.sharding import count_streams, team_size
from gpt_lightning.training.loading.loaders import EvaluationLoader as EvaluationLoader
from gpt_lightning.training.loading.loaders import GrowingEvaluationLoader
from gpt_lightning.training.loading.loaders import Share as Share
from gpt_lightning.training.loading.loaders import TrainLoader as TrainLoader

_log = logging.getLogger(__name__)
Loaders = EvaluationLoader | GrowingEvaluationLoader | list[EvaluationLoader]


class TokenDataModule(LightningDataModule):
    """Windows of tokenized text for fit, validate, test and predict.

    Args:
        block_size: Training positions per window (a window holds one token more).
        batch_size: Windows per micro-batch on each device.
        eval_batch_size: Windows per batch in validation, test and prediction; null = batch_size.
        predict_split: Split whose tokens ``predict`` scores: train, val or test.
        store: Folder or URL (s3://..., with gpt-lightning[remote]) of the prepared store, or token files of nanoGPT,
            llm.c, Megatron or datatrove; null = a folder in the cache named after source and tokenizer.
        packing: How documents share the windows: Concat, Pack or Document.
        document_mask: Keep attention and loss inside documents.
        mixture: Several sources in given proportions, instead of source and store; see Mixture.
        global_batch_tokens: Training positions of one optimizer step over all devices, instead of
            trainer.accumulate_grad_batches; a multiple of block_size x batch_size x devices.
        batch_ramp: Smaller global batches at first: LinearRamp or StagedRamp. Null = all steps alike.
        shuffle_tokens: Shuffle within stretches of so many tokens, and the stretches; for stores behind a URL that are
            larger than the cache. Null = the whole split at once.
        on_the_fly: Start training on the first tokens while the rest of the text is still prepared. The first pass
            takes stretches of shuffle_tokens (null = 8 M) in the order of the corpus, each shuffled within, so the
            samples are the same whether the store is ready or not. Validation waits until the tokens it needs are
            there: the whole split, or as much as trainer.limit_val_batches takes.
        keep_store: False = a quick look at text, with on_the_fly and one device: what is tokenized lies in a temporary
            folder that goes with the program, so --resume reads the text from its start again. A store that is in the
            cache already is used.
        **settings: Identity of the store, see PrepareSettings.
    """

    def __init__(
        self,
        block_size: int = 1024,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        predict_split: str = "val",
        store: str | None = None,
        packing: Packing = Concat(),  # noqa: B008 (no state)
        document_mask: bool = False,
        mixture: Mixture | None = None,
        shuffle_tokens: int | None = None,
        global_batch_tokens: int | None = None,
        batch_ramp: BatchRamp | None = None,
        on_the_fly: bool = False,
        keep_store: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__()
        for name, value in (
            ("block_size", block_size),
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
            ("shuffle_tokens", shuffle_tokens),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"data.{name} is a count", got=value, allowed=">= 1", fix=f"Set --data.{name} 8.")
        if predict_split not in SPLITS:
            raise ConfigError(
                "data.predict_split names a split", got=predict_split, allowed="train, val, test", fix="Say val."
            )
        self.block_size, self.batch_size = block_size, batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.predict_split = predict_split
        self.store_path = store
        self.packing, self.document_mask, self.mixture = packing, document_mask, mixture
        self.global_batch_tokens, self.batch_ramp = global_batch_tokens, batch_ramp
        self.batch_sizes: BatchSizes | None = None
        self.shuffle_tokens, self.on_the_fly, self.keep_store = shuffle_tokens, on_the_fly, keep_store
        self.settings = PrepareSettings(**settings).limited_to(block_size)
        self.seed = 0
        self.allow_changes: Collection[str] = ()
        self._store: TokenStore | None = None
        self._streams: dict[int, SampleStream] = {}
        self._check_combination()

    def _check_combination(self) -> None:
        self._check_rows(self.settings.intake.layout.record)  # before minutes are spent on tokens
        if self.shuffle_tokens is not None and isinstance(self.packing, Pack):
            raise ConfigError(
                "data.shuffle_tokens keeps to neighbouring text, and rows of data.packing Pack come from everywhere",
                got=self.shuffle_tokens,
                fix="Set data.shuffle_tokens to null, or data.packing to Concat or Document.",
            )
        if self.mixture is not None and self.store_path is not None:
            raise ConfigError(
                "data.store and data.mixture both say where the data are",
                got=self.store_path,
                fix="Name the store as data.mixture.sources.NAME.store, or set one of both to null.",
            )
        if not self.keep_store and (not self.on_the_fly or self.store_path is not None):
            raise ConfigError(
                "data.keep_store false is for data.on_the_fly without a place for the store",
                got=self.store_path,
                allowed="data.on_the_fly true and data.store null",
                fix="Set --data.on_the_fly true --data.store null, or leave data.keep_store out.",
            )
        if self.on_the_fly:
            check_on_the_fly(self.packing, self.mixture, self.store_path, self.settings.layout)
            self.shuffle_tokens = self.shuffle_tokens or STRETCH_TOKENS

    def open_store(self) -> TokenStore:
        """The store of these settings (of a mixture all as one): found, or prepared when it is missing or stale."""
        if self._store is None:
            if self.on_the_fly:
                self._store = self._open_on_the_fly()
            elif self.mixture is None:
                self._store = open_store(self.settings, self.store_path)
            else:
                if self.settings.source != PrepareSettings.source and process_rank() == 0:
                    # Not refused: a mixture may be laid over a config that names one source.
                    _log.warning("data.source %s is not read: data.mixture names the text", self.settings.source)
                self._store = open_mixture(self.settings, self.mixture)
            self._check_rows(self._store.manifest.layout)
        return self._store

    def _check_rows(self, layout: LayoutRecord | None) -> None:
        check_rows(layout, self.packing, self.document_mask, self.batch_size, self.eval_batch_size)

    def _open_on_the_fly(self) -> GrowingStore:
        if self.keep_store:
            return open_on_the_fly(self.settings, self.store_path, prepares=process_rank() == 0)
        folder = TemporaryDirectory(prefix="gpt-lightning-", ignore_cleanup_errors=True)
        store = open_on_the_fly(self.settings, None, prepares=True, scratch=Path(folder.name) / "store")
        # With the program or this object rather than in ``close``: what was trained on can still be validated on.
        weakref.finalize(self, _discard, store, folder)
        return store

    def has_validation(self) -> bool:
        """Whether there is anything to validate on: with ``val_fraction: 0`` only what its files name so."""
        if self.settings.val_fraction > 0:
            return True  # an empty split is told by whoever opens it
        record = self.open_store().manifest.splits.get("val")
        return record is not None and bool(record.shards)

    def watch_waits(self, check: Callable[[], None]) -> None:
        """Let ``check`` end a wait for tokens by raising; it is called again and again meanwhile."""
        if isinstance(self._store, GrowingStore):
            self._store.while_waiting = check

    def close(self) -> None:
        """Stop preparing in the background, if that is still going on; the next call goes on."""
        if isinstance(self._store, GrowingStore):
            self._store.while_waiting = _go_on_waiting  # or the store would keep the Trainer alive, and its folder
            self._store.close()

    def sources_of(self, split: str) -> list[str]:
        """Sources of the mixture that have documents in a split, in the order of its loaders; none = no mixture."""
        store = self.open_store()
        return store.sources_of(split) if isinstance(store, MixedStore) else []

    def share(self, batch_size: int) -> Share:
        """This process's part of a batch, asked of the Trainer it is attached to."""
        trainer = self.trainer
        assert trainer is not None
        rank = trainer.global_rank // team_size(trainer)
        return Share(batch_size, trainer.accumulate_grad_batches, rank, count_streams(trainer))

    def _stream(self) -> SampleStream:
        if self.seed not in self._streams:
            store = self.open_store()
            if isinstance(store, MixedStore):
                assert self.mixture is not None
                stream: SampleStream = mix(store.stores, self.mixture, self.seed, self.block_size, self._stream_of)
            elif isinstance(store, GrowingStore):
                stream = self._growing_stream(store)
            else:
                stream = self._stream_of(store, self.seed)
            self._streams[self.seed] = stream
        return self._streams[self.seed]

    def _growing_stream(self, store: GrowingStore) -> GrowingStream:
        split = store.split("train")
        assert isinstance(split, GrowingSplit)
        assert self.shuffle_tokens is not None
        return GrowingStream(
            split, self.block_size, self.seed, documents=self.document_mask, shuffle_tokens=self.shuffle_tokens
        )

    def _stream_of(self, store: TokenStore, seed: int) -> TrainStream:
        if isinstance(store, RemoteStore):
            store.check_cache(self.shuffle_tokens)
        return TrainStream(
            store.split("train"),
            self.block_size,
            seed,
            packing=self.packing,
            documents=self.document_mask,
            shuffle_tokens=self.shuffle_tokens,
        )

    def first_window(self) -> Tensor:
        """Ids of the first training window."""
        return torch.from_numpy(self._stream().windows(0, 1)[0])

    def windows_per_epoch(self) -> int | None:
        """Windows in one pass over the training split, of all sources together; None = not known, on the fly."""
        return None if self.on_the_fly else self._stream().windows_per_epoch

    def train_dataloader(self) -> TrainLoader:
        """From where the run stands to its last step."""
        trainer = self.trainer
        assert trainer is not None
        stream, share = self._stream(), self.share(self.batch_size)
        if isinstance(stream, MixedStream):
            samples = self.samples_before(trainer.max_steps)
            stream.check_length(samples)
            if trainer.is_global_zero:
                _warn_of_repetition(stream, samples)
        pin = trainer.strategy.root_device.type == "cuda"
        return TrainLoader(
            stream,
            share,
            trainer.max_steps,
            lambda: trainer.global_step,
            samples_before=self.samples_before,
            pin=pin,
        )

    def samples_before(self, steps: int) -> int:
        """Windows that the first ``steps`` optimizer steps take, over all processes."""
        if self.batch_sizes is not None:
            return self.batch_sizes.before(steps) // self.block_size
        return steps * self.share(self.batch_size).global_batch_size

    def _evaluation(self, split: str) -> Loaders:
        """One loader, or one for each source of a mixture."""
        store = self.open_store()
        if isinstance(store, GrowingStore):
            growing = store.split(split)
            assert isinstance(growing, GrowingSplit)
            windows = GrowingEvaluation(
                growing, self.block_size, documents=self.document_mask, advice=self._advise(split)
            )
            return GrowingEvaluationLoader(windows, self.share(self.eval_batch_size))
        if isinstance(store, MixedStore) and store.sources_of(split):
            return [self._loader(store.stores[name], split) for name in store.sources_of(split)]
        return self._loader(store, split)

    def count_validation_batches(self, world: int) -> list[int]:
        """Batches that each process validates on, one number for each source; nothing where that is not known."""
        store, size = self.open_store(), self.eval_batch_size
        if isinstance(store, GrowingStore) or not self.has_validation():
            return []
        stores = [store.stores[name] for name in store.sources_of("val")] if isinstance(store, MixedStore) else [store]
        return [self._windows_of(each.split("val")).num_batches(size, world) for each in stores or [store]]

    def _advise(self, split: str) -> str:
        """How to wait for less than a whole split; nothing where it is limited already."""
        trainer = self.trainer
        if trainer is None or split != "val" or trainer.limit_val_batches != 1.0:
            return ""
        return "validation reads the whole split, --trainer.limit_val_batches 50 would wait for 50 batches only"

    def _loader(self, store: TokenStore, split: str) -> EvaluationLoader:
        return EvaluationLoader(self._windows_of(store.split(split)), self.share(self.eval_batch_size))

    def _windows_of(self, split: TokenSplit) -> EvaluationWindows:
        return EvaluationWindows(split, self.block_size, packing=self.packing, documents=self.document_mask)

    def val_dataloader(self) -> Loaders:
        """The whole validation split."""
        return self._evaluation("val")

    def test_dataloader(self) -> Loaders:
        """The whole test split."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Loaders:
        """The whole ``predict_split``."""
        return self._evaluation(self.predict_split)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Without waiting for the copy; only page-locked batches are copied that way."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Widen the ids on the device: they travel as uint16, a quarter of int64."""
        batch.tokens = batch.tokens.long()
        return batch

    def describe(self) -> dict[str, Any]:
        """What decides which window a sample is, as plain values without places."""
        facts: dict[str, Any] = {
            "data_fingerprint": self.open_store().fingerprint,
            "seed_everything": self.seed,
            "data.block_size": self.block_size,
            "data.document_mask": self.document_mask,
            "data.shuffle_tokens": self.shuffle_tokens,
        }
        facts |= {f"data.packing.{name}": value for name, value in self.packing.describe().items()}
        if self.on_the_fly:
            facts["data.on_the_fly"] = True
        if self.mixture is not None:
            facts["data.mixture"] = self.mixture.describe()
        if self.batch_sizes is not None:
            facts["data.batch_ramp"] = [list(self.batch_sizes.starts), list(self.batch_sizes.tokens)]
        return facts

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: samples consumed by the optimizer steps done; and which stream that is."""
        assert self.trainer is not None
        consumed = self.samples_before(self.trainer.global_step)
        return {"consumed_samples": consumed, "stream": self.describe()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with another stream; the position itself follows from the Trainer's step.

        ``allow_changes`` names facts that may differ.

        Raises:
            CheckpointError: Lists what differs.
        """
        if self.trainer is not None and self.trainer.state.fn not in (None, TrainerFn.FITTING):
            return  # other data than the model was trained on may be measured
        saved, present = state_dict.get("stream"), self.describe()
        if saved is None:
            return  # a checkpoint from before streams were described
        lines = [
            f"{name}: {saved.get(name)!r} -> {present.get(name)!r}"
            for name in sorted(saved.keys() | present.keys())
            if saved.get(name) != present.get(name) and not _is_allowed(name, self.allow_changes)
        ]
        if lines:
            raise CheckpointError(
                "The data are not those of the checkpoint, so the run would not continue as it began: "
                + "; ".join(lines),
                fix="Restore them, or start a new run from these weights with --init_from.",
            )


def _go_on_waiting() -> None:
    """Nobody asks for an end."""


def _discard(store: GrowingStore, folder: TemporaryDirectory[str]) -> None:
    store.close()  # or the process that prepares would put files into a folder that is being removed
    folder.cleanup()
    forget_verified(store.path)


def _is_allowed(name: str, allowed: Collection[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") or entry.startswith(f"{name}.") for entry in allowed)


def _warn_of_repetition(stream: MixedStream, samples: int) -> None:
    repeated = [f"{name} {passes:.1f} times" for name, passes in stream.epochs(samples).items() if passes > 1]
    if repeated:
        _log.warning(
            "With these weights the run reads %s; data.mixture.sources.NAME.max_epochs limits it", ", ".join(repeated)
        )

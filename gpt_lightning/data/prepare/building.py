"""Text -> stores, in one pass over the text: plan the chunks, do those that are missing, assemble, publish.

    plan_chunks -> find_tokenizer -> choose_rule -> process_chunks (journal) -> assemble -> manifest -> rename

Killed at any moment, the next call goes on with the chunks that are not in the journal. The result is the same bytes
for any number of workers and any number of interruptions.
"""

from __future__ import annotations

import platform
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gpt_lightning._version import __version__
from gpt_lightning.data.folders import build_folder, work_folder
from gpt_lightning.data.layouts.chat_formats import choose_format
from gpt_lightning.data.prepare.assembling import Assembled, Mask, assemble, read_masks
from gpt_lightning.data.prepare.chunks import Chunk, UnitPlan, plan_chunks, write_plan
from gpt_lightning.data.prepare.freshness import fingerprint_inputs, sign_inputs
from gpt_lightning.data.prepare.intake import Intake
from gpt_lightning.data.prepare.journal import Journal
from gpt_lightning.data.prepare.leaks import check_leaks, measure_leaks
from gpt_lightning.data.prepare.learning import find_tokenizer
from gpt_lightning.data.prepare.pool import process_chunks
from gpt_lightning.data.prepare.tokenizing import ChunkResult, Job
from gpt_lightning.data.readers.bad_records import MOST_NAMED
from gpt_lightning.data.readers.readers import Reader, Reading
from gpt_lightning.data.store.columns import LayoutRecord
from gpt_lightning.data.store.manifest import InputRecord, Manifest, write_manifest
from gpt_lightning.data.store.shards import open_split
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.data.tokenizers.resolve import is_tokenizer_file
from gpt_lightning.errors import DataError

Progress = Callable[[int, int, int], None]
"""Called with (bytes done, bytes in all, tokens so far); the second is 0 while it is unknown."""


@dataclass(frozen=True)
class Recipe:
    """What is common to all stores of one pass; see ``PrepareSettings``.

    Attributes:
        readers: The corpus.
        reading: How it becomes documents.
        intake: What enters, and as what.
        shares: ``(validation, test)``.
        split_seed: Of the division.
        drop_duplicates: Whether a text enters once only.
        max_tokens: Limit of the training split.
        max_leaked: Share of another split that may stand in training too.
    """

    readers: Sequence[Reader]
    reading: Reading
    intake: Intake
    shares: tuple[float, float]
    split_seed: int
    drop_duplicates: bool
    max_tokens: int | None
    max_leaked: float

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that are written: all where the data name them themselves."""
        shares = zip(("val", "test"), self.shares, strict=True)
        return ("train", *(name for name, share in shares if share > 0 or self.intake.split_field is not None))


@dataclass(frozen=True)
class Order:
    """One store of the pass: its place, its tokenizer's spec, and the settings recorded in its manifest."""

    store: Path
    tokenizer: str
    settings: dict[str, Any]


def make_stores(
    recipe: Recipe, orders: Sequence[Order], *, workers: int | None = None, progress: Progress | None = None
) -> None:
    """Make all the stores ordered, each of which appears when it is complete.

    To be called while holding the locks of all of them.

    Args:
        recipe: What is read and how.
        orders: The stores; half-done work is kept beside the first.
        workers: Processes at once; None = one for each processor.
        progress: Told how far it is.

    Raises:
        DataError: Unreadable or empty corpus, an input that changed meanwhile, a vocabulary that cannot be found, or
            a disk that is full.
    """
    before = [reader.measure() for reader in recipe.readers]
    units = plan_chunks(recipe.readers, recipe.reading)
    with work_folder(orders[0].store) as folder:
        job, tokenizers = _start_job(recipe, orders, units, folder)
        signs = sign_inputs(recipe.readers, before)
        write_plan(folder, _plan(job, units, orders[0], tokenizers[0], signs))
        results = _work(job, units, recipe, workers, _Meter(progress, units))
        inputs = [_record(*each) for each in zip(recipe.readers, before, signs, strict=True)]
        units = units[: len(results)]
        paths = [[job.part_path(unit, store) for unit in units] for store in range(len(orders))]
        masks = read_masks(paths[0], [result.num_documents for result in results], recipe.drop_duplicates)
        done = _Pass(job, results, inputs)
        for store, (order, tokenizer) in enumerate(zip(orders, tokenizers, strict=True)):
            _publish(recipe, order, tokenizer, paths[store], masks, done, store)


def _start_job(
    recipe: Recipe, orders: Sequence[Order], units: list[Chunk], folder: Path
) -> tuple[Job, list[Tokenizer]]:
    """Learn what must be learned from the corpus before the first unit."""
    intake = recipe.intake
    if not intake.layout.is_text:
        intake = replace(intake, layout=intake.layout.learn(intake.iterate(recipe.readers, units)))
    tokenizers = [find_tokenizer(order.tokenizer, recipe.readers, units, intake, folder) for order in orders]
    job = Job(
        readers=recipe.readers,
        intake=intake,
        rule=intake.choose_rule(intake.iterate(recipe.readers, units), *recipe.shares, recipe.split_seed),
        splits=recipe.splits,
        tokenizers=tuple(tokenizer.describe() for tokenizer in tokenizers),
        find_duplicates=recipe.drop_duplicates,
        folder=folder,
    )
    return job, tokenizers


def _plan(job: Job, units: list[Chunk], order: Order, tokenizer: Tokenizer, signs: list[list[Any]]) -> UnitPlan:
    """The first store for those who read it while it is made."""
    saved = tokenizer.fingerprint if is_tokenizer_file(order.tokenizer) else None
    return UnitPlan(
        fingerprint=fingerprint_inputs(order.settings, saved, signs),
        tokenizer=tokenizer.describe(),
        splits=list(job.splits),
        split_rule=job.rule.summary,
        parts=[job.part_path(unit, 0).name for unit in units],
    )


def _work(job: Job, units: list[Chunk], recipe: Recipe, workers: int | None, meter: _Meter) -> list[ChunkResult]:
    """Results of all units in order, or of as many as the limit needs."""
    journal = Journal(job.folder)
    finished = journal.begin(job, units)
    missing = [unit for unit in units if job.key(unit) not in finished]
    fresh = process_chunks(job, missing, workers=workers, note=journal.add, tell=meter.tell)
    results: list[ChunkResult] = []
    tokens = [0] * len(job.tokenizers)
    for unit in units:
        known = finished.get(job.key(unit))
        results.append(known or next(fresh))
        meter.finish(unit, results[-1] if known else None)
        tokens = [before + more for before, more in zip(tokens, results[-1].train_tokens, strict=True)]
        # Duplicates still count here, so with both options on nothing is saved; the result is the same.
        if recipe.max_tokens is not None and not recipe.drop_duplicates and min(tokens) > recipe.max_tokens:
            break
    fresh.close()
    return results


class _Meter:
    """Adds up progress over units, those of an earlier attempt included."""

    def __init__(self, progress: Progress | None, units: Sequence[Chunk]) -> None:
        self._progress, self._total = progress, sum(unit.num_bytes for unit in units)
        self._bytes = self._tokens = self._complete = 0
        self._lock = threading.Lock()  # workers are heard by a thread each

    def tell(self, num_bytes: int, num_tokens: int) -> None:
        with self._lock:
            self._bytes += num_bytes
            self._tokens += num_tokens
            self._show()

    def finish(self, unit: Chunk, known: ChunkResult | None) -> None:
        """A unit is done: now its bytes are exact, and count even if it was done earlier."""
        with self._lock:
            self._complete += unit.num_bytes
            if known is not None:
                self._bytes += unit.num_bytes
                self._tokens += known.num_tokens
            self._bytes = max(self._bytes, self._complete)
            self._show()

    def _show(self) -> None:
        if self._progress is not None:
            done = min(self._bytes, self._total) if self._total else self._bytes
            self._progress(done, self._total, self._tokens)


@dataclass(frozen=True)
class _Pass:
    """What the pass over the text found out."""

    job: Job
    results: list[ChunkResult]
    inputs: list[InputRecord]

    def skipped(self, assembled: Assembled) -> dict[str, int]:
        counts: Counter[str] = Counter(assembled.dropped)
        for result in self.results:
            counts.update(result.skipped)
        return dict(sorted(counts.items()))

    def describe_layout(self, tokenizer: Tokenizer, store: int) -> LayoutRecord | None:
        layout = self.job.intake.layout
        if layout.record is None:
            return None
        cut: Counter[str] = Counter()
        for result in self.results:
            cut.update(result.cut)
        return replace(
            layout.record,
            longest=max((result.longest[store] for result in self.results), default=0),
            cut=dict(sorted(cut.items())),
            chat_format=choose_format(tokenizer).name if layout.is_chat else "",
        )

    def round_trip(self, store: int) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for result in self.results:
            counts.update(result.round_trips[store] if result.round_trips else {})
        return dict(counts)


def _publish(
    recipe: Recipe,
    order: Order,
    tokenizer: Tokenizer,
    parts: list[Path],
    masks: list[Mask],
    done: _Pass,
    store: int,
) -> None:
    layout = done.describe_layout(tokenizer, store)
    columns = layout.columns if layout is not None else ()
    with build_folder(order.store) as temporary:
        assembled = assemble(
            temporary, parts, masks, tokenizer, recipe.splits, columns=columns, max_tokens=recipe.max_tokens
        )
        skipped = done.skipped(assembled)
        if not any(split.shards for split in assembled.splits.values()):
            cut = layout.cut if layout is not None else {}
            raise _empty(done.inputs, {**skipped, **cut}, recipe.max_tokens)
        manifest = Manifest(
            settings=order.settings,
            tokenizer=tokenizer.describe(),
            vocab_size=tokenizer.vocab_size,
            eot_id=tokenizer.eot_id,
            dtype=tokenizer.dtype.name,
            splits=assembled.splits,
            inputs=done.inputs,
            split_rule=done.job.rule.summary,
            skipped=skipped,
            bad_records=[problem for result in done.results for problem in result.bad_records][:MOST_NAMED],
            replaced_surrogates=sum(result.num_replaced for result in done.results),
            created_by={"python": platform.python_version(), "gpt_lightning": __version__},
            counts=assembled.counts,
            round_trip=done.round_trip(store),
            layout=layout,
        )
        if layout is not None:
            manifest = replace(manifest, layout=_look_for_leaks(temporary, manifest, layout, assembled, recipe))
        write_manifest(temporary, manifest)


def _look_for_leaks(
    folder: Path, manifest: Manifest, layout: LayoutRecord, assembled: Assembled, recipe: Recipe
) -> LayoutRecord:
    filled = {name: record for name, record in manifest.splits.items() if record.shards}
    splits = {name: open_split(folder, name, record, manifest) for name, record in filled.items()}
    leaks = measure_leaks(splits, assembled.keys)
    check_leaks(leaks, recipe.max_leaked)
    return replace(layout, leaks={name: asdict(leak) for name, leak in leaks.items()})


def _empty(inputs: list[InputRecord], skipped: dict[str, int], max_tokens: int | None) -> DataError:
    reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
    names = ", ".join(record.name for record in inputs[:3]) + (" ..." if len(inputs) > 3 else "")
    return DataError(
        f"The corpus is empty: {len(inputs)} inputs read ({names}), documents skipped: {reasons or 'none'}",
        fix="Correct --data.source."
        if max_tokens is None
        else f"Correct --data.source, or raise data.max_tokens: the first document may have more than {max_tokens}.",
    )


def _record(reader: Reader, before: tuple[int, int], sign: list[Any]) -> InputRecord:
    record = InputRecord(reader.name, type(reader).__name__, *before, reader.checksum())
    # What has no time of change, behind a URL, is known by its content.
    if reader.measure() != before or sign[-1] not in (before[1], record.sha256):
        raise DataError(f"{reader.name} was changed while it was being read", fix="Run the same command again.")
    return record

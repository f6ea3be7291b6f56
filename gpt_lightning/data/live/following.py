"""On the fly: open a store that another process is making, and follow it unit by unit.

    open_growing    finished?  -> the store, read in the same way
                    else       -> start ``background`` (one process of a run does), wait for plan.json, follow the parts

Several runs may follow one preparation: each starts a process that waits for the lock, and takes over if the first one
goes. Nothing of what is read depends on who made it or when.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gpt_lightning.data.folders import check_place, is_being_made, last_failure, work_path
from gpt_lightning.data.live.background import Preparation
from gpt_lightning.data.live.growing import POLL_SECONDS, GrowingStore, Growth, PartSupply, UnitParts
from gpt_lightning.data.prepare.chunks import UnitPlan, read_plan
from gpt_lightning.data.prepare.freshness import fingerprint_inputs, fingerprint_store, sign_inputs
from gpt_lightning.data.prepare.parts import read_hashes, read_parts
from gpt_lightning.data.prepare.prepare import PrepareSettings, default_folder, find_prepared
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.data.store.manifest import MANIFEST_FILE, read_manifest
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.tokenizers.resolve import is_tokenizer_file, read_tokenizer
from gpt_lightning.errors import DataError

_log = logging.getLogger(__name__)
_SAY_AFTER_SECONDS, _SAY_AGAIN_SECONDS = 1.0, 60.0
_ALONE_SECONDS, _LEFT_ALONE_SECONDS = 60.0, 10.0
"""How long nobody may be preparing before a process that only follows gives up: at first, and after somebody was."""


class _Folder:
    """The place where a store is being made.

    Args:
        store: The store's folder.
        fingerprint: Of its inputs and settings: what has another one is a left-over.
        start: Starts the process that makes it; None = another process of the run does.
    """

    def __init__(self, store: Path, fingerprint: str, start: Callable[[], Preparation] | None) -> None:
        self.store, self.fingerprint, self.prepares = store, fingerprint, start is not None
        self._start = start
        self._preparation = None if start is None else start()
        self._watch = _Watch(store)
        self._over = False

    def find_plan(self) -> UnitPlan | None:
        plan = read_plan(work_path(self.store))
        return plan if plan is not None and plan.fingerprint == self.fingerprint else None

    def find_store(self) -> TokenStore | None:
        if not (self.store / MANIFEST_FILE).is_file():
            return None
        try:
            manifest = read_manifest(self.store)
        except DataError:
            if (self.store / MANIFEST_FILE).is_file():
                raise
            return None  # it was being replaced
        return TokenStore.open(self.store) if fingerprint_store(manifest) == self.fingerprint else None

    def pause(self) -> None:
        """Wait a moment for whoever prepares.

        Raises:
            DataError: Nobody does, or it failed.
        """
        # Seen to be over before the last look at the store, so that nothing can have appeared in between.
        if self._over:
            raise DataError(
                f"The corpus changed while {self.store} was prepared, so training cannot go on with it",
                fix="Start a new run; to keep this one, restore the text as it was.",
            )
        if self._start is not None:
            # Ended by ``close``, and yet somebody wants more.
            self._preparation = self._preparation or self._start()
            self._over = self._preparation.is_over()
        else:
            self._watch.look()
        time.sleep(POLL_SECONDS)

    def close(self) -> None:
        if self._preparation is not None:
            self._preparation.end()
            self._preparation = None


class _Watch:
    """What a process that only follows can know of the one that prepares.

    Args:
        store: The store's folder.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._failures = {last_failure(store)}
        self._seen: tuple[int, str] | None = None
        self._patience = _ALONE_SECONDS
        self._alone_since: float | None = None

    def look(self) -> None:
        """Go on if somebody prepares, or may begin to.

        Raises:
            DataError: It failed, or there is nobody.
        """
        failure = last_failure(self._store)
        # Seen twice: of two runs, the one that waited for the lock takes over at once and may succeed.
        if failure is not None and failure == self._seen and failure not in self._failures:
            raise DataError(failure[1].rstrip("."))
        self._seen = failure
        if is_being_made(self._store):
            self._alone_since, self._patience = None, _LEFT_ALONE_SECONDS
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > self._patience:
            raise DataError(
                f"Nobody prepares {self._store} any more", fix="Start the same run again with --resume auto."
            )


class StoredParts(PartSupply):
    """Parts that another process leaves in a working folder.

    Args:
        folder: Where they appear.
        plan: Their names.
    """

    def __init__(self, folder: _Folder, plan: UnitPlan) -> None:
        self.num_units = len(plan.parts)
        self._folder, self._plan = folder, plan
        self._waited = self._silent_until = 0.0
        self._last = -1

    def load(self, unit: int) -> UnitParts | None:
        """A part is renamed into place when it is whole."""
        path = work_path(self._folder.store) / self._plan.parts[unit]
        try:
            parts = UnitParts(read_parts(path, self._plan.splits), read_hashes(path).digests)
        except FileNotFoundError:
            return None
        self._last = max(self._last, unit)
        return parts

    def find_store(self) -> TokenStore | None:
        """The store is renamed into place before its parts go."""
        return self._folder.find_store()

    def pause(self, advice: str = "") -> None:
        """Sleep, and say for what: once for many short waits, there may be thousands of units."""
        now = time.monotonic()
        self._waited += POLL_SECONDS
        if self._folder.prepares and self._waited > _SAY_AFTER_SECONDS and now >= self._silent_until:
            self._waited, self._silent_until = 0.0, now + _SAY_AGAIN_SECONDS
            done = f"{self._last + 1} of {self.num_units} units are done"
            _log.info("Waiting for the tokenizer: %s%s", done, advice and f"; {advice}")
        self._folder.pause()

    def close(self) -> None:
        """End the process, if it is ours."""
        self._folder.close()


def open_growing(
    settings: PrepareSettings,
    store: str | None,
    *,
    prepares: bool,
    scratch: Path | None = None,
    keep_tokens: int = 1 << 25,
) -> GrowingStore:
    """The store of some settings, finished or not.

    Args:
        settings: What it is made of.
        store: Its folder; None = the one in the cache.
        prepares: Whether this process makes it when it is missing; of a run's processes exactly one does.
        scratch: Where it is made when it is missing; None = at its place.
        keep_tokens: Tokens kept in memory while the store is unfinished.

    Raises:
        DataError: As ``find_or_prepare``.
    """
    place = Path(store).expanduser() if store is not None else default_folder(settings)
    found = find_prepared(settings, place, chosen=store is not None)
    if found is not None:
        plan = _plan_of(found)
        supply = StoredParts(_Folder(place, plan.fingerprint, None), plan)
        return GrowingStore(place, plan, settings.describe(), Growth(supply, plan.splits), found)
    place = scratch or place
    check_place(place)
    saved = None
    if is_tokenizer_file(settings.tokenizer):
        saved = read_tokenizer(Path(settings.tokenizer).expanduser()).fingerprint
    signs = sign_inputs(open_sources(settings.sources, settings.reading))
    fingerprint = fingerprint_inputs(settings.describe(), saved, signs)
    if prepares:
        _log.info("Preparing %s in the background", place)
    folder = _Folder(place, fingerprint, partial(Preparation, settings, scratch or store) if prepares else None)
    try:
        plan, found = _wait_for_plan(folder)
    except BaseException:
        folder.close()
        raise
    growth = Growth(
        StoredParts(folder, plan),
        plan.splits,
        drop_duplicates=settings.drop_duplicates,
        max_tokens=settings.max_tokens,
        keep_tokens=keep_tokens,
    )
    return GrowingStore(place, plan, settings.describe(), growth, found)


def _wait_for_plan(folder: _Folder) -> tuple[UnitPlan, TokenStore | None]:
    while True:
        plan = folder.find_plan()
        found = folder.find_store() if plan is None else None
        if found is not None:
            plan = _plan_of(found)
        if plan is not None:
            return plan, found
        folder.pause()


def _plan_of(store: TokenStore) -> UnitPlan:
    """A finished store as a plan of which nothing is left to do."""
    manifest = store.manifest
    return UnitPlan(fingerprint_store(manifest), manifest.tokenizer, list(manifest.splits), manifest.split_rule, [])

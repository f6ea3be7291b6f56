"""Text -> store: find the one that belongs to some settings, or make it.

    open_sources -> documents -> split rule -> tokenizer -> shards -> manifest -> rename into place

A store is used again as long as it is what the settings would give: the same settings, and inputs whose content is the
same (size and time of change are looked at first; a file that was merely touched is compared by checksum). Whether
a folder exists decides nothing. Killed at any moment, this leaves no store that looks ready.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.data.builtin import python_fingerprint
from gpt_lightning.data.folders import build_folder, cache_folder, check_place, hold_lock
from gpt_lightning.data.manifest import FORMAT, MANIFEST_FILE, InputRecord, Manifest, read_manifest, write_manifest
from gpt_lightning.data.readers import Reader, open_sources
from gpt_lightning.data.shards import TokenStore
from gpt_lightning.data.tokenizers import is_tokenizer_file, read_tokenizer
from gpt_lightning.data.tokenizing import Progress, fill_folder
from gpt_lightning.errors import ConfigError, DataError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareSettings:
    """What a store is made of; equal settings and equal inputs mean the same store.

    Args:
        source: The text: a file, a folder, a glob, builtin:pydoc, builtin:stdlib, or a list of these.
        tokenizer: bytes, chars, bpe:SIZE (trained on the source), a tiktoken encoding such as gpt2, or the path of
            a saved tokenizer.
        val_fraction: Share of the documents kept for validation. A twentieth: a corpus of a few MB still gives a
            steady number; 0.005 is plenty for gigabytes.
        test_fraction: Share of the documents kept for the test split.
        split_seed: Seed of the division into splits.

    Raises:
        ConfigError: A fraction is out of range.
    """

    source: str | list[str] = "builtin:pydoc"
    tokenizer: str = "gpt2"
    val_fraction: float = 0.05
    test_fraction: float = 0.0
    split_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"data.{name} is a share", got=getattr(self, name), allowed="0 <= share < 1", fix="Write 0.05."
                )
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "data.val_fraction and data.test_fraction leave nothing to train on",
                got=self.val_fraction + self.test_fraction,
                allowed="a sum < 1",
                fix="Lower one of them.",
            )

    @property
    def sources(self) -> list[str]:
        """``source`` as a list."""
        return [self.source] if isinstance(self.source, str) else list(self.source)

    def describe(self) -> dict[str, Any]:
        """Plain JSON values, for the manifest."""
        return {
            "source": self.sources,
            "tokenizer": self.tokenizer,
            "val_fraction": float(self.val_fraction),  # 0 and 0.0 are the same store
            "test_fraction": float(self.test_fraction),
            "split_seed": self.split_seed,
        }


def default_folder(settings: PrepareSettings) -> Path:
    """Where the store of these settings lives in the cache: ``stores/NAME-TOKENIZER-HASH12``.

    Paths count as absolute ones, so that ``data/`` of two projects are two stores; built-in corpora belong to one
    version of Python.
    """
    places = [
        f"{source} {python_fingerprint()}"
        if source.startswith("builtin:")
        else str(Path(source).expanduser().absolute())
        for source in settings.sources
    ]
    identity = json.dumps([FORMAT, settings.describe() | {"source": places}], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    first = settings.sources[0] if settings.sources else "nothing"
    stem = Path(first).stem if not first.startswith("builtin:") else first.removeprefix("builtin:")
    parts = (re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.")[:40] for part in (stem, Path(settings.tokenizer).stem))
    return cache_folder() / "stores" / "-".join([*(part for part in parts if part), digest])


def find_or_prepare(
    settings: PrepareSettings,
    *,
    store: Path | str | None = None,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> TokenStore:
    """The store of these settings: opened when it is ready, made when it is missing, unfinished or out of date.

    Safe to call from many processes at once: one makes the store, the others wait and use it.

    Args:
        settings: What it is made of.
        store: Its folder; None = ``default_folder``. A folder chosen here is never overwritten because *settings*
            changed (only because its inputs did), since it may be what another run trains on.
        rebuild: Make it anew in any case.
        progress: Called with (bytes done, bytes in all) while preparing.

    Raises:
        DataError: The source cannot be read, the tokenizer not be found, the store is damaged, or the chosen folder
            holds a store of other settings.
    """
    folder = Path(store).expanduser() if store is not None else default_folder(settings)
    if not rebuild and (found := _find(settings, folder, chosen=store is not None)) is not None:
        return found
    readers = open_sources(settings.sources)
    check_place(folder)
    with hold_lock(folder):
        # Another process may have finished it while this one waited.
        if not rebuild and (found := _find(settings, folder, chosen=store is not None)) is not None:
            return found
        return _prepare(settings, readers, folder, progress)


def prepare(
    settings: PrepareSettings, *, store: Path | str | None = None, progress: Progress | None = None
) -> TokenStore:
    """Make the store of these settings, whether there is one or not; see ``find_or_prepare``."""
    return find_or_prepare(settings, store=store, rebuild=True, progress=progress)


def _prepare(
    settings: PrepareSettings, readers: Sequence[Reader], folder: Path, progress: Progress | None
) -> TokenStore:
    _log.info("Preparing %s with tokenizer %s", ", ".join(settings.sources), settings.tokenizer)
    with build_folder(folder) as temporary:
        manifest = fill_folder(
            temporary,
            readers,
            settings.describe(),
            tokenizer=settings.tokenizer,
            val_fraction=float(settings.val_fraction),
            test_fraction=float(settings.test_fraction),
            split_seed=settings.split_seed,
            progress=progress,
        )
        write_manifest(temporary, manifest)
    return TokenStore.open(folder)


def _find(settings: PrepareSettings, folder: Path, *, chosen: bool) -> TokenStore | None:
    """The store in ``folder`` if it is what the settings would give; None when it has to be made."""
    if not (folder / MANIFEST_FILE).is_file():
        return None
    manifest = read_manifest(folder)
    wanted, made = settings.describe(), manifest.settings
    differing = [name for name in wanted if name != "source" and wanted[name] != made.get(name)]
    if is_tokenizer_file(settings.tokenizer) and not differing:
        fingerprint = read_tokenizer(Path(settings.tokenizer).expanduser()).fingerprint
        differing = [] if fingerprint == manifest.tokenizer["fingerprint"] else ["tokenizer"]
    changed = None if differing else _find_change(settings, manifest, folder)
    if not differing and changed is None:
        return TokenStore.open(folder)
    if chosen and (differing or wanted["source"] != made.get("source")):
        raise _other_settings(folder, wanted, made, differing or ["source"])
    _log.info("Store %s is out of date: %s", folder, changed or f"{', '.join(differing)} changed")
    return None


def _find_change(settings: PrepareSettings, manifest: Manifest, folder: Path) -> str | None:
    """What changed in the inputs since the store was made, in words; None when nothing did."""
    try:
        readers = open_sources(settings.sources)
    except DataError:
        if settings.describe()["source"] != manifest.settings["source"]:
            raise
        # A store that was copied to a machine without the text is as good as ever.
        _log.warning("The source of %s is not here; the store is used as it is", folder)
        return None
    if len(readers) != len(manifest.inputs):
        return f"{len(readers)} inputs instead of {len(manifest.inputs)}"
    for reader, record in zip(readers, manifest.inputs, strict=True):
        if _differs(reader, record):
            return f"{reader.name} changed"
    return None


def _differs(reader: Reader, record: InputRecord) -> bool:
    if type(reader).__name__ != record.reader:
        return True
    unchanged = reader.measure() == (record.num_bytes, record.mtime_ns) and record.mtime_ns != 0
    return not unchanged and reader.checksum() != record.sha256


def _other_settings(folder: Path, wanted: dict[str, Any], made: dict[str, Any], names: list[str]) -> DataError:
    changes = "; ".join(f"{name} {made.get(name)!r} there, {wanted[name]!r} wanted" for name in names)
    return DataError(
        f"Store {folder} was prepared with other settings: {changes}",
        fix="Use the same settings, choose another --data.store, or run gpt-lightning prepare with --rebuild true.",
    )

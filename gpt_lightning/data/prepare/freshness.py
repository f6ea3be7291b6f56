"""Is the store in a folder what some settings would give now? If not, why not."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpt_lightning.data.readers.readers import Reader
from gpt_lightning.data.store.manifest import FORMAT, MANIFEST_FILE, InputRecord, Manifest, read_manifest
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.tokenizers.resolve import is_tokenizer_file, read_tokenizer
from gpt_lightning.errors import DataError

_log = logging.getLogger(__name__)


def find_store(
    folder: Path,
    wanted: dict[str, Any],
    open_readers: Callable[[], Sequence[Reader]],
    *,
    chosen: bool,
    by_content: bool = False,
) -> TokenStore | None:
    """The store in ``folder`` if it is what the settings would give; None when it has to be made.

    Args:
        folder: Where it is.
        wanted: The settings, see ``PrepareSettings.describe``.
        open_readers: Finds the inputs; may raise DataError where the text is not on this machine.
        chosen: Whether the user named the folder: then other settings are a mistake, not a reason to overwrite.
        by_content: Whether inputs of the same size and time of change are read and compared all the same.

    Raises:
        DataError: The store is damaged, or was made with other settings in a chosen folder.
    """
    if not (folder / MANIFEST_FILE).is_file():
        return None
    manifest = read_manifest(folder)
    made = manifest.settings
    names = [*wanted, *(name for name in made if name not in wanted)]
    differing = [name for name in names if name != "source" and wanted.get(name) != made.get(name)]
    if is_tokenizer_file(wanted["tokenizer"]) and not differing:
        fingerprint = read_tokenizer(Path(wanted["tokenizer"]).expanduser()).fingerprint
        differing = [] if fingerprint == manifest.tokenizer["fingerprint"] else ["tokenizer"]
    changed = None if differing else _find_change(wanted, manifest, open_readers, folder, by_content)
    if not differing and changed is None:
        return TokenStore.open(folder)
    if chosen and (differing or wanted["source"] != made.get("source")):
        raise _other_settings(folder, wanted, made, differing or ["source"])
    _log.info("Store %s is out of date: %s", folder, changed or f"{', '.join(differing)} changed")
    return None


def sign_inputs(readers: Sequence[Reader], measured: Sequence[tuple[int, int]] | None = None) -> list[list[Any]]:
    """What tells whether inputs changed: kind of reader, size, and time of change or content where there is no time.

    Args:
        readers: The inputs.
        measured: Their sizes and times of change; None = as they are now.
    """
    known = measured if measured is not None else [reader.measure() for reader in readers]
    return [
        [type(reader).__name__, size, changed or reader.checksum()]
        for reader, (size, changed) in zip(readers, known, strict=True)
    ]


def sign_records(manifest: Manifest) -> list[list[Any]]:
    """The same of the inputs of a finished store."""
    return [[record.reader, record.num_bytes, record.mtime_ns or record.sha256] for record in manifest.inputs]


def fingerprint_inputs(settings: dict[str, Any], tokenizer: str | None, signs: list[list[Any]]) -> str:
    """SHA-256 (hex) of what a store will be made of, known before it is made; places play no part.

    Args:
        settings: See ``PrepareSettings.describe``.
        tokenizer: Fingerprint of a saved tokenizer, whose path says nothing; None = the settings name it.
        signs: See ``sign_inputs``.
    """
    content = {name: value for name, value in settings.items() if name != "source"}
    content["tokenizer"] = tokenizer or settings["tokenizer"]
    return hashlib.sha256(json.dumps([FORMAT, content, signs], sort_keys=True).encode()).hexdigest()


def fingerprint_store(manifest: Manifest) -> str:
    """What ``fingerprint_inputs`` gave before the store was made."""
    saved = manifest.tokenizer["fingerprint"] if is_tokenizer_file(manifest.settings["tokenizer"]) else None
    return fingerprint_inputs(manifest.settings, saved, sign_records(manifest))


def _find_change(
    wanted: dict[str, Any],
    manifest: Manifest,
    open_readers: Callable[[], Sequence[Reader]],
    folder: Path,
    by_content: bool,
) -> str | None:
    """What changed in the inputs since the store was made, in words; None when nothing did."""
    try:
        readers = open_readers()
    except DataError:
        if wanted["source"] != manifest.settings["source"]:
            raise
        # A store that was copied to a machine without the text is as good as ever.
        _log.warning("The source of %s is not here; the store is used as it is", folder)
        return None
    if len(readers) != len(manifest.inputs):
        return f"{len(readers)} inputs instead of {len(manifest.inputs)}"
    for reader, record in zip(readers, manifest.inputs, strict=True):
        if _differs(reader, record, by_content):
            return f"{reader.name} changed"
    return None


def _differs(reader: Reader, record: InputRecord, by_content: bool) -> bool:
    if type(reader).__name__ != record.reader:
        return True
    unchanged = reader.measure() == (record.num_bytes, record.mtime_ns) and record.mtime_ns != 0
    return (by_content or not unchanged) and reader.checksum() != record.sha256


def _show(settings: dict[str, Any], name: str) -> str:
    return repr(settings[name]) if name in settings else "the default"  # which is not recorded


def _typed(value: object) -> str:
    """A setting as the shell takes it."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else json.dumps(value)
    return shlex.quote(str(value).lower() if isinstance(value, bool) else str(value))


def _other_settings(folder: Path, wanted: dict[str, Any], made: dict[str, Any], names: list[str]) -> DataError:
    changes = "; ".join(f"{name} {_show(made, name)} there, {_show(wanted, name)} wanted" for name in names)
    same = " ".join(f"--data.{name} {_typed(made[name])}" for name in dict.fromkeys([*names, "source"]) if name in made)
    return DataError(
        f"Store {folder} was prepared with other settings: {changes}",
        fix=f"Use the same settings ({same}), choose another --data.store, or run gpt-lightning prepare with "
        "--rebuild true.",
    )

"""Numbers that a model computed from a store, once: reference log-probabilities, features of a frozen trunk.

They are a column per document that no text holds: computed by whoever has the model, kept in the cache under a key of
everything they depend on, memory-mapped from there, and given to the split as one column more. Several trials of a
sweep, or processes of a run, wait for the one that computes. Two files: ``KEY.bin``, little-endian float32
``(documents, width)``, and ``KEY.json``, written last, with the key in words and the checksum, which is compared every
time the numbers are opened.

    >>> import numpy as np, os, tempfile
    >>> os.environ["GPT_LIGHTNING_CACHE"] = tempfile.mkdtemp()
    >>> key = DerivedKey("reference", store="1f3a", split="train", facts={"weights": "9c02", "dtype": "float32"})
    >>> values = find_or_derive(key, documents=2, width=1, compute=lambda: np.array([[-3.5], [-7.25]]))
    >>> find_or_derive(key, documents=2, width=1, compute=None).tolist()
    [[-3.5], [-7.25]]
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.folders import cache_folder, hold_lock
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import replacing, write_json_durably
from gpt_lightning.files.sealing import seal, unseal

_FORMAT = 1
_STORED = np.dtype("<f4")


@dataclass(frozen=True)
class DerivedKey:
    """All that derived numbers depend on.

    Attributes:
        name: Of the column.
        store: Fingerprint of the store.
        split: Name of the split.
        facts: The rest, as plain values: SHA-256 of the model's weights, block size, type of the arithmetic, version of
            the code that computes.
    """

    name: str
    store: str
    split: str
    facts: Mapping[str, str | int | float | bool | None]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all of it."""
        content = [_FORMAT, self.name, self.store, self.split, dict(self.facts)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def find_or_derive(
    key: DerivedKey,
    *,
    documents: int,
    width: int,
    compute: Callable[[], npt.NDArray[Any]] | None,
) -> npt.NDArray[np.float32]:
    """The numbers kept under a key, else computed and kept.

    Args:
        key: What they depend on.
        documents: Documents of the split.
        width: Numbers for each.
        compute: Gives them, ``(documents, width)``, finite; called by one process while the others wait. None = by
            another process: they must be there.

    Returns:
        Read-only, mapped from the cache, ``(documents, width)``.

    Raises:
        DataError: What is kept is damaged, is not there, or is not finite.
    """
    place = cache_folder() / "derived" / f"{key.name}-{key.digest[:24]}"
    record = place.with_suffix(".json")
    if not record.is_file():
        if compute is None:
            raise DataError(f"{key.name} of split {key.split} was not computed yet", got=str(record))
        with hold_lock(place):
            if not record.is_file():
                _keep(place, key, _check(key, compute(), documents, width))
    return _open(place, key, documents, width)


def _check(key: DerivedKey, values: npt.NDArray[Any], documents: int, width: int) -> npt.NDArray[Any]:
    stored = np.ascontiguousarray(values, dtype=_STORED)
    assert stored.shape == (documents, width)
    if not np.isfinite(stored).all():
        number = int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
        raise DataError(
            f"{key.name} of {key.split} document {number + 1} is not finite",
            got=stored[number].tolist(),
            fix="Check the model that computes it.",
        )
    return stored


def _keep(place: Path, key: DerivedKey, values: npt.NDArray[Any]) -> None:
    data = values.tobytes()
    with replacing(place.with_suffix(".bin")) as file:
        file.write(data)
    described = {**asdict(key), "facts": dict(key.facts), "shape": list(values.shape), "crc32": zlib.crc32(data)}
    write_json_durably(place.with_suffix(".json"), seal(described))


def _open(place: Path, key: DerivedKey, documents: int, width: int) -> npt.NDArray[np.float32]:
    path, record = place.with_suffix(".bin"), place.with_suffix(".json")
    try:
        known = unseal(json.loads(record.read_text(encoding="utf-8")))
        shape, crc32 = known["shape"], known["crc32"]
        values = np.memmap(path, _STORED, "r", shape=(documents, width)).view(np.ndarray)
        found = zlib.crc32(np.ascontiguousarray(values).data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(place, f"{type(error).__name__}: {error}") from error
    if shape != [documents, width] or path.stat().st_size != values.nbytes:
        raise _damaged(place, f"its shape is {shape}, {[documents, width]} expected")
    if found != crc32:
        raise _damaged(place, f"CRC-32 {crc32:08x} expected, {found:08x} found")
    return values


def _damaged(place: Path, why: str) -> DataError:
    return DataError(
        f"{place.with_suffix('.bin')} is damaged ({why})",
        fix=f"Delete {place.with_suffix('.json')}, and it is computed again.",
    )

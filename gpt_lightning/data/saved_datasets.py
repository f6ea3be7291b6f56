"""Folders written by ``Dataset.save_to_disk`` of the library datasets: which of their files hold the rows.

Such a folder has ``state.json`` with the names of its arrow files in order; a ``DatasetDict`` has
``dataset_dict.json`` and one such folder per split. The library itself is not needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt_lightning.errors import DataError


def list_saved_dataset(folder: Path) -> list[Path] | None:
    """The arrow files of a saved dataset in order; None when the folder is something else.

    Raises:
        DataError: A saved dataset of several splits (which one is meant?), or a damaged one.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = _read(folder / "dataset_dict.json").get("splits", [])
        raise DataError(
            f"{folder} holds several datasets, and mixing them would train on what is kept for testing",
            got=splits,
            allowed="one of them",
            fix=f"Set --data.source {folder}/{splits[0] if splits else 'train'}.",
        )
    if not ((folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()):
        return None
    state = _read(folder / "state.json")
    entries = state.get("_data_files")
    names = [str(entry.get("filename")) for entry in entries if isinstance(entry, dict)] if entries else []
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise DataError(
            f"The saved dataset {folder} lacks {', '.join(missing) or 'its list of files'}", fix="Copy it again."
        )
    return [folder / name for name in names]


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path} ({error})", fix="Copy the saved dataset again.") from error
    lists = content.items() if isinstance(content, dict) else ()
    return {name: value for name, value in lists if isinstance(value, list)}

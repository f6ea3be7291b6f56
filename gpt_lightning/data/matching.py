"""A path or glob as typed -> files, or a message that helps to find them."""

from __future__ import annotations

import glob
from pathlib import Path

from gpt_lightning.data.saved_datasets import list_saved_dataset
from gpt_lightning.errors import DataError


def match_files(source: str, *, accepted: tuple[str, ...]) -> list[Path]:
    """Files that a path, folder or glob means, sorted.

    Args:
        source: A file, a folder (recursive, hidden names left out; a saved dataset gives its files) or a glob (``**``
            crosses folders).
        accepted: Suffixes with a reader of their own; for the message only.

    Raises:
        DataError: Nothing matches (names the nearest folder that exists and what is in it), or a saved dataset of
            several splits.
    """
    path = Path(source).expanduser()
    if path.is_file():  # before globbing: a name may contain brackets
        return [path]
    if path.is_dir() and (saved := list_saved_dataset(path)) is not None:
        return saved
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(path))]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
    if not found:
        raise _nothing_matches(source, path, accepted)
    return sorted(found, key=lambda file: file.as_posix())


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _nothing_matches(source: str, path: Path, accepted: tuple[str, ...]) -> DataError:
    absolute = path.absolute()
    parent = absolute
    while glob.has_magic(str(parent)) or not parent.is_dir():
        parent = parent.parent
    names = sorted(child.name + "/" * child.is_dir() for child in parent.iterdir())
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    where = f" (that is, {absolute})" if str(absolute) != source else ""
    return DataError(
        f"No file matches the source{where}",
        got=source,
        allowed=f"a file, a folder with files, a glob, or builtin:pydoc; suffixes {' '.join(accepted)}, others as text",
        fix=f"The nearest folder that exists, {parent}, holds: {listed or 'nothing'}.",
    )

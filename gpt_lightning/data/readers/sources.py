"""A path or glob as typed -> files, or a message that helps to find them.

What our own commands wrote is no text: prepared stores, runs, sweeps, checkpoints and tokenizers are left out of a
folder or glob, as are token files of other programs. Everything that is left out, and everything that looks as if it
should be, is told.

Folders written by ``Dataset.save_to_disk`` of the library datasets: which of their files hold the rows.

Such a folder has ``state.json`` with the names of its arrow files in order; a ``DatasetDict`` has
``dataset_dict.json`` and one such folder per split. The library itself is not needed.

What the user typed -> readers.

A source is a file, a folder (recursive, hidden names and our own outputs left out), a folder written by
``save_to_disk`` of the library datasets, a glob, a URL of these, or ``builtin:NAME``; several make a list. The order is
that of the list, sorted inside folders and globs; a file named twice is read once. The suffix chooses the reader,
behind one of compression if there is one.
"""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from gpt_lightning.data.folders import is_marked
from gpt_lightning.data.readers.compression import COMPRESSIONS
from gpt_lightning.data.readers.files import InputFile, LocalFile, logical_suffix
from gpt_lightning.data.readers.formats.columns import ArrowReader, ParquetReader
from gpt_lightning.data.readers.formats.records import JsonLinesReader, JsonReader
from gpt_lightning.data.readers.formats.tables import CsvReader, TsvReader
from gpt_lightning.data.readers.formats.text import TEXT_READERS, TextReader
from gpt_lightning.data.readers.readers import BuiltinReader, FileReader, Reader, Reading
from gpt_lightning.data.readers.remote_files import is_remote, match_remote_files
from gpt_lightning.errors import DataError

Told = Callable[[str], None]

_TOKEN_FILES = (".bin", ".ds", ".ds.index", ".ds.metadata", ".idx", "meta.pkl")
"""Of other programs; ``meta.pkl`` is nanoGPT's table of characters."""
_TOKEN_FILE_NOTE = "token files"
_CARDS = {"readme", "license", "licence", "copying", "notice", "dataset_card", "dataset_info", "dataset_infos"}
_HELD_OUT = {"test", "val", "valid", "validation", "dev", "eval"}
_TRAINING = {"train", "training"}


def ignore(note: str) -> None:
    """Tell nobody."""


def match_files(source: str, *, accepted: tuple[str, ...], tell: Told = ignore) -> list[Path]:
    """Files that a path, folder or glob means, sorted.

    Args:
        source: A file, a folder (recursive, links followed, hidden names left out; a saved dataset gives its files) or
            a glob (``**`` crosses folders).
        accepted: Suffixes with a reader of their own; for the message only.
        tell: Called with what is left out, and what may have been meant otherwise.

    Raises:
        DataError: Nothing matches (names the nearest folder that exists and what is in it), a saved dataset of
            several splits, or the source is something that we wrote.
    """
    path = Path(source).expanduser()
    if path.is_file():  # before globbing: a name may contain brackets
        _refuse_own(path.parent, path, {"a prepared store"})
        return [path]
    if path.is_dir() and (saved := list_saved_dataset(path)) is not None:
        return saved
    sieve = _Sieve()
    if path.is_dir():
        _refuse_own(path, path, None)
        found = sorted(sieve.walk(path), key=lambda file: file.as_posix())
    else:
        found = sorted(sieve.match(path), key=lambda file: file.as_posix())
    if not found:
        raise _nothing_matches(source, path, accepted, sieve.notes)
    for note in (*sieve.notes, *question(source, found)):
        tell(note)
    return found


def expand(pattern: Path) -> list[Path]:
    """What a glob matches; the part of it that exists as it is typed is no pattern, whatever signs it holds."""
    literal = _literal_part(pattern)
    escaped = Path(glob.escape(str(literal))) / pattern.relative_to(literal)
    return [Path(name) for name in glob.glob(str(escaped), recursive=True)]


def _literal_part(pattern: Path) -> Path:
    return next(parent for parent in pattern.parents if parent.exists() or not glob.has_magic(str(parent)))


def question(source: str, files: Sequence[PurePath]) -> Iterator[str]:
    """What among the files of a source may not have been meant as text to train on, in sentences."""
    cards = [file for file in files if file.stem.lower() in _CARDS]
    if cards and {file.suffix for file in files} > {file.suffix for file in cards}:
        yield f"{source}: {_list(cards)} would be trained on like the rest; a glob such as **/*.txt leaves files out"
    words = {file: set(re.split(r"[^a-z]+", str(file).lower())) for file in files}
    held_out = [file for file in files if words[file] & _HELD_OUT and not words[file] & _TRAINING]
    if held_out and any(each & _TRAINING for each in words.values()):
        yield (
            f"{source}: by their names {_list(held_out)} are for measuring, and would be trained on like the rest; a "
            "glob such as **/*train* leaves files out"
        )


def _list(files: Sequence[object]) -> str:
    return ", ".join(map(str, files[:3])) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def describe_own(folder: Path) -> str | None:
    """What of ours a folder is, by the files in it; None = something else."""
    names = set(os.listdir(folder)) if os.access(folder, os.R_OK) else set()
    if is_marked(folder) or ("manifest.json" in names and any(name.startswith("tokens-") for name in names)):
        return "a prepared store"
    if "run.lock" in names or names >= {"config.yaml", "manifest.json", "metrics.jsonl"}:
        return "a run"
    if names >= {"sweep.yaml", "trials"}:
        return "a sweep"
    if names >= {"state.pt", "manifest.json"}:
        return "a checkpoint"
    return "an exported model" if "config.json" in names and any(n.endswith(".safetensors") for n in names) else None


def _refuse_own(folder: Path, source: Path, kinds: set[str] | None) -> None:
    what = describe_own(folder)
    if what is None or (kinds is not None and what not in kinds):
        return
    fix = f"Train on it with --data.store {folder}." if what == "a prepared store" else "Name the text itself."
    belongs = "is" if source == folder else "belongs to"
    raise DataError(f"The source {belongs} {what} of gpt-lightning, not text", got=str(source), fix=fix)


class _Sieve:
    """Lets through what may be text, and notes the rest."""

    def __init__(self) -> None:
        self._left_out: dict[str, list[Path]] = {}
        self._own: dict[Path, str | None] = {}

    @property
    def notes(self) -> list[str]:
        """What was left out, in sentences."""
        return [f"Left out of the source: {_list(sorted(paths))} ({what})" for what, paths in self._left_out.items()]

    def walk(self, folder: Path, pattern: Sequence[str] = ("**",)) -> Iterator[Path]:
        """Files below a folder, hidden names left out; each real folder once, so that links cannot lead in circles.

        Args:
            folder: Where to look.
            pattern: What the names below it must match, part by part.
        """
        links = [folder]
        seen: set[tuple[int, int]] = set()
        while links:
            for place, folders, names in os.walk(links.pop(0), onerror=_refuse_unreadable):
                status = os.stat(place)
                if (status.st_dev, status.st_ino) in seen:
                    folders.clear()
                    continue
                seen.add((status.st_dev, status.st_ino))
                inside = [Path(place, name) for name in sorted(folders) if not name.startswith(".")]
                entered = [each for each in inside if self._enters(each)]
                links += [each for each in entered if each.is_symlink()]
                folders[:] = [each.name for each in entered if not each.is_symlink()]
                for path in (Path(place, name) for name in names if not name.startswith(".")):
                    if _matches(path.relative_to(folder).parts, pattern) and self._passes(path):
                        yield path

    def match(self, pattern: Path) -> Iterator[Path]:
        """Files that a glob means."""
        root = _literal_part(pattern)
        rest = pattern.relative_to(root).parts
        if "**" in rest and root.is_dir():
            yield from self.walk(root, rest)
            return
        for path in expand(pattern):
            inside = [parent for parent in path.parents if root in parent.parents]
            if all(self._enters(parent) for parent in inside) and not path.is_dir() and self._passes(path):
                yield path

    def _enters(self, folder: Path) -> bool:
        if folder not in self._own:
            self._own[folder] = what = describe_own(folder)
            if what is not None:
                self._note(f"{what} of gpt-lightning", folder)
        return self._own[folder] is None

    def _passes(self, path: Path) -> bool:
        if not path.is_file():
            if path.is_symlink():
                self._note("a link to what is not there", path)
            return False
        what = _describe_other(path)
        if what is not None:
            self._note(what, path)
        return what is None

    def _note(self, what: str, path: Path) -> None:
        self._left_out.setdefault(what, []).append(path)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(each == "**" for each in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _describe_other(path: Path) -> str | None:
    """Why a file is no text, as far as its name or its first bytes tell."""
    if path.name.lower().endswith(_TOKEN_FILES):
        return _TOKEN_FILE_NOTE
    if path.name == "prepare.py" and any(path.with_name(name).exists() for name in ("meta.pkl", "train.bin")):
        return "the program that made the token files beside it"
    lock = path.with_suffix("") if path.suffix == ".held" else path  # the marker of file systems without locks
    if lock.suffix == ".lock" and is_marked(lock.with_suffix("")):
        return "the lock of a prepared store"
    if path.suffix != ".json":
        return None
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return None  # whoever reads it says so
    own = all(name in head for name in (b'"kind"', b'"name"', b'"fingerprint"', b'"parts"'))
    return "a tokenizer" if own or (b'"truncation"' in head and b'"added_tokens"' in head) else None


def _refuse_unreadable(error: OSError) -> None:
    raise DataError(
        f"Cannot read the folder {error.filename} ({error.strerror})", fix="Make it readable, or name what to read."
    ) from error


def question_far(source: str, names: Sequence[str]) -> Iterator[str]:
    """``question`` for the addresses behind a URL."""
    return question(source, [PurePosixPath(name) for name in names])


def _nothing_matches(source: str, path: Path, accepted: tuple[str, ...], notes: Sequence[str]) -> DataError:
    absolute = path.absolute()
    parent = absolute
    while glob.has_magic(str(parent)) or not parent.is_dir():
        parent = parent.parent
    names = sorted(child.name + "/" * child.is_dir() for child in parent.iterdir())
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    where = f" (that is, {absolute})" if str(absolute) != source else ""
    dangling = f"; it is a link to {os.readlink(path)}, which is not there" if path.is_symlink() else ""
    left_out = f". {'. '.join(notes)}" if notes else ""
    return DataError(
        f"No file matches the source{where}{dangling}{left_out}",
        got=source,
        allowed=f"a file, a folder with files, a glob, or builtin:pydoc; suffixes {' '.join(accepted)}, others as text",
        fix=f"Train on the token files with --data.store {path}."
        if any(_TOKEN_FILE_NOTE in note for note in notes)
        else f"The nearest folder that exists, {parent}, holds: {listed or 'nothing'}.",
    )


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


RECORD_READERS: tuple[type[FileReader], ...] = (
    JsonLinesReader,
    JsonReader,
    CsvReader,
    TsvReader,
    ParquetReader,
    ArrowReader,
)
"""Readers of records by suffix; what none of them claims is plain text, read as ``data.document_per`` says."""


def open_sources(sources: Sequence[str], reading: Reading, tell: Told = ignore) -> list[Reader]:
    """Readers for what the user typed, in order; nothing is read yet.

    Args:
        sources: Files, folders, globs and ``builtin:NAME``.
        reading: How files become documents.
        tell: Called with what was left out of folders, and what in them may not have been meant.

    Raises:
        DataError: A path or glob matches nothing, a built-in corpus does not exist, the list is empty, or
            ``document_per`` is set and there is no plain text.
    """
    if not sources or not all(sources):
        raise DataError(
            "No text to read", got=list(sources), allowed="at least one file, folder or glob", fix="Set --data.source."
        )
    readers: list[Reader] = []
    seen: set[Path | str] = set()
    for source in sources:
        if source.startswith("builtin:"):
            if source not in seen:
                readers.append(BuiltinReader(source.removeprefix("builtin:")))
            seen.add(source)
            continue
        for file in _match(source, tell):
            place = file.path.resolve() if isinstance(file, LocalFile) else file.name
            if place not in seen:
                readers.append(choose_reader(file, reading))
            seen.add(place)
    if reading.document_per != "file" and not any(isinstance(reader, _text_reader(reading)) for reader in readers):
        raise DataError(
            "data.document_per divides plain text, but the source holds records only",
            got=reading.document_per,
            allowed="file (the default) for records, which are documents already",
            fix="Leave data.document_per out.",
        )
    return readers


def _match(source: str, tell: Told) -> Sequence[InputFile]:
    if is_remote(source):
        files = match_remote_files(source)
        for note in question_far(source, [file.name for file in files]):
            tell(note)
        return files
    return [LocalFile(path) for path in match_files(source, accepted=_accepted(), tell=tell)]


def choose_reader(file: InputFile, reading: Reading) -> FileReader:
    """The reader for a file, by its name."""
    suffix = logical_suffix(file.name)
    kinds = [reader for reader in RECORD_READERS if suffix in reader.suffixes]
    return (*kinds, _text_reader(reading))[0](file, reading)


def _text_reader(reading: Reading) -> type[FileReader]:
    return TEXT_READERS[reading.document_per]


def _accepted() -> tuple[str, ...]:
    kinds: tuple[type[FileReader], ...] = (TextReader, *RECORD_READERS)
    known = [suffix for kind in kinds for suffix in kind.suffixes]
    return (*known, *(f"*{compression.suffix}" for compression in COMPRESSIONS))

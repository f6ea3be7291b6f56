"""A store of checkpoints that many runs share, each found by the key of everything that led to it.

    prefixes/
        000000040-3f9c.../              one entry: step and key
            step-000000040/             a checkpoint folder like any other
            lines.jsonl                 what was logged up to it
            entry.json                  size, and whether other runs are likely to pass here; its time = last used
        pins/OWNER.json                 entries that a run needs, which may have died and wait for its next attempt
        .lock                           held while entries are looked up, committed and evicted
        .writing-..., .trash-...        as on every shelf; swept once their process is gone

What a key stands for is not known here (see ``training.trajectory``). Two runs that store the same key at the same time
both write; the second to finish throws its copy away. A process that dies leaves nothing that looks like an entry:
entries appear by one rename and go by one. The budget counts committed entries, and
ends where the disk does: room for the checkpoints of the runs is never taken. An entry that is damaged is one that is
not there, and stands in nobody's way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.checkpoint_dir import sweep
from gpt_lightning.checkpoints.durable import checkpoint_name, discard, verify_checkpoint
from gpt_lightning.errors import CheckpointError
from gpt_lightning.files.atomic import fsync_folder, write_text_durably
from gpt_lightning.files.locks import FileLock
from gpt_lightning.files.processes import own_mark

_LINES, _ENTRY, _PINS, _LOCK = "lines.jsonl", "entry.json", "pins", ".lock"
_KEPT_FREE = 8
"""Checkpoints of this size that the disk keeps room for, for the runs themselves; besides a hundredth of it."""
_ELSEWHERE_SECONDS = 14 * 86400.0
"""Age at which the pin of another machine ends, if its run is not to be found from here."""
Line = dict[str, Any]
"""A line of ``metrics.jsonl``."""


@dataclass(frozen=True)
class Prefix:
    """An entry.

    Attributes:
        path: Its folder.
        step: Optimizer steps done.
        key: Of everything that led there.
    """

    path: Path
    step: int
    key: str

    @property
    def checkpoint(self) -> Path:
        """The checkpoint folder."""
        return self.path / checkpoint_name(self.step)

    def read_lines(self) -> list[Line]:
        """What was logged up to here, in order.

        Raises:
            CheckpointError: That is missing or damaged.
        """
        try:
            text = (self.path / _LINES).read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines()]
        except (OSError, ValueError) as problem:
            raise CheckpointError(f"{self.path / _LINES} is damaged: {problem}", fix="Delete its folder.") from problem


class PrefixStore:
    """See the file's head.

    Args:
        folder: Where it lies; made when missing, and shared by all who use it.
        budget_bytes: What all entries together may take; None = anything.
    """

    def __init__(self, folder: Path, budget_bytes: int | None = None) -> None:
        self.folder, self._budget_bytes = folder.resolve(), budget_bytes
        self._known: dict[str, tuple[int, bool]] = {}

    def entries(self) -> list[Prefix]:
        """All entries, shortest first."""
        return sorted(self._entries(), key=lambda entry: (entry.step, entry.key))

    def _entries(self) -> Iterator[Prefix]:
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        for name in names:
            digits, dash, key = name.partition("-")
            if dash and digits.isdigit():
                yield Prefix(self.folder / name, int(digits), key)

    def total_bytes(self) -> int:
        """What the entries take."""
        return sum(self._facts(entry)[0] for entry in self._entries())

    def _facts(self, entry: Prefix) -> tuple[int, bool]:
        """Size, and whether it is preferred; an entry that has just gone has no size."""
        if entry.path.name not in self._known:
            try:
                facts = json.loads((entry.path / _ENTRY).read_text(encoding="utf-8"))
                known = int(facts["bytes"]), bool(facts["preferred"])
            except (OSError, ValueError, LookupError, TypeError):
                return _measure(entry.path), False  # damaged: it counts, and is the first to go
            self._known[entry.path.name] = known
        return self._known[entry.path.name]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / _LOCK):
            yield

    def place(self, step: int, key: str) -> Prefix:
        """Where the entry of a key is, whether it is there or not."""
        return Prefix(self.folder / f"{step:09d}-{key}", step, key)

    def find(self, step: int, key: str) -> Prefix | None:
        """The entry of a key, if it is there."""
        entry = self.place(step, key)
        return entry if entry.path.is_dir() else None

    def take(self, keys: Mapping[int, str], usable: Callable[[Prefix], bool], owner: str, home: Path) -> Prefix | None:
        """The longest of these prefixes that is there and usable; pinned, so that it stays until ``release``.

        Args:
            keys: Key after so many steps.
            usable: Whether an entry will do.
            owner: Name of the pin.
            home: Folder of the run that needs it; the pin ends with the folder.
        """
        with self._locked():
            sweep(self.folder)
        for step in sorted(keys, reverse=True):
            entry = self.place(step, keys[step])
            with self._locked():
                found = entry.path.is_dir() and self._is_usable(entry, usable)
                if found:
                    self._pin(owner, home, [entry])
            if found and self._is_sound(entry):  # pinned, so that reading it all needs no lock
                return entry
        return None

    def _is_usable(self, entry: Prefix, usable: Callable[[Prefix], bool]) -> bool:
        try:
            return usable(entry)
        except CheckpointError:
            return False

    def _is_sound(self, entry: Prefix) -> bool:
        try:
            verify_checkpoint(entry.checkpoint)
        except CheckpointError:
            with self._locked(), contextlib.suppress(FileNotFoundError):
                self._remove(entry)
            return False
        return True

    def pin(self, owner: str, home: Path, entries: Sequence[Prefix]) -> None:
        """Keep entries, besides those that ``owner`` has pinned before, from being evicted until ``release``.

        Args:
            owner: Name of the pin.
            home: Folder of the run that needs them; the pin ends with the folder.
            entries: Which.
        """
        with self._locked():
            self._pin(owner, home, entries)

    def _pin(self, owner: str, home: Path, entries: Sequence[Prefix]) -> None:
        file = self._pin_file(owner)
        names = set(_read_pin(file)) | {entry.path.name for entry in entries}
        file.parent.mkdir(exist_ok=True)
        pin = {
            "home": str(home.resolve()),
            "place": os.path.relpath(home.resolve(), self.folder),
            "host": socket.gethostname(),
            "entries": sorted(names),
        }
        write_text_durably(file, json.dumps(pin) + "\n")
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                os.utime(entry.path / _ENTRY)

    def pin_name(self, home: Path) -> str:
        """Name of the pin of the run in a folder: the same under every path by which a machine reaches both."""
        place = os.path.relpath(home.resolve(), self.folder)
        return f"{home.name}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"

    def release(self, owner: str) -> None:
        """Let go of what ``owner`` pinned; harmless when there is nothing."""
        self._pin_file(owner).unlink(missing_ok=True)

    def _pin_file(self, owner: str) -> Path:
        return self.folder / _PINS / f"{owner}.json"

    def _pinned(self) -> set[str]:
        names: set[str] = set()
        for file in (self.folder / _PINS).glob("*.json"):
            entries = _read_pin(file)
            if entries:
                names.update(entries)
            else:
                file.unlink(missing_ok=True)
        return names

    def begin(self, step: int, key: str, lines: Sequence[Line]) -> Path | None:
        """A folder for the checkpoint of a new entry (as ``checkpoint_name(step)`` in it), to be committed.

        Returns:
            None where the entry exists: only lines that it lacks are added; and where the disk has no room for it.
        """
        with self._locked():
            entry = self.find(step, key)
            if entry is not None:
                self._add_lines(entry, lines)
                return None
            largest = max((self._facts(each)[0] for each in self._entries()), default=0)
            if not self._make_room(largest, preferred=True, written=0, budget=None):
                return None
        temporary = self.folder / f".writing-{step:09d}-{key}@{own_mark()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        return temporary

    def _add_lines(self, entry: Prefix, lines: Sequence[Line]) -> None:
        try:
            known = entry.read_lines()
        except CheckpointError:
            known = []  # those of this run are the same
        seen = {_identity(line) for line in known}
        new = [line for line in lines if _identity(line) not in seen]
        if new:
            # Stable: at one step the training line comes first, as it is written.
            merged = sorted([*known, *new], key=lambda line: (line["step"], "val/loss" in line))
            write_text_durably(entry.path / _LINES, _to_text(merged))
        with contextlib.suppress(FileNotFoundError):
            os.utime(entry.path / _ENTRY)

    def commit(self, temporary: Path, step: int, key: str, lines: Sequence[Line], *, preferred: bool) -> bool:
        """Give a begun entry its name, and evict others where the budget asks for it.

        Args:
            temporary: From ``begin``, with the checkpoint in it.
            step: Of the entry.
            key: Of the entry.
            lines: What was logged up to it.
            preferred: Whether it is likely to be shared: only another preferred entry may drive it out.

        Returns:
            Whether it stays; it does not when what is pinned or preferred leaves no room.
        """
        size = _measure(temporary)
        write_text_durably(temporary / _ENTRY, json.dumps({"bytes": size, "preferred": preferred}) + "\n")
        write_text_durably(temporary / _LINES, _to_text(lines))
        fsync_folder(temporary)
        entry = self.place(step, key)
        with self._locked():
            stays = not entry.path.exists() and self._make_room(
                size, preferred=preferred, written=size, budget=self._budget_bytes
            )
            if stays:
                os.rename(temporary, entry.path)
                fsync_folder(self.folder)
            elif entry.path.exists():
                self._add_lines(entry, lines)
        if not stays:
            shutil.rmtree(temporary, ignore_errors=True)
        return stays

    def abandon(self, temporary: Path) -> None:
        """Delete a begun entry that will not be committed."""
        shutil.rmtree(temporary, ignore_errors=True)

    def _make_room(self, size: int, *, preferred: bool, written: int, budget: int | None) -> bool:
        """Evict what is not pinned, least recently used first, preferred entries last and only for their like.

        Room is what the budget leaves, and what the disk leaves beside the checkpoints that the runs themselves have
        yet to write: those come first.

        Args:
            size: Bytes of the new entry.
            preferred: Whether it is.
            written: How many of them are on the disk already.
            budget: What all entries together may take; None = anything.
        """
        pinned = self._pinned()
        total, candidates = 0, []
        for entry in self._entries():
            entry_bytes, entry_preferred = self._facts(entry)
            total += entry_bytes
            if entry.path.name not in pinned and (preferred or not entry_preferred):
                candidates.append((entry_preferred, _last_used(entry), entry.path.name, entry, entry_bytes))
        disk = shutil.disk_usage(self.folder)
        lacking = size - written + max(_KEPT_FREE * size, disk.total // 100) - disk.free
        excess = max(lacking, 0 if budget is None else total + size - budget)
        if excess > sum(candidate[-1] for candidate in candidates):
            return False
        for _, _, _, entry, entry_bytes in sorted(candidates, key=lambda candidate: candidate[:3]):
            if excess <= 0:
                break
            self._remove(entry)
            excess -= entry_bytes
        return True

    def _remove(self, entry: Prefix) -> None:
        self._known.pop(entry.path.name, None)
        discard(entry.path)


def _measure(folder: Path) -> int:
    """Bytes of all files below a folder; of one that goes meanwhile, what is seen of it."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _read_pin(file: Path) -> list[str]:
    """Names of entries; none where there is no pin, it is damaged, or the run that set it is gone."""
    try:
        pin = json.loads(file.read_text(encoding="utf-8"))
        entries = [str(each) for each in pin["entries"]]
        homes = [Path(pin["home"]), file.parent.parent / pin.get("place", pin["home"])]
        age = time.time() - file.stat().st_mtime
    except (OSError, ValueError, LookupError, TypeError):
        return []
    if any(home.is_dir() for home in homes):
        return entries
    # Another machine may reach the run by a path that is not known here.
    elsewhere = pin.get("host", socket.gethostname()) != socket.gethostname()
    return entries if elsewhere and age < _ELSEWHERE_SECONDS else []


def _last_used(entry: Prefix) -> float:
    try:
        return (entry.path / _ENTRY).stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _identity(line: Line) -> tuple[Any, ...]:
    """Step and names: values of one key are the same wherever they were computed, clocks aside."""
    return (line["step"], *sorted(line))


def _to_text(lines: Sequence[Line]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)

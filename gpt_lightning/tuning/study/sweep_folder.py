"""Where everything of a sweep lies.

runs/lr/
    sweep.json        the mark that this folder is a begun sweep: the identity of its study, and what it was forked from
    sweep.yaml        the file, with what --set changed
    base/0-gpt2.yaml  the base configurations as they were when the sweep began
    study.db          Optuna's storage, unless it is elsewhere
    trials/00012/     a run folder each, named by the number of the trial's first attempt
    prefixes/         checkpoints that trials share, also those of a sweep that was forked from this one
    logs/             what the workers said
    best.yaml, report.html, report.md

Only a folder with that mark is taken for a begun sweep, whatever the files in it are called: ``sweep.yaml`` is also
what people call their own.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.files.atomic import write_json_durably, write_text_durably
from gpt_lightning.files.locks import FileLock
from gpt_lightning.parsing.strict_yaml import dump_yaml, read_yaml
from gpt_lightning.training.runs.run_folder import RUNS, make_folder
from gpt_lightning.tuning.spec.spec import SweepSpec

SWEEP_FILE, MARK_FILE, LOCK_FILE = "sweep.yaml", "sweep.json", "sweep.lock"


class SweepFolder:
    """The folder of one sweep.

    Args:
        path: ``runs/NAME``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file, self.database, self.journal = path / SWEEP_FILE, path / "study.db", path / "study.journal"
        self.trials, self.logs = path / "trials", path / "logs"
        self.best, self.report = path / "best.yaml", path / "report.html"

    @cached_property
    def prefixes(self) -> Path:
        """The store of shared checkpoints: that of the sweep it came from, as long as it is there."""
        other = Path(self.mark().get("prefixes") or self.path / "prefixes")
        return other if other.is_dir() else self.path / "prefixes"

    def trial(self, first: int) -> Path:
        """Run folder of the trial whose first attempt has this number."""
        return self.trials / f"{first:05d}"

    def numbers(self) -> list[int]:
        """Numbers of the trials that have a folder here."""
        return sorted(int(each.name) for each in self.trials.glob("*") if each.name.isdigit())

    def mark(self) -> dict[str, str]:
        """Of a begun sweep; empty without a mark.

        ``study``: identity of the study; ``forked_from``: folder of the sweep whose trials it has, if any;
        ``prefixes``: the store of the sweep it came from, if any.
        """
        try:
            return dict(json.loads((self.path / MARK_FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    @property
    def is_begun(self) -> bool:
        """Whether a sweep of ours was begun here."""
        return self.file.is_file() and (bool(self.mark()) or self._is_older())

    def _is_older(self) -> bool:
        """Whether it was made before there were marks: all that was always made together is there."""
        folders = (self.trials, self.logs, self.path / "base")
        return self.file.is_file() and (self.path / LOCK_FILE).is_file() and all(each.is_dir() for each in folders)

    def prepare(self, spec: SweepSpec, *, forked_from: str = "", prefixes: str = "", replace: bool = False) -> None:
        """Mark the folder, and write copies of the bases and the sweep file; call it under the lock.

        Args:
            spec: The sweep.
            forked_from: Folder of the sweep whose trials are taken over.
            prefixes: Store of shared checkpoints of another sweep, to be used in place of an own one.
            replace: Whether bases that were copied before may be others now; else what is there stays.

        Raises:
            RunFolderError: The folder holds something else.
        """
        if not self.mark():
            self._begin(forked_from, prefixes)
        for folder in (self.trials, self.logs, self.path / "base"):
            make_folder(folder)
        copies = self.bases(spec)
        for copy, original in zip(copies, spec.base, strict=True):
            if (replace or not copy.exists()) and original.resolve() != copy.resolve():
                write_text_durably(copy, original.read_bytes().decode("utf-8"))  # line ends as they are
        for other in (self.path / "base").glob("*-*") if replace else ():
            if other not in copies:
                other.unlink()
        # The last one: with it the folder is complete. As it is, if only its form is another, perhaps with comments.
        if not self.file.is_file() or _content(self.file) != dict(spec.raw):
            write_text_durably(self.file, dump_yaml(dict(spec.raw)))

    def _begin(self, forked_from: str, prefixes: str) -> None:
        make_folder(self.path)
        ours = (LOCK_FILE, f".{LOCK_FILE}", f".{MARK_FILE}")  # with what a kill may leave of them
        foreign = sorted(each.name for each in self.path.iterdir() if not each.name.startswith(ours))
        if foreign and not self._is_older():
            raise RunFolderError(
                f"{self.path} is no sweep of ours, and nothing in it is overwritten",
                got=", ".join(foreign[:4]),
                fix="Give the sweep another name (--set name=OTHER), or move what is there.",
            )
        mark = {"study": uuid.uuid4().hex, "forked_from": forked_from, "prefixes": prefixes}
        write_json_durably(self.path / MARK_FILE, mark)

    def bases(self, spec: SweepSpec) -> list[Path]:
        """The copies of the base configurations, which a later edit of the originals does not change."""
        return [self.path / "base" / f"{index}-{_short(path)}" for index, path in enumerate(spec.base)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time."""
        make_folder(self.path)
        with FileLock(self.path / LOCK_FILE):
            yield


def _content(file: Path) -> object:
    try:
        return read_yaml(file)
    except ConfigError:
        return None


def _short(path: Path) -> str:
    return path.name.partition("-")[2] if path.parent.name == "base" and path.name[:1].isdigit() else path.name


def sweep_folder_of(name: str) -> SweepFolder:
    """The folder of a new or old sweep by its name."""
    return SweepFolder(RUNS / name)


def find_sweep(path: str) -> SweepFolder:
    """The folder of an existing sweep: its path, its name below ``runs``, or the file it was started from.

    Raises:
        RunFolderError: There is no sweep.
    """
    candidates = [Path(path), RUNS / path]
    if Path(path).is_file():
        content = read_yaml(path)
        stated = content.get("name") if isinstance(content, dict) else None
        candidates = [RUNS / "-".join(str(stated or Path(path).stem).split())]
        if Path(path).name == SWEEP_FILE:
            candidates.insert(0, Path(path).parent)
    for candidate in candidates:
        if SweepFolder(candidate).is_begun:
            return SweepFolder(candidate)
    known = sorted(str(found.parent) for found in RUNS.glob(f"*/{SWEEP_FILE}") if SweepFolder(found.parent).is_begun)
    raise RunFolderError(
        f"There is no sweep {path}",
        fix=f"Sweeps here: {', '.join(known[-5:])}."
        if known
        else "Start one: gpt-lightning sweep run sweeps/FILE.yaml.",
    )

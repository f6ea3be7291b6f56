"""The study: created once, opened by many, and never mixed with another space.

    sqlite (default)   runs/NAME/study.db in write-ahead mode, waiting up to 60 s for other writers
    journal            runs/NAME/study.journal, for a network disk without a database; see ``sweep fsck``
    a URL              postgresql+psycopg://..., mysql+...: any that Optuna takes

Creating the schema is the moment at which processes that start together trip over each other, so it happens under the
folder's lock and is tried again; everyone else only loads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
import sqlite3
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from gpt_lightning.errors import ConfigError, MachineError, RunFolderError
from gpt_lightning.files.markers import MarkerLock
from gpt_lightning.files.processes import ctrl_z_deferred
from gpt_lightning.parsing.suggest import join_names
from gpt_lightning.tuning.spec.parameters import WHOLE
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.sweep_folder import SweepFolder

log = logging.getLogger("gpt_lightning")

SPACE, FOLDER = "gpt_lightning:space", "gpt_lightning:folder"
"""Attributes of a study: the space it was begun with, and the mark of the folder that holds its trials."""
_BUSY_SECONDS = 60.0
# Optuna 5 raises UnboundLocalError when a transaction fails early, which hides the cause.
_OUTAGES = (optuna.exceptions.StorageInternalError, DBAPIError, UnboundLocalError, OSError)
_T = TypeVar("_T")

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def describe_space(spec: SweepSpec) -> dict[str, Any]:
    """Everything that makes two results comparable, as plain data; what is not here may change on resume."""
    return {
        "format": 2,
        "parameters": {
            key: {"range": each.describe(), "exact": each.exact(), "when": each.when}
            for key, each in spec.parameters.items()
        },
        "derive": dict(spec.derive),
        "metrics": [[metric.name, metric.goal, metric.at] for metric in spec.metrics],
        "constraints": [[each.metric, each.maximum, each.minimum] for each in spec.constraints],
        "seed": spec.seed,
        "base": [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in spec.base],
    }


def hash_space(space: Mapping[str, Any]) -> str:
    """Hash of ``describe_space``."""
    return hashlib.sha256(json.dumps(space, sort_keys=True, default=str).encode()).hexdigest()[:16]


class JournalLock(JournalFileOpenLock):
    """The lock of a journal, as Optuna's own by a file that exists, since a network disk may share no other.

    Optuna's is broken after 30 seconds although its owner lives (a slow disk, Ctrl-Z), and both write at once. And
    whoever gets it writes at the beginning of a line: Optuna appends to what a writer that was killed, or whose disk
    was full, has left of one, and nobody can read the journal any more.

    Args:
        journal: The file that it protects.
        appends: Whether it is held for appending.
    """

    def __init__(self, journal: Path, *, appends: bool = False) -> None:
        self._torn = journal if appends else None
        self._lock = MarkerLock(journal.with_name(f"{journal.name}.lock"))
        self._held = ExitStack()

    def acquire(self) -> bool:
        """Wait for it."""
        self._lock.acquire()
        self._held.enter_context(ctrl_z_deferred())
        self._held.callback(self._lock.release)
        try:
            if self._torn is not None:
                _drop_torn_line(self._torn)
        except BaseException:
            self._held.close()
            raise
        return True

    def release(self) -> None:
        """Give it back."""
        self._held.close()


def _drop_torn_line(journal: Path) -> None:
    """Cut off the part of a line at the end, which nobody has been told of as written."""
    with contextlib.suppress(FileNotFoundError), journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) in (b"", b"\n"):
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


@contextmanager
def journal_locked(journal: Path) -> Iterator[None]:
    """Nobody else reads or writes the journal meanwhile."""
    lock = JournalLock(journal)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def open_storage(spec: SweepSpec, folder: SweepFolder) -> BaseStorage:
    """The storage, with its schema.

    Raises:
        ConfigError: The URL is not one that Optuna takes, or needs a package.
    """
    if spec.storage == "journal":
        return JournalStorage(JournalFileBackend(str(folder.journal), JournalLock(folder.journal, appends=True)))
    options: dict[str, Any]
    if spec.storage == "sqlite":
        _prepare_sqlite(folder.database)
        url, options = f"sqlite:///{folder.database}", {"connect_args": {"timeout": _BUSY_SECONDS}}
    else:
        url, options = spec.storage, {"pool_pre_ping": True}
    try:
        storage = RDBStorage(url, engine_kwargs=options)
    except (ImportError, ValueError, ArgumentError) as problem:
        reason = str(problem).splitlines()[0].rstrip(".")
        extra = "pip install 'gpt-lightning[postgres]'" if "postgres" in url else "Install the driver it names."
        raise ConfigError(f"storage cannot be opened: {reason}", got=without_password(url), fix=extra) from problem
    # Optuna never closes its connections, and Python 3.13 warns of each that the collector finds open.
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def without_password(url: str) -> str:
    """A storage as it may be shown."""
    before, at, after = url.rpartition("@")
    return f"{before.rpartition(':')[0]}:***@{after}" if at and before.count(":") > 1 else url


def _prepare_sqlite(path: Path) -> None:
    # The mode is kept in the file; readers then never wait for a writer.
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def again(call: Callable[[], _T], seconds: float, what: str, pause: float = 0.2) -> _T:
    """Call until it works, with growing pauses and jitter, for at most ``seconds``.

    Other errors are answers (a trial that is finished, a wrong URL), and are raised at once.

    Raises:
        MachineError: It did not.
    """
    end = time.monotonic() + seconds
    told = False
    while True:
        try:
            return call()
        except _OUTAGES as problem:
            if time.monotonic() >= end:
                raise MachineError(
                    f"The storage of the sweep has not answered for {seconds:g} s ({what}): {_cause(problem)}",
                    fix="No trial is lost. Mend that, then start the same command again.",
                ) from problem
            if not told:
                log.warning("the storage does not answer (%s): %s; trying again", what, _cause(problem))
                told = True
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 5.0)


def _cause(problem: BaseException) -> str:
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"


def open_study(
    spec: SweepSpec, folder: SweepFolder, *, accept_change: bool = False, rebuild: bool = False
) -> optuna.Study:
    """Create the study, or load it when it is there; several processes may do so at once.

    A folder that holds trials has a study: where that is gone, none is created, for new trials would be written over
    the old ones.

    Args:
        spec: The sweep.
        folder: Its folder.
        accept_change: Go on although the space is another one (``--force``).
        rebuild: Create it although the folder holds trials, which the caller adds.

    Raises:
        RunFolderError: The study holds results of another space, is of another folder, or is gone.
    """

    def create() -> optuna.Study:
        if folder.numbers() and not rebuild:
            study = load_study(spec, folder)
        else:
            directions = [StudyDirection[metric.goal.upper()] for metric in spec.metrics]
            study = optuna.create_study(
                storage=open_storage(spec, folder), study_name=spec.name, directions=directions, load_if_exists=True
            )
        mark = folder.mark().get("study")
        if mark and FOLDER not in study.user_attrs:
            study.set_user_attr(FOLDER, mark)
        _check_owner(study, spec, folder)
        _check_space(study, spec, accept_change)
        return study

    with folder.locked():
        # Another machine may be creating the same schema in a database: the loser of that race finds it done.
        return again(create, spec.retry.storage_seconds, "opening the study")


def find_study(spec: SweepSpec, folder: SweepFolder) -> optuna.Study | None:
    """The study of that name, whosever it is; whoever only reads creates none, nor a file for it."""

    def load() -> optuna.Study | None:
        if not _storage_is_there(spec, folder):
            return None
        try:
            study = optuna.load_study(study_name=spec.name, storage=open_storage(spec, folder))
        except KeyError:
            return None
        return study if SPACE in study.user_attrs else None

    return again(load, spec.retry.storage_seconds, "opening the study")


def load_study(spec: SweepSpec, folder: SweepFolder) -> optuna.Study:
    """The study of a folder, as ``find_study``.

    Raises:
        RunFolderError: There is none, or it is that of another folder.
    """
    study = find_study(spec, folder)
    if study is None:
        raise lost_study(folder, "The study is gone to which these belong: the trials of", folder.numbers())
    _check_owner(study, spec, folder)
    return study


def _storage_is_there(spec: SweepSpec, folder: SweepFolder) -> bool:
    files = {"sqlite": folder.database, "journal": folder.journal}
    if spec.storage in files:
        return files[spec.storage].exists()
    try:
        url = make_url(spec.storage)
    except ArgumentError:
        return True  # which is told when it is opened
    if url.get_backend_name() == "sqlite":
        return url.database is not None and Path(url.database).exists()
    return True


def lost_study(folder: SweepFolder, problem: str, numbers: Sequence[int]) -> RunFolderError:
    """What to say of a folder whose study is not there, or not its own."""
    if not numbers:
        return RunFolderError(f"{folder.path} holds no study", fix=f"Start it: gpt-lightning sweep run {folder.path}.")
    return RunFolderError(
        f"{problem} {folder.path}",
        got=join_numbers(numbers),
        fix="If its file or database is elsewhere for now, bring it back. Else build the study anew from the results "
        f"in the folder: gpt-lightning sweep fsck {folder.path} --repair.",
    )


def join_numbers(numbers: Sequence[int]) -> str:
    """Trials by the names of their folders, the first few of many."""
    return join_names([f"{each:05d}" for each in numbers], limit=6)


def owns(study: optuna.Study, folder: SweepFolder) -> bool:
    """Whether a study is that of a folder; those that were begun before folders had marks are."""
    mark, owner = folder.mark().get("study"), study.user_attrs.get(FOLDER)
    return mark is None or owner in (None, mark)


def _check_owner(study: optuna.Study, spec: SweepSpec, folder: SweepFolder) -> None:
    if owns(study, folder):
        return
    if folder.numbers():
        raise lost_study(folder, "The study in this storage is of another folder than the trials of", folder.numbers())
    raise RunFolderError(
        f"The study {spec.name} in this storage is not that of {folder.path}, but of another folder",
        got=without_password(spec.storage),
        fix="Work in the folder where it was begun (on a disk that all machines share), or take another name: "
        "--set name=OTHER.",
    )


def _check_space(study: optuna.Study, spec: SweepSpec, accept_change: bool) -> None:
    space = json.loads(json.dumps(describe_space(spec), default=str))
    stored = study.user_attrs.get(SPACE)
    if stored is not None and stored["hash"] == hash_space(space):
        return
    old, new = (stored["space"], space) if stored is not None else ({}, {})
    if stored is not None and "format" not in old:
        old, new = _first_format(old), _first_format(space)
    if stored is None or accept_change or old == new:
        study.set_user_attr(SPACE, {"hash": hash_space(space), "space": space})
        return
    raise RunFolderError(
        f"Sweep {spec.name} was begun with another space, and its results would be mixed with others: "
        + "; ".join(_differences(old, new)),
        fix=f"Keep the old one: sweep run runs/{spec.name}. Start anew with the trials that fit: --fork. "
        "Or mix them knowingly: --force.",
    )


def _first_format(space: Mapping[str, Any]) -> dict[str, Any]:
    """What can be compared with a study of before numbers were kept exactly: choices, and ranges to six digits."""
    parameters = {}
    for key, each in space["parameters"].items():
        choices = each.get("exact", each.get("values")) if each["range"].startswith("one of ") else None
        parameters[key] = {"range": each["range"].removeprefix(WHOLE), "values": choices, "when": each["when"]}
    return {**{key: value for key, value in space.items() if key != "format"}, "parameters": parameters}


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted({*old, *new}):
            lines += _differences(old.get(key, "nothing"), new.get(key, "nothing"), f"{place}.{key}".lstrip("."))
        return lines
    return [] if old == new else [f"{place}: {old} -> {new}"]

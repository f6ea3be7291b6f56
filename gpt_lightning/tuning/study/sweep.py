"""``Sweep``: a sweep that is open: its records, its folder, its study, and what was found out about its base.

Also what may change between its trials without a word in its file, compared with the first trial. An environment
variable, the text, a package, the code, the machine: a trial that ran under other conditions than the first one has a
value that cannot be compared without a thought, so the difference stands beside it wherever trials are listed. Settings
that the sweep varies, and what hangs on them, are no difference.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.samplers import BaseSampler

from gpt_lightning.errors import RunFolderError, UserError
from gpt_lightning.files.atomic import write_json_durably
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.training.runs.run_folder import CONFIG_FILE, read_starts
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.entries import Entry, list_entries, rank
from gpt_lightning.tuning.study.samplers import Grid, make_sampler
from gpt_lightning.tuning.study.study import again, load_study, lost_study
from gpt_lightning.tuning.study.sweep_folder import SweepFolder

BASE, STOP, FAULT = "gpt_lightning:base", "gpt_lightning:stop", "gpt_lightning:fault"
ALLOWED = "gpt_lightning:allowed"
"""Number of the trial from which on failures count: what failed before was looked at by whoever started it again."""
_T = TypeVar("_T")


@dataclass
class Sweep:
    """An open sweep.

    Attributes:
        spec: As in its folder.
        folder: Its folder.
        study: Optuna's study.
    """

    spec: SweepSpec
    folder: SweepFolder
    study: optuna.Study

    @cached_property
    def base(self) -> dict[str, Any]:
        """Facts about the base configuration, found when the sweep was checked: ``classes`` and ``constants``."""
        return dict(self.study.user_attrs.get(BASE, {"classes": {}, "constants": {}}))

    @cached_property
    def sampler(self) -> BaseSampler:
        """The sampler, which the study uses as well."""
        return make_sampler(self.spec)

    @cached_property
    def grid(self) -> Grid | None:
        """All points, where they can be counted."""
        return Grid.of(self.spec)

    @property
    def num_trials(self) -> int | None:
        """Trials to make, at most the points that there are; None = no limit."""
        limits = [self.spec.budget.trials, None if self.grid is None else len(self.grid)]
        return min((limit for limit in limits if limit is not None), default=None)

    def entries(self) -> list[Entry]:
        """All trials as they are now."""
        trials = self.store(lambda: self.study.get_trials(deepcopy=False), "reading the trials")
        return list_entries(trials)

    def ranked(self) -> list[Entry]:
        """Complete, feasible trials, best first."""
        return rank(self.spec, self.entries())

    def check_folder(self) -> None:
        """Whether the study knows all trials of the folder; else new ones would be written over them.

        Raises:
            RunFolderError: It does not.
        """
        numbers = self.folder.numbers()  # before the study, which knows a trial first
        unknown = sorted({*numbers} - {entry.first for entry in self.entries()}) if numbers else []
        if unknown:
            raise lost_study(self.folder, f"The study does not know {len(unknown)} trials of", unknown)

    def store(self, call: Callable[[], _T], what: str) -> _T:
        """A call to the storage, tried again while the storage does not answer."""
        return again(call, self.spec.retry.storage_seconds, what)


def open_sweep(folder: SweepFolder) -> Sweep:
    """Open a sweep that was created before; creates nothing.

    Raises:
        RunFolderError: Its study is not there, or does not know the trials of the folder.
    """
    spec = read_frozen(folder)
    sweep = Sweep(spec, folder, load_study(spec, folder))
    sweep.check_folder()
    sweep.study.sampler = sweep.sampler
    return sweep


def read_frozen(folder: SweepFolder, changes: Sequence[str] = ()) -> SweepSpec:
    """The sweep file in a sweep's folder, with the copies of its bases and with ``changes``, as of ``--set``.

    Raises:
        RunFolderError: A copy is missing.
    """
    copies = sorted((folder.path / "base").glob("*-*"), key=_index)
    if [_index(path) for path in copies] != list(range(len(copies))):
        found = [each.name for each in copies]
        raise RunFolderError(f"{folder.path / 'base'} has not all copies of the base", got=found)
    return read_spec(folder.file, changes, copies)


def _index(path: Path) -> int:
    return int(path.name.partition("-")[0])


log = logging.getLogger("gpt_lightning")

FIRST_FILE = "surroundings.json"
"""In a sweep's folder: those of its first trial."""
_FACTS = ("python", "platform", "gpt_lightning", "packages", "git", "data_fingerprint")
_OWN = ("seed_everything", "run.dir", "run.name")


def differences(sweep: Sweep, folder: Path) -> list[str]:
    """What was other than in the first trial that has ended, a line each; the first one is written down.

    Args:
        sweep: The sweep.
        folder: Of a trial that has ended.
    """
    try:
        mine = read_surroundings(sweep.spec, folder)
        path = sweep.folder.path / FIRST_FILE
        with sweep.folder.locked():
            if not path.exists():
                write_json_durably(path, mine)
        first = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, UserError) as problem:
        log.warning("%s: its surroundings cannot be compared: %s", folder, problem)
        return []
    names = sorted({*first, *mine}) if mine else []
    return [f"{name}: {first.get(name)} -> {mine.get(name)}" for name in names if first.get(name) != mine.get(name)]


def read_surroundings(spec: SweepSpec, folder: Path) -> dict[str, Any]:
    """Settings and facts of a trial that are to be those of every trial, by dotted name; empty before it began."""
    starts = read_starts(folder)
    if not starts or not (folder / CONFIG_FILE).is_file():
        return {}
    settings: dict[str, Any] = {}
    _flatten(read_yaml(folder / CONFIG_FILE), "", settings)
    facts: dict[str, Any] = {}
    _flatten({name: starts[-1].get(name) for name in _FACTS}, "", facts)
    varied = [key.replace(".init_args.", ".") for key in (*spec.parameters, *spec.derive)]
    kept = {key: value for key, value in settings.items() if not _is_varied(key, varied)}
    return json.loads(json.dumps({**kept, **facts}, default=str))  # type: ignore[no-any-return]


def _is_varied(key: str, varied: list[str]) -> bool:
    plain = key.replace(".init_args.", ".")
    return plain in _OWN or any(plain == each or plain.startswith(f"{each}.") for each in varied)


def _flatten(tree: Any, place: str, found: dict[str, Any]) -> None:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            _flatten(value, f"{place}.{key}".lstrip("."), found)
    else:
        found[place] = tree

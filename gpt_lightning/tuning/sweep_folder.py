"""Where everything of a sweep lies.

runs/lr/
    sweep.yaml        the file, with what --set changed
    base/0-gpt2.yaml  the base configurations as they were when the sweep began
    study.db          Optuna's storage, unless it is elsewhere
    trials/00012/     a run folder each, named by the number of the trial's first attempt
    prefixes/         checkpoints that trials share
    logs/             what the workers said
    best.yaml, report.html, report.md
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt_lightning.errors import RunFolderError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.files.locks import FileLock
from gpt_lightning.parsing.strict_yaml import dump_yaml, read_yaml
from gpt_lightning.training.run_folder import RUNS, make_folder
from gpt_lightning.tuning.spec import SweepSpec

SWEEP_FILE = "sweep.yaml"


class SweepFolder:
    """The folder of one sweep.

    Args:
        path: ``runs/NAME``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file, self.database, self.journal = path / SWEEP_FILE, path / "study.db", path / "study.journal"
        self.trials, self.prefixes, self.logs = path / "trials", path / "prefixes", path / "logs"
        self.best, self.report = path / "best.yaml", path / "report.html"

    def trial(self, first: int) -> Path:
        """Run folder of the trial whose first attempt has this number."""
        return self.trials / f"{first:05d}"

    def prepare(self, spec: SweepSpec) -> None:
        """Write the sweep file and copies of the bases; what is there already stays."""
        for folder in (self.path, self.trials, self.logs, self.path / "base"):
            make_folder(folder)
        for copy, original in zip(self.bases(spec), spec.base, strict=True):
            if not copy.exists() and original.resolve() != copy.resolve():
                shutil.copyfile(original, copy)
        write_text_durably(self.file, dump_yaml(dict(spec.raw)))

    def bases(self, spec: SweepSpec) -> list[Path]:
        """The copies of the base configurations, which a later edit of the originals does not change."""
        return [self.path / "base" / f"{index}-{_short(path)}" for index, path in enumerate(spec.base)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time."""
        make_folder(self.path)
        with FileLock(self.path / "sweep.lock"):
            yield


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
        candidates = [Path(path).parent, RUNS / str(stated or Path(path).stem)]
    for candidate in candidates:
        if (candidate / SWEEP_FILE).is_file():
            return SweepFolder(candidate)
    known = sorted(str(found.parent) for found in RUNS.glob(f"*/{SWEEP_FILE}"))
    raise RunFolderError(
        f"There is no sweep {path}",
        fix=f"Sweeps here: {', '.join(known[-5:])}."
        if known
        else "Start one: gpt-lightning sweep run sweeps/FILE.yaml.",
    )

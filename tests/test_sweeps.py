"""Every study in ``sweeps/``: it explains itself, the fit parser takes its values, and a trial of it trains."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.tuning.launch.creating import begin
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.study.sweep_folder import sweep_folder_of
from gpt_lightning.tuning.workers.slots import Slot
from gpt_lightning.tuning.workers.worker import work
from tests.training.forked import write_corpus

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "sweeps").glob("*.yaml"))
LADDERS = sorted((ROOT / "sweeps" / "ladders").glob("*.yaml"))
"""Files of ``sweep ladder`` and ``sweep transfer``; tests/tuning reads them."""
SMALL = (
    "budget.trials=1",
    "parameters.trainer.max_steps.value=2",
    "parameters.data.source.value=corpus.txt",
    "parameters.monitor.details.value=false",
    "parameters.monitor.mfu.value=false",
    "repeat_best=null",
)


@pytest.mark.parametrize("path", [*STUDIES, *LADDERS], ids=lambda path: path.name)
def test_header_says_what_it_is_for_and_what_to_expect(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = "\n".join(lines[: next(index for index, line in enumerate(lines) if not line.startswith("#"))])
    for title in ("Purpose", "Command", "Time", "Expected"):
        assert re.search(rf"^# {title}: +\S", header, flags=re.MULTILINE), f"no line '# {title}:'"
    command = "run" if path in STUDIES else path.stem.split("_")[0]
    assert f"gpt-lightning sweep {command} {path.relative_to(ROOT)}" in header
    assert re.search(r"CPU|GPU", header)
    assert re.search(r"^# Expected: .*(\d\.\d|not run)", header, flags=re.MULTILINE)
    assert read_yaml(path)["name"] == path.stem
    if path in STUDIES:
        assert read_spec(path, SMALL).name == path.stem


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_a_trial_of_two_steps(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``begin`` parses and builds configurations in which every edge value of the study occurs."""
    shutil.copytree(ROOT / "sweeps" / "base", tmp_path / "sweeps" / "base")
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    spec = read_spec(path, SMALL)
    sweep, _ = begin(spec, sweep_folder_of(spec.name))
    assert work(sweep, Slot(threads=1), asked_to_stop=lambda: False, most=1) == {"complete": 1}
    entry = sweep.entries()[0]
    assert 3 < entry.last.values[0] < 6  # ln 257 = 5.55
    assert entry.fact("executed_steps") == 2

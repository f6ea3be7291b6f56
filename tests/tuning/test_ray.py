"""Workers as tasks of a real Ray, in a network of its own that has nothing but loopback."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.launch.cluster_launchers import Ray
from gpt_lightning.tuning.spec.spec import LauncherSettings
from gpt_lightning.tuning.study.sweep import open_sweep
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from tests.tuning.saboteurs import sabotage
from tests.tuning.sweeping import write_sweep
from tests.tuning.watching import has_content, start, wait_until


def test_a_missing_ray_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'gpt-lightning\[ray\]'"):
        Ray(SweepFolder(tmp_path), LauncherSettings(type="ray"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tasks_of_ray_finish_a_sweep_that_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="pip install 'gpt-lightning[ray]'")
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs root, unshare and ip: Ray listens on every network that it sees")
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "HOME": str(tmp_path)}  # there it keeps its token
    space = {
        "model.optimizer.lr": {"values": [1e-3, 3e-3, 1e-2]},
        "trainer.callbacks": {"values": [sabotage("slow")]},
    }
    launcher = {"type": "ray", "workers": 2}
    # Half a minute each: whichever worker comes first must still be at it when the other has begun.
    content = {
        "method": "grid",
        "parameters": space,
        "derive": {"trainer.max_steps": 150},
        "launcher": launcher,
        "storage": "journal",
    }
    content["storage"] = "journal"
    file, log = str(write_sweep(tmp_path, content)), tmp_path / "launcher.log"
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    run = start(log, "sweep", "run", file, environment=environment, prefix=alone)
    reports = [Path(f"runs/s/trials/{number:05d}/mailbox/reports.jsonl") for number in range(2)]
    wait_until(lambda: all(map(has_content, reports)), run, log)
    run.send_signal(signal.SIGINT)
    assert run.wait(300) == 130, log.read_text()[-3000:]
    sweep = open_sweep(SweepFolder(Path("runs/s")))
    assert [entry.state for entry in sweep.entries()] == ["waiting", "waiting"]
    again = start(log, "sweep", "run", file, environment=environment, prefix=alone)
    assert again.wait(600) == 0, log.read_text()[-3000:]
    entries = sweep.entries()
    assert [entry.state for entry in entries] == ["complete"] * 3
    assert [entry.fact("executed_steps") for entry in entries] == [150, 150, 150], "none was done twice"
    assert entries[0].fact("deaths") == 0

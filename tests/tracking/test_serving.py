"""``gpt-lightning monitor`` as a process: it answers on loopback, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.tracking.hparams import Session
from gpt_lightning.tracking.records import build_layout, build_text
from gpt_lightning.tracking.serving import count_runs, start

METRICS = ("activation/rms/block_00", "by_tokens/val/loss", "train/loss", "val/loss", "val/perplexity")

SETTINGS = ("data.block_size", "model.config.n_layer", "model.optimizer.init_args.lr")


def write_run(folder: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    writer.add_event(Event(step=1, wall_time=time.time(), summary=build_text("run/data", "hello")))
    writer.add_event(Event(step=0, wall_time=time.time(), summary=build_layout()))
    for name in METRICS:
        values = [Summary.Value(tag=name, simple_value=1.0)]
        writer.add_event(Event(step=1, wall_time=time.time(), summary=Summary(value=values)))
    writer.close()


def test_runs_are_counted_with_their_own_folders_inside(tmp_path: Path) -> None:
    for name in ("a-1", "a-1/by_tokens", "a-2"):
        write_run(tmp_path / name)
    assert count_runs(tmp_path) == 2
    assert count_runs(tmp_path / "a-1") == 1


def test_nothing_to_show_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunFolderError, match="There is no folder"):
        count_runs(tmp_path / "runs")
    with pytest.raises(RunFolderError, match="No run in"):
        count_runs(tmp_path)
    assert main(["monitor", str(tmp_path / "runs")]) == 3
    assert "gpt-lightning fit" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org"])
def test_other_addresses_are_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="Other machines could reach"):
        start(tmp_path, None, host, allow_remote=False)


def _children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def _first_tab(address: str) -> str:
    """The first tab that has content: the one that opens."""
    with urllib.request.urlopen(f"{address}data/plugins_listing", timeout=30) as answer:
        return str(next(name for name, plugin in json.load(answer).items() if plugin["enabled"]))


def _columns_of_the_hparams_tab(address: str) -> tuple[list[str], list[str]]:
    """Its metrics and settings, as the browser gets them."""
    question = urllib.request.Request(
        f"{address}data/plugin/hparams/experiment",
        data=json.dumps({"experimentName": ""}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(question, timeout=30) as answer:
        found = json.load(answer)
    return [metric["name"]["tag"] for metric in found["metricInfos"]], [each["name"] for each in found["hparamInfos"]]


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_it_answers_until_ctrl_c_and_leaves_no_process(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a-1")
    Session(tmp_path / "runs" / "a-1", "a-1", dict.fromkeys(SETTINGS, 0.1)).close("success")
    process = subprocess.Popen(
        [sys.executable, "-m", "gpt_lightning", "monitor", "runs", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"1 run in runs: (http://127\.0\.0\.1:\d+/)", line)
        assert found, line
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with urllib.request.urlopen(f"{found[1]}data/runs", timeout=30) as answer:
                if json.load(answer) == ["a-1"]:
                    break
            time.sleep(0.2)
        else:
            raise AssertionError("the run is not shown")
        metrics, settings = _columns_of_the_hparams_tab(found[1])
        assert metrics == ["val/loss", "val/perplexity", "train/loss", *METRICS[:2]]
        assert settings == list(reversed(SETTINGS)), "what is tuned comes first"
        assert _first_tab(found[1]) == "custom_scalars"
        helpers = _children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        end = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in helpers) and time.monotonic() < end:
            time.sleep(0.1)
        assert not [pid for pid in helpers if Path(f"/proc/{pid}").exists()]
    finally:
        process.kill()
        process.communicate()

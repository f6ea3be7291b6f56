"""``predict`` with prompts: one file out of several processes, the same that one process writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from tests.generation.models import write_run
from tests.training.together import run_together

_FILES = ("--generate.input=in.jsonl", "--generate.output=out.jsonl")


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"))
    write_prompts(7)


def write_prompts(count: int, max_tokens: int = 9) -> None:
    lines = [
        {"prompt": f"é{number}", "id": f"p{number}", "seed": number, "max_tokens": 1 + (number * 5) % max_tokens}
        for number in range(count)
    ]
    lines[1] |= {"n": 2, "logprobs": 1}
    Path("in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def predict(*args: str) -> list[str]:
    return ["predict", "--checkpoint=run", "--trainer.accelerator=cpu", *_FILES, *args]


def by_one_process() -> bytes:
    assert main(["generate", "run", "--input=in.jsonl", "--output=one.jsonl"]) == 0
    return Path("one.jsonl").read_bytes()


def _predict(place: Path, *args: str) -> None:
    """The body of a child."""
    os.chdir(place)
    os._exit(main(predict(*args)))


def test_one_device_writes_what_generate_writes(capsys: pytest.CaptureFixture[str]) -> None:
    expected = by_one_process()
    capsys.readouterr()
    assert main(predict("--trainer.devices=1")) == 0
    assert capsys.readouterr().out == "7 prompts answered: out.jsonl\n"
    assert Path("out.jsonl").read_bytes() == expected
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl", "one.jsonl", "out.jsonl", "run"]


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    expected = by_one_process()
    args = ("--trainer.devices=2", "--trainer.strategy=ddp")
    assert run_together(tmp_path, 2, _predict, tmp_path, *args) == [0, 0]
    assert Path("out.jsonl").read_bytes() == expected
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl", "one.jsonl", "out.jsonl", "run"]
    # It is finished now, which the first process finds and both are told.
    assert run_together(tmp_path, 2, _predict, tmp_path, *args) == [3, 3]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", ["first", "second"])
def test_killed_with_lightning_s_launcher_it_goes_on_with_any_number_of_processes(victim: str) -> None:
    write_prompts(400, max_tokens=120)
    expected = by_one_process()
    command = [sys.executable, "-m", "gpt_lightning", *predict("--trainer.devices=2", "--generate.slots=2")]

    def parts() -> list[Path]:
        return sorted(Path().glob("out.jsonl.part-*"))

    kills, children = 0, []
    for wait in (1, 40):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            time.sleep(0.01)
            if len(parts()) == 2 and all(part.read_bytes().count(b"\n") >= wait for part in parts()):
                found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
                children = [int(word) for word in found.stdout.split()]
                os.kill(process.pid if victim == "first" else children[-1], signal.SIGKILL)
                kills += 1
                break
        process.wait(60)
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < deadline, "a process outlives the one that started it"
            time.sleep(0.05)
    assert kills == 2
    assert not Path("out.jsonl").exists() or Path("out.jsonl").read_bytes() == b""
    # Its end is one process's work, with what both have done.
    assert main(["generate", "run", "--input=in.jsonl", "--output=out.jsonl"]) == 0
    assert Path("out.jsonl").read_bytes() == expected
    assert not parts()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--generate.input=in.jsonl"], 2, "belong together"),
        (["--generate.top_p=0.5"], 2, "{'generate.top_p': 0.5}"),
        ([*_FILES, "--generate.top_p=9"], 2, "top_p is not a probability"),
        ([*_FILES, "--generate.weights=int4"], 2, "no such weights"),
        ([*_FILES, "--trainer.strategy=fsdp2", "--trainer.devices=2"], 2, "needs the whole model"),
        (["--generate.input=gone.jsonl", "--generate.output=out.jsonl"], 3, "cannot read the prompts gone.jsonl"),
        (["--generate.input=in.jsonl", "--generate.output=in.jsonl"], 3, "the output exists already"),
        ([*_FILES, "--generate.prefer=last"], 2, "prefer"),
    ],
    ids=str,
)
def test_mistakes_write_nothing(args: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in Path().iterdir())
    assert main(["predict", "--checkpoint=run", "--trainer.accelerator=cpu", *args]) == code
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == before

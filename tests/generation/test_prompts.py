"""Files of prompts: settings of single lines, order, going on after a kill, and mistakes by file and line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.cli import main
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.errors import ConfigError, DataError, RunFolderError
from gpt_lightning.generation.batch_files import AnswerFile, Tally, answer_file, part_locked
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.prompts import Prompt, read_prompts
from tests.generation.models import tiny_model, write_run

_LINES: list[dict[str, Any]] = [
    {"prompt": "ab", "id": "first"},
    {"prompt": "中", "max_tokens": 3, "temperature": 0},
    {"prompt": "", "seed": 5, "n": 2},
    {"prompt": "a longer prompt than the positions", "max_tokens": 30, "stop": "zz"},
    {"prompt": "x", "max_tokens": 1, "logprobs": 1},
]


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _write(lines: list[dict[str, Any]]) -> Path:
    path = Path("in.jsonl")
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n", encoding="utf-8")
    return path


def _read(path: str = "out.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def _prompts() -> list[Prompt]:
    return read_prompts(_write(_LINES), ByteTokenizer(), {"temperature": 1.0, "max_tokens": 9, "seed": 1})


def _quiet(*_: int) -> None:
    pass


def test_command_answers_in_order_as_each_prompt_alone(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("run"))
    _write(_LINES)
    assert main(["generate", "run", "--input=in.jsonl", "--output=out.jsonl", "--slots=3", "--max_tokens=9"]) == 0
    assert "5 prompts answered: out.jsonl" in capsys.readouterr().out
    answers = _read()
    assert [answer["id"] for answer in answers] == ["first", 2, 3, 4, 5]
    assert [answer["prompt"] for answer in answers] == [line["prompt"] for line in _LINES]
    assert [len(answer.get("samples", "_")) for answer in answers] == [1, 1, 2, 1, 1]
    assert answers[1]["num_tokens"] <= 3
    assert len(answers[4]["logprobs"]) == len(answers[4]["tokens"]) <= 1
    for number, line in enumerate(_LINES):
        Path("one.jsonl").unlink(missing_ok=True)
        _write([line])
        assert main(["generate", "run", "--input=in.jsonl", "--output=one.jsonl", "--max_tokens=9"]) == 0
        (alone,) = _read("one.jsonl")
        assert {**alone, "id": 0} == {**answers[number], "id": 0}
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl", "one.jsonl", "out.jsonl", "run"]


def test_text_of_a_line_is_that_of_the_same_prompt_typed(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("run"))
    _write([{"prompt": "ab", "seed": 7}])
    assert main(["generate", "run", "--input=in.jsonl", "--output=out.jsonl", "--max_tokens=20"]) == 0
    capsys.readouterr()
    assert main(["generate", "run", "--prompt=ab", "--seed=7", "--max_tokens=20"]) == 0
    assert capsys.readouterr().out == "ab" + _read()[0]["text"] + "\n"


@pytest.mark.parametrize("cut", [30, 200, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (0, 1, 90))])
def test_what_was_cut_off_is_repaired_and_the_rest_is_added(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, output = _prompts(), Path("out.jsonl")
    answer_file(Engine(tiny_model(1), ByteTokenizer(), slots=2), prompts, output, {}, _quiet)
    whole = output.read_bytes()
    output.unlink()

    def interrupt(done: int, _: int, __: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_file(Engine(tiny_model(1), ByteTokenizer(), slots=2), prompts, output, {}, interrupt)
    assert Path("out.jsonl.unfinished").exists()
    content = output.read_bytes()
    output.write_bytes(content[: len(content) - cut])
    kept = content[: len(content) - cut].count(b"\n")
    asked: list[int] = []
    complete = Engine.complete

    def counted(self: Engine, requests: Any) -> Any:
        listed = list(requests)
        asked.append(len(listed))
        return complete(self, listed)

    monkeypatch.setattr(Engine, "complete", counted)
    done = answer_file(Engine(tiny_model(1), ByteTokenizer(), slots=2), prompts, output, {}, _quiet)
    assert (done, asked) == (kept, [len(prompts) - kept])
    assert output.read_bytes() == whole
    assert not Path("out.jsonl.unfinished").exists()


def test_parts_of_several_processes_are_taken_over_whatever_was_cut_off() -> None:
    prompts, output = _prompts(), Path("out.jsonl")
    engine = Engine(tiny_model(1), ByteTokenizer(), slots=2)
    answer_file(engine, prompts, output, {}, _quiet)
    whole = output.read_bytes()
    output.unlink()
    Path("out.jsonl.part-0007").write_text("0\tof an output that is gone\n")
    first = AnswerFile(output, prompts, {})
    assert first.begin() == [0, 1, 2, 3, 4]
    with pytest.raises(RunFolderError, match="another process is writing"):
        AnswerFile(output, prompts, {}).begin()
    for rank in (0, 1):
        list(first.write_part(rank, Tally().lines(engine, prompts, range(1 + rank, 5, 2))))
    parts = [Path(f"out.jsonl.part-000{rank}") for rank in (0, 1)]
    parts[0].write_bytes(parts[0].read_bytes()[:-5])  # within the line of prompt 3
    first.close()
    with part_locked(parts[1]), pytest.raises(RunFolderError, match=r"another process is writing .*part-0001"):
        AnswerFile(output, prompts, {}).begin()
    second = AnswerFile(output, prompts, {})
    assert second.begin() == [0, 3]
    second.close()
    asked: list[tuple[int, int]] = []
    assert answer_file(engine, prompts, output, {}, lambda done, total, _: asked.append((done, total))) == 3
    assert asked == [(done, 5) for done in range(1, 6)]
    assert output.read_bytes() == whole
    assert [path.name for path in Path().glob("out*")] == ["out.jsonl"]


def test_a_finished_file_and_one_of_other_settings_are_left_alone() -> None:
    prompts, output = _prompts(), Path("out.jsonl")
    engine = Engine(tiny_model(1), ByteTokenizer())
    answer_file(engine, prompts, output, {}, _quiet)
    content = output.read_bytes()
    with pytest.raises(RunFolderError, match=r"exists already: got 'out\.jsonl'"):
        answer_file(engine, prompts, output, {}, _quiet)
    Path("out.jsonl.unfinished").write_text("something else")
    with pytest.raises(RunFolderError, match="begun with other prompts, settings or weights"):
        answer_file(engine, prompts, output, {}, _quiet)
    assert output.read_bytes() == content
    with pytest.raises(RunFolderError, match="folder does not exist"):
        answer_file(engine, prompts, Path("nowhere/out.jsonl"), {}, _quiet)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_again_and_again_the_file_is_the_same() -> None:
    write_run(Path("run"))
    _write([{"prompt": f"{number} ", "max_tokens": 40, "seed": number} for number in range(200)])
    command = [sys.executable, "-m", "gpt_lightning", "generate", "run", "--input=in.jsonl"]
    subprocess.run([*command, "--output=whole.jsonl"], check=True, capture_output=True)
    kills = 0
    for wait in range(1, 60):
        process = subprocess.Popen(
            [*command, "--output=out.jsonl"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            if Path("out.jsonl").exists() and Path("out.jsonl").stat().st_size > wait * 6000:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
        if process.wait() == 0:
            break
    assert kills >= 2
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b"{", "line 2 is not JSON"),
        (b"[]", "line 2 has no prompt"),
        (b'{"text": "a"}', "line 2 has no prompt"),
        (b'{"prompt": 3}', "line 2 has no prompt"),
        (b'{"prompt": "\xff"}', "line 2 is not UTF-8"),
        (b'{"prompt": "a", "id": [1]}', "line 2 has an id"),
        (b'{"prompt": "a", "heat": 1}', "line 2: unknown setting: got 'heat'"),
        (b'{"prompt": "a", "temperature": "hot"}', "line 2: temperature is not a number: got 'hot'"),
        (b'{"prompt": "a", "temperature": NaN}', "line 2: temperature is not usable: got nan"),
        (b'{"prompt": "a", "top_p": 9}', "line 2: top_p is not a probability: got 9"),
        (b'{"prompt": "a", "max_tokens": 1.5}', "line 2: max_tokens is not a whole number: got 1.5"),
        (b'{"prompt": "a", "max_tokens": -1}', "line 2: max_tokens is negative: got -1"),
        (b'{"prompt": "a", "seed": null}', "line 2: seed is not a whole number: got None"),
        (b'{"prompt": "a", "stop": [1]}', "line 2: stop is not a string"),
        (b'{"prompt": "a", "logit_bias": {"a": 1}}', "line 2: logit_bias is not a table"),
        (b'{"prompt": "a", "slide": 1}', "line 2: slide is not true or false"),
    ],
)
def test_mistakes_name_file_and_line(line: bytes, part: str) -> None:
    Path("in.jsonl").write_bytes(b'{"prompt": "fine"}\n' + line + b"\n")
    with pytest.raises(DataError) as caught:
        read_prompts(Path("in.jsonl"), ByteTokenizer(), {})
    assert f"in.jsonl {part}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_prompts_and_one_that_is_not_there() -> None:
    Path("in.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match="holds no prompt"):
        read_prompts(Path("in.jsonl"), ByteTokenizer(), {})
    with pytest.raises(DataError, match="cannot read the prompts gone"):
        read_prompts(Path("gone"), ByteTokenizer(), {})


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--top_p=9"], 2),
        (["--temperature=nan"], 2),
        (["--max_tokens=-1"], 2),
        (["--num_samples=0"], 2),
        (["--weights=int4"], 2),
        (["--beams=0"], 2),
        (["--beams=2", "--num_samples=3"], 2),
        (["--beams=2", "--draft_tokens=3"], 2),
        (["--beams=2", "--length_penalty=nan"], 2),
        (["--input=in.jsonl"], 2),
        (["--logprobs=2"], 2),
        (["--logit_bias={300: 1}"], 2),
        (["--input=gone.jsonl", "--output=out.jsonl"], 3),
        (["--input=in.jsonl", "--output=in.jsonl"], 3),
        (["--input=in.jsonl", "--output=out.jsonl", "--min_p=2"], 2),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(Path("run"))
    _write([{"prompt": "ab"}])
    before = sorted(path.name for path in Path().iterdir())
    capsys.readouterr()
    assert main(["generate", "run", *arguments]) == code
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == before


def test_settings_are_checked_before_the_model_is_loaded() -> None:
    from gpt_lightning.generation.command import generate_command

    with pytest.raises(ConfigError, match="top_p"):
        generate_command("no-such-run", top_p=9.0)

"""``feedback drift``: windows of a store that never changes, and of one that does; alarms kept and passed on once."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.cli import main
from gpt_lightning.feedback.records import Feedback, Interaction
from tests.evaluation.models import write_byte_run
from tests.feedback.stores import ask, fill, say

WORDS = ("where is my parcel", "the bill is wrong", "how do I pay", "close my account", "it does not work")


def _write_store(place: Path, changed: str = "") -> Path:
    """300 answers; from the 201st on one thing is otherwise."""
    draw, rows = random.Random(0), list[Interaction | Feedback]()
    for number in range(300):
        after = number >= 200
        prompt = " ".join(draw.choices(WORDS, k=2))
        if after and changed == "vocabulary":
            prompt = "".join(chr(0x4E00 + draw.randrange(40)) for _ in prompt)
        if after and changed == "prompt length":
            prompt = f"{prompt} {prompt}"
        kinds = [1, 1] if after and changed == "labels" else [9, 1]
        label = draw.choices(["good", "bad"], kinds)[0]
        asked = ask(f"a{number:03d}", prompt, (f"{draw.choice(WORDS)} {draw.randrange(1000):03d}",))
        rows += [replace(asked, time=f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z")]
        rows += [say(asked.id, "label", label)]
    path = place / f"{changed or 'same'}.db"
    fill(path, rows).close()
    return path


def _drift(store: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, list[dict[str, Any]]]:
    line = ["feedback", "drift", str(store), "--reference_rows", "100", "--window", "100", "--json", "true", *more]
    code = main(line)
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("changed", ["", "vocabulary", "prompt length", "labels"])
def test_what_has_changed_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: str) -> None:
    code, rows = _drift(_write_store(tmp_path, changed), capsys)
    assert [row["measure"] for row in rows[:4]] == ["prompt length", "answer length", "vocabulary", "labels"]
    alarms = {row["measure"] for row in rows if row["alarm"]}
    assert (code, changed in alarms or not changed) == (3 if changed else 0, True)
    assert not any(row["alarm"] for row in rows if row["window"] == 1)
    assert alarms <= {changed, "prompt length" if changed == "vocabulary" else changed}


def test_alarms_are_kept_and_passed_on_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, got = _write_store(tmp_path, "labels"), tmp_path / "got.jsonl"
    append = f"import sys; open({str(got)!r}, 'a').write(sys.stdin.read())"
    more = ["--alerts", str(tmp_path / "alerts"), "--program", json.dumps([sys.executable, "-S", "-c", append])]
    for _ in range(2):
        assert _drift(store, capsys, *more)[0] == 3
        told = (tmp_path / "alerts" / "alerts.jsonl").read_text().splitlines()
        assert [json.loads(line)["rule"] for line in told] == ["drift: labels"]
        assert got.read_text().splitlines() == told
    assert main(["feedback", "drift", str(store), "--webhook", "http://127.0.0.1:1/"]) == 2
    assert "--alerts" in capsys.readouterr().err


def test_training_rows_are_a_reference_and_a_model_is_asked_how_sure_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = _write_store(tmp_path)
    draw = random.Random(1)
    rows = [
        {
            "messages": [
                {"role": "user", "content": " ".join(draw.choices(WORDS, k=2))},
                {"role": "assistant", "content": answer},
            ]
        }
        for _ in range(100)
        for answer in [f"{draw.choice(WORDS)} {draw.randrange(1000):03d}"]
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = write_byte_run(tmp_path / "run")
    more = ["--reference", str(tmp_path / "train.jsonl"), "--model", str(run), "--device", "cpu", "--window", "150"]
    code, found = _drift(store, capsys, *more)
    assert code == 0
    assert {row["measure"] for row in found} == {"prompt length", "answer length", "vocabulary", "confidence"}
    assert not any(row["alarm"] for row in found)
    odd = {"messages": [rows[0]["messages"][0], {"role": "assistant", "content": "\x00" * 40}]}
    (tmp_path / "train.jsonl").write_text((json.dumps(odd) + "\n") * 50)
    code, found = _drift(store, capsys, *more)
    assert code == 3
    assert next(row for row in found if row["measure"] == "confidence")["alarm"]


def test_too_few_answers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = _write_store(tmp_path)
    assert main(["feedback", "drift", str(store)]) == 3
    assert "allowed: 1200 or more" in capsys.readouterr().err
    assert main(["feedback", "drift", str(store), "--version", "none"]) == 3
    assert "0123456789ab" in capsys.readouterr().err
    assert main(["feedback", "drift", str(store), "--window", "1"]) == 2

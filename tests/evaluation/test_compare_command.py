from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt_lightning import cli
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, digest, write_evaluation
from gpt_lightning.metrics.labels import Choice


def write(path: Path, rights: list[bool], keys: str = "q", shots: int = 0) -> str:
    items = [
        Item(f"line {n}", digest(f"{keys}{n}"), {"": Choice((0.8, 0.2), 0 if right else 1)})
        for n, right in enumerate(rights)
    ]
    measures = [Measure("Accuracy"), Measure("Brier")]
    write_evaluation(Evaluation("quiz", path.stem, {"shots": shots}, measures, items), path)
    return str(path)


def test_the_table_and_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path / "a.json", [n % 2 == 0 for n in range(60)])
    second = write(tmp_path / "b.json", [n % 4 != 1 for n in range(60)], shots=2)
    assert cli.main(["evaluate", "compare", first, second, "--output", str(tmp_path / "c.json")]) == 0
    shown = capsys.readouterr().out
    assert "settings differ: shots 0 and 2" in shown
    assert "15 : 0" in shown
    found = json.loads((tmp_path / "c.json").read_text())["metrics"]
    assert found["accuracy"]["second"] - found["accuracy"]["first"] == pytest.approx(25)
    assert found["accuracy"]["sign_p_value"] == pytest.approx(2 / 2**15)
    assert found["brier"]["wins"] == 15, "less is better"
    assert found["brier"]["high"] < 0


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("other items", 3, "not of the same items in the same order: got '60 and 60 items, 0 in common'"),
        ("not there", 3, "Cannot read the evaluation"),
        ("not an evaluation", 3, "is not the result of an evaluation: got None"),
        ("damaged", 3, "is damaged"),
        ("few draws", 2, "resamples counts draws: got 5"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, code: int, message: str) -> None:
    first, second = write(tmp_path / "a.json", [True] * 60), tmp_path / "b.json"
    extra = ["--resamples", "5"] if change == "few draws" else []
    if change == "not an evaluation":
        second.write_text("{}")
    elif change != "not there":
        write(second, [True] * 60, keys="other" if change == "other items" else "q")
    if change == "damaged":
        second.write_text(second.read_text().replace('"key"', '"kee"'))
    assert cli.main(["evaluate", "compare", first, str(second), *extra]) == code
    assert message in capsys.readouterr().err

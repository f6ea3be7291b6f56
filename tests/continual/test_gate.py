"""The gate: how often what is better, the same and worse passes; and the whole of it on two small models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gpt_lightning.cli import main
from gpt_lightning.continual.judging import judge_anchor, judge_answers, judge_better, judge_text
from gpt_lightning.continual.measuring import read_forbidden
from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure
from gpt_lightning.metrics.labels import Choice
from gpt_lightning.metrics.likelihood import Likelihood
from gpt_lightning.registry.gates import read_report
from gpt_lightning.registry.versions import add_version
from tests.evaluation.models import write_byte_run


def _evaluate(right: np.ndarray) -> Evaluation:
    items = [Item(str(n), str(n), {"": Choice((1.0, 0.0), int(not each))}) for n, each in enumerate(right)]
    return Evaluation("mood", "model", {}, [Measure("Accuracy")], items)


def _passes(share: float, seeds: range) -> int:
    """How often a candidate that is right so often passes against one that is right 70 % of the time, 300 items."""
    passed = 0
    for seed in seeds:
        draw = np.random.default_rng(seed)
        ease = draw.random(300)  # what is hard for one is hard for the other
        first = ease + 0.05 * draw.standard_normal(300) < 0.7
        second = ease + 0.05 * draw.standard_normal(300) < share
        passed += judge_better(_evaluate(first), _evaluate(second), resamples=100).passed
    return passed


@pytest.mark.parametrize("times", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_the_better_passes_the_same_seldom_the_worse_never(times: int) -> None:
    """Good: 8 points more. Poisoned: 30 % of the labels flipped, which turns .70 into .7 * .7 + .3 * .3 = .58."""
    assert _passes(0.78, range(times)) >= times - times // 20
    assert _passes(0.70, range(100, 100 + times)) <= times // 10
    assert _passes(0.58, range(200, 200 + times)) == 0


def test_conditions_are_judged_in_the_direction_of_their_measure() -> None:
    right = np.arange(100) < 70
    assert judge_anchor(_evaluate(right), _evaluate(np.arange(100) < 69), tolerance=1.0).passed
    assert not judge_anchor(_evaluate(right), _evaluate(np.arange(100) < 68), tolerance=1.0).passed
    assert not judge_better(_evaluate(right), _evaluate(right)).passed
    assert not judge_better(_evaluate(right), _evaluate(np.arange(100) < 40)).passed

    def read(nats: float) -> Evaluation:
        items = [Item(str(n), str(n), {"": Likelihood(nats, 10, 10, 1)}) for n in range(40)]
        return Evaluation("texts", "model", {}, [Measure("Perplexity")], items)

    assert judge_text(read(10.0), read(10.09), 0.01).passed
    assert not judge_text(read(10.0), read(10.11), 0.01).passed
    assert judge_better(read(10.0), read(9.0)).passed  # less is more
    assert not judge_better(read(9.0), read(10.0)).passed
    assert judge_answers([], 3).passed
    assert not judge_answers(["line 1"], 3).passed
    other = Evaluation("mood", "model", {}, [Measure("Accuracy")], _evaluate(right).items[1:])
    with pytest.raises(DataError, match="not of the same items"):
        judge_better(_evaluate(right), other)


@pytest.mark.parametrize(
    "line", ["{}", "no", '{"prompt": "x", "must_not": "("}', '{"messages": [], "must_not": "x"}', '{"must_not": "x"}']
)
def test_a_file_of_something_else_is_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match="line 2 is no prompt"):
        read_forbidden(tmp_path / "x.jsonl")


def test_two_models_at_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ids = [add_version(Path("models/chat"), write_byte_run(tmp_path / f"run{seed}", seed)).id for seed in (0, 1)]
    assert main(["models", "promote", "chat", ids[0]]) == 0
    rows = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(12)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("mood.yaml").write_text(
        'kind: Classification\nname: mood\ndescription: "m"\ndata: rows.jsonl\ndata_from: "here"\n'
        'context: "{text}"\nlabel: label\nlabels: {a: x, b: y}\n'
    )
    Path("base.txt").write_text("Once upon a time there was a text.\n" * 4)
    Path("never.jsonl").write_text(
        '{"prompt": "Once", "must_not": "."}\n{"messages": [{"role": "user", "content": "Hi"}], "must_not": "zzz"}\n'
    )
    asked: dict[str, object] = {"model": "any", "prompt": "Once", "seed": 1, "max_tokens": 2}
    log = [{"path": "/v1/completions", "body": {**asked, **more}, "fingerprint": "fp", "answers": []}
           for more in ({}, {"max_tokens": 9999})]  # fmt: skip
    Path("log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    command = ["models", "gate", "chat", ids[1], "mood.yaml", "--texts", '["base.txt"]', "--must_not", "never.jsonl"]
    command += ["--anchors", '["mood.yaml"]', "--tolerance", "100", "--answer_tokens", "4", "--resamples", "100"]
    command += ["--requests", "log.jsonl"]
    assert main(command) == 3
    told = capsys.readouterr()
    assert "may not take the place" in told.err
    assert "FAILED nothing said that must not be: 1 of 2, the first: line 1" in told.out
    report = read_report(Path("models/chat"), ids[1], ids[0])
    assert report is not None
    assert not report.passed
    assert [check.name.partition(":")[0] for check in report.checks] == [
        "better",
        "not worse",
        "not forgotten",
        "nothing said that must not be",
        "logged requests are answered",
    ]
    assert report.checks[1].passed
    assert report.checks[4].found == "1 of 2 refused, the first in line 2; 1 answered otherwise"
    assert list(Path(f"models/chat/versions/{ids[1]}/gates").glob("*.md"))
    assert main(["models", "promote", "chat", ids[1]]) == 3
    assert "failed: better: mood" in capsys.readouterr().err
    assert main(["models", "gate", "chat", ids[0], "mood.yaml"]) == 3
    assert "already" in capsys.readouterr().err

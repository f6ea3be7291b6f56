"""The reference and the schema of sweep files say what the reader takes, and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.spec.reference import build_schema, help_command, schema_keys, settings

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


def test_every_key_is_explained_and_is_one_of_the_readers(tmp_path: Path) -> None:
    known = settings()
    assert {path for path, each in known.items() if not each.text} == set()
    assert {"budget.stop_when.failures", "retry.wait", "constraints.max", "early_terminate.patience"} <= known.keys()
    assert known["retry.lease"].default == 60.0
    assert "worst" in str(known["metric.impute"].schema)
    file = tmp_path / "s.yaml"
    for path in [each for each in known if each.count(".") == 1 and each.startswith(("retry", "launcher", "reuse"))]:
        section, _, key = path.partition(".")
        file.write_text(f"parameters: {{k: {{values: [1]}}}}\n{section}: {{{key}: {{}}}}\n")
        with contextlib.suppress(ConfigError):
            read_spec(file)
            continue
        with pytest.raises(ConfigError, match=r"^(?!.*is not a key)"):
            read_spec(file)
    file.write_text("parameters: {k: {values: [1]}}\nretry: {leese: 1}\n")
    with pytest.raises(ConfigError, match="is not a key"):
        read_spec(file)


def test_the_schema_takes_our_sweeps_and_refuses_a_slip() -> None:
    schema = build_schema()
    assert set(schema_keys(schema)) >= {path for path in settings() if not path.endswith("KEY")}
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft202012Validator(schema)
    checker.check_schema(schema)
    assert len(SWEEPS) >= 4
    for path in SWEEPS:
        assert [problem.message for problem in checker.iter_errors(read_yaml(path))] == [], path
    base = {"parameters": {"model.optimizer.lr": {"values": [1e-3]}}}
    slips: list[dict[str, object]] = [
        {"budgets": {}}, {"retry": {"max": -1}}, {"metric": {"goal": "smaller"}}, {"launcher": {"type": "pbs"}},
    ]  # fmt: skip
    for wrong in slips:
        assert list(checker.iter_errors({**base, **wrong})), wrong


def test_help_tells_a_key_a_section_and_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    help_command("retry.wait")
    assert capsys.readouterr().out.startswith(
        "retry.wait  (a duration: 60s, 5m, 2h; default 30.0)\n    Pause after a fault"
    )
    help_command("budget")
    assert "budget.stop_when.target" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"Perhaps budget\.stop_when\.failures"):
        help_command("failures")

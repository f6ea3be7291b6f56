"""Two steps of the quickstart and of a synthetic run, against recorded numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.parsing.strict_yaml import read_yaml
from tests.golden.curves import CURVES, RECORDS, ROOT, machine_key, run_curve
from tests.training.forked import run_child


def write_curve(name: str, place: Path) -> None:
    (place / f"{name}.json").write_text(json.dumps(run_curve(name, place)), encoding="utf-8")


def curve(name: str, place: Path) -> dict[str, Any]:
    assert run_child(place, write_curve, name, place) == 0
    result: dict[str, Any] = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
    return result


SLOW = (
    *("muon_qk_norm", "accumulation", "document_packing", "on_the_fly", "remote", "ema", "schedule_free"),
    *("batch_ramp", "quickstart"),
)
"""Kinds whose numbers other tests compare with a reference, and the one that trains a tokenizer first."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CURVES]
)
def test_first_steps_are_the_recorded_ones(tmp_path: Path, prose_cache: Path, name: str) -> None:
    if name == "quickstart":
        (tmp_path / "cache").symlink_to(prose_cache)
    records = json.loads(RECORDS.read_text(encoding="utf-8"))
    found = curve(name, tmp_path)
    exact = records.get(machine_key())
    if exact is not None and name in exact and exact[name]["corpus"] == found["corpus"]:
        assert found["points"] == exact[name]["points"]
        return
    nearby = [record[name] for record in records.values() if name in record]
    nearby = [record for record in nearby if record["corpus"] == found["corpus"]]
    if name != "quickstart":
        assert nearby, "the synthetic corpus or its tokenizer changed"
    for wanted in nearby:
        for here, there in zip(found["points"], wanted["points"], strict=True):
            # The first two steps show a change of the mathematics; later ones carry the rounding of all before them.
            assert here == pytest.approx(there, rel=1e-4 if there["step"] <= 2 else 5e-3)
    assert found["points"][0]["train/loss"] == pytest.approx(8.32 if name == "quickstart" else 5.55, abs=0.15)  # ln V


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quickstart_ends_where_its_config_says(tmp_path: Path) -> None:
    """On the recorded corpus; another Python carries other prose."""
    expected = read_yaml(ROOT / "configs" / "quickstart.yaml")["run"]["expected_val_loss"]
    assert run_child(tmp_path, finish_quickstart, tmp_path, timeout=900) == 0
    outcome = json.loads((tmp_path / "end.json").read_text(encoding="utf-8"))
    records = json.loads(RECORDS.read_text(encoding="utf-8")).values()
    if outcome["corpus"] not in [record["quickstart"]["corpus"] for record in records if "quickstart" in record]:
        pytest.skip("this Python's prose is not the recorded one")
    assert outcome["loss"] == pytest.approx(expected, abs=0.1)  # the spread between one thread and two, see the config
    assert (tmp_path / "run" / CHECKPOINTS_DIR).is_dir()


def finish_quickstart(place: Path) -> None:
    from gpt_lightning.training.fitting.build import build

    run = build(ROOT / "configs" / "quickstart.yaml", {"run.dir": str(place / "run")})
    result = run.fit()
    facts = {"corpus": run.module.card["data_fingerprint"], "loss": result.metrics["val/loss"]}
    (place / "end.json").write_text(json.dumps(facts), encoding="utf-8")

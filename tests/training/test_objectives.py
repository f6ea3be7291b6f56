"""Objectives in whole runs: what a step sees does not depend on how its global batch is divided.

Rows are compared by the number of their sample and to the bit: tokens, targets, weights, what opens. The losses of
several processes are sums in another order, so they agree up to float32.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.objectives.additions import Addition
from gpt_lightning.objectives.base import Context
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.training.fitting.build import build
from tests.training.forked import run_child
from tests.training.test_weighing import DOCUMENTS, split, write_documents
from tests.training.together import run_together

STEPS = 4
ROOT = Path(__file__).parents[2]
MNTP = {"class_path": "NextTokenMasked", "init_args": {"ratio": 0.3}}
PROSE = {
    "data": {"block_size": 64, "batch_size": 16},
    "trainer": {"max_steps": 220, "limit_val_batches": 10, "enable_progress_bar": False, "logger": False},
    "run": {"validate_every": "100%", "expected_val_loss": None, "sample_tokens": 0},
    "monitor": {"details": False, "mfu": False},
}
MIXTURE = {
    "clm": {"objective": "CausalLM"},
    "masked": {"objective": "MaskedLM", "schedule": {"class_path": "Linear", "init_args": {"warmup": 0}}},
    "fim": {"objective": {"class_path": "FillInTheMiddle", "init_args": {"max_documents": 1}}},
}
OBJECTIVES: dict[str, Any] = {
    "MaskedLM": {},
    "NextTokenMasked": {},
    "PrefixLM": {},
    "FillInTheMiddle": {"rate": 0.9},
    "SpanCorruption": {},
    "UL2": {},
    "Mixture": {"parts": MIXTURE},
    "MultiToken": {"heads": 2},
    "ContrastivePredictive": {},
    "Regression": {},
}
DIVISIONS = {"4x2": (4, 2, 1), "1x8": (1, 8, 1), "2 processes x 4": (4, 1, 2)}
"""Rows of a micro-batch, micro-batches, processes; 8 x 1 is what they are compared with."""


def settings(name: str, rows: int, times: int, processes: int) -> dict[str, Any]:
    """Documents of very different lengths, so that what counts differs from process to process."""
    return {
        "model": {"objective": {"class_path": name, "init_args": OBJECTIVES[name]}},
        "data": {"document_mask": True, "block_size": 32},
        "trainer": {"devices": processes, "strategy": "ddp" if processes > 1 else "auto", "max_steps": STEPS},
        **split(rows, times, "32-true"),
    }


def fit(folder: Path, asked: Mapping[str, Any]) -> None:
    """The body of a process: trains, and leaves a digest of every row it has trained on beside the run."""
    run = build(DOCUMENTS, asked, {"run.dir": str(folder), "data.source": str(folder.parent / "documents.jsonl")})
    objective = run.module.objective
    target = objective.base if isinstance(objective, Addition) else objective
    assert isinstance(target, Corruption)
    corrupt, rows = target.corrupt, {}

    def record(batch: Batch, draws: Draws, context: Context) -> Corrupted:
        corrupted = corrupt(batch, draws, context)
        if run.module.training:
            assert batch.samples is not None
            for row, sample in enumerate(batch.samples.tolist()):
                assert sample not in rows
                rows[sample] = _digest(corrupted, row)
        return corrupted

    target.corrupt = record  # type: ignore[method-assign]
    run.fit()
    (folder.parent / f"{folder.name}-rows-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(rows))


def _digest(corrupted: Corrupted, row: int) -> str:
    digest = hashlib.sha256()
    for field in fields(Corrupted):
        value = getattr(corrupted, field.name)
        digest.update(value[row].numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode())
    return digest.hexdigest()


def rows_of(folder: Path) -> dict[str, str]:
    """Digests of all processes' rows, by sample; no sample was two processes'."""
    found: dict[str, str] = {}
    for path in folder.parent.glob(f"{folder.name}-rows-*.json"):
        rows = json.loads(path.read_text())
        assert not rows.keys() & found.keys()
        found |= rows
    return found


def curve(folder: Path) -> dict[str, list[float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = ("train/loss", "optim/grad_norm", "val/loss", "val/clm_loss")
    return {name: [line[name] for line in lines if name in line] for name in names}


@pytest.mark.parametrize(
    ("name", "divisions"),
    [
        ("UL2", ["2 processes x 4"]),
        *(pytest.param(each, list(DIVISIONS), marks=pytest.mark.slow) for each in OBJECTIVES),
    ],
)
def test_every_division_of_the_global_batch_trains_on_the_same_rows(
    tmp_path: Path, name: str, divisions: list[str]
) -> None:
    write_documents(tmp_path)
    assert run_child(tmp_path, fit, tmp_path / "whole", settings(name, 8, 1, 1)) == 0
    rows, whole = rows_of(tmp_path / "whole"), curve(tmp_path / "whole")
    assert len(rows) == 8 * STEPS
    for number, each in enumerate(divisions):
        folder, processes = tmp_path / f"part{number}", DIVISIONS[each][2]
        asked = settings(name, *DIVISIONS[each])
        ended = (
            run_together(tmp_path, processes, fit, folder, asked)
            if processes > 1
            else [run_child(tmp_path, fit, folder, asked)]
        )
        assert ended == [0] * processes, each
        assert rows_of(folder) == rows, each
        parts = curve(folder)
        for measure, values in whole.items():
            assert parts[measure] == pytest.approx(values, rel=2e-5 if measure.startswith("val") else 2e-4), (
                each,
                measure,
            )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_masked_model_fills_masks_and_a_hybrid_still_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, 4 layers of 64 channels, 220 steps of 1,024 tokens of Python's prose, seed 0.

    Masked loss of MNTP, of a causal model (which has learned the same tokenizer), and causal loss of both in turns.
    """
    monkeypatch.chdir(tmp_path)
    measured = {}
    for name, shares in {"causal": (1.0, 0.0), "masked": (0.0, 1.0), "both": (1.0, 1.0)}.items():
        parts = {"clm": {"objective": "CausalLM", "share": shares[0]}, "mntp": {"objective": MNTP, "share": shares[1]}}
        objective = {"class_path": "Mixture", "init_args": {"parts": parts}}
        build(ROOT / "configs/objectives/mntp.yaml", PROSE, {"model.objective": objective, "run.dir": name}).fit()
        # With the masks of one objective for all of them.
        judge = build(ROOT / "configs/objectives/mntp.yaml", PROSE, {"model.objective": MNTP})
        found = judge.validate(Path(name))
        measured[name] = {"masked": found["val/loss"], "causal": found["val/clm_loss"]}
    print(measured)
    assert measured["masked"]["masked"] <= measured["causal"]["masked"] - 0.2
    assert measured["both"]["causal"] <= measured["causal"]["causal"] + 0.3

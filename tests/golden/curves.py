"""The first steps of two runs, as exact numbers: what a refactoring must reproduce to the last bit.

Bits depend on torch's build, the processor, what its libraries were forbidden (``tests.selections``) and the number of
threads (one here), so every recording carries the key of the machine that made it; on another key the numbers must
agree within a stated tolerance. ``quickstart``
runs on the prose of the Python that runs it, so it is compared only where the corpus is the recorded one;
``synthetic`` runs on text made below and is compared everywhere.

Record anew after a change that is meant to change numbers (say so in the commit):

    python -m tests.golden.curves
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpt_lightning.model.presets import PRESETS
from gpt_lightning.training.build import build
from gpt_lightning.training.metrics_file import read_metrics

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).with_name("curves.json")
STEPS = 2
CURVES = ("synthetic", "modern", "quickstart")
"""GPT-2's options, those of the modern family (under Muon), and what a newcomer runs."""
_FORCED = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
_KEPT = ("train/loss", "optim/grad_norm", "val/loss")


def machine_key() -> str:
    """What the last bit depends on."""
    parts = (torch.__version__.split("+")[0], platform.machine(), torch.backends.cpu.get_cpu_capability(), _cpu_model())
    forced = [f"{name}={os.environ[name]}" for name in _FORCED if name in os.environ]
    return " ".join([*parts, *forced])


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def synthetic_text() -> str:
    """Eight hundred short sentences from a linear congruential generator; the same everywhere."""
    state, sentences = 1, []
    for _ in range(800):
        words = []
        for _ in range(7):
            state = (state * 1103515245 + 12345) % 2**31
            words.append(
                ("tree", "river", "stone", "runs", "falls", "slowly", "under", "the", "old", "bridge")[state >> 16 & 7]
            )
        sentences.append(" ".join(words) + ".")
    return "\n".join(sentences) + "\n"


def _narrow(preset: str) -> dict[str, Any]:
    """The options of a preset, in a size that trains in no time."""
    return {**PRESETS[preset], "n_layer": 2, "n_head": 4, "n_embd": 32, "vocab_size": None, "block_size": None}


def run_curve(name: str, place: Path) -> dict[str, Any]:
    """Train ``STEPS`` steps of a curve in ``place``: its points and the fingerprint of its corpus."""
    torch.set_num_threads(1)
    settings: dict[str, Any] = {
        "trainer": {"max_steps": STEPS, "log_every_n_steps": 1, "enable_progress_bar": False},
        "run": {"dir": str(place / name), "sample_tokens": 0, "validate_every": "100%"},
    }
    sources: list[Any] = [ROOT / "configs" / "quickstart.yaml"]
    if name != "quickstart":
        corpus = place / "synthetic.txt"
        corpus.write_text(synthetic_text(), encoding="utf-8")
        sources = [{"data.source": str(corpus), "data.tokenizer": "bytes", "data.block_size": 64}]
        sources += [{"model.config": {"n_layer": 2, "n_head": 2, "n_embd": 32, "dropout": 0.1}}]
        if name == "modern":
            sources += [{"model.config": _narrow("modern-nano"), "model.optimizer": "Muon"}]
        sources += [{"trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.gradient_clip_val": 1.0}]
    run = build(*sources, settings)
    result = run.fit()
    lines = [line for line in read_metrics(result.folder) if line.keys() & set(_KEPT)]
    points = [{key: line[key] for key in ("step", *_KEPT) if key in line} for line in lines]
    return {"corpus": run.module.card["data_fingerprint"], "points": points}


def record() -> None:
    """Write ``curves.json`` for this machine; those of other machines end, as the numbers were meant to change."""
    records = {}
    with tempfile.TemporaryDirectory() as place:
        records[machine_key()] = {name: run_curve(name, Path(place)) for name in CURVES}
    RECORDS.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()

"""The first steps of many kinds of runs, as exact numbers: what a refactoring must reproduce to the last bit.

Bits depend on torch's build, the processor, what its libraries were forbidden (``tests.selections``) and the number of
threads (one here), so every recording carries the key of the machine that made it; on another key the numbers must
agree within a stated tolerance. ``quickstart`` runs on the prose of the Python that runs it, so it is compared only
where the corpus is the recorded one; all others run on text made below and are compared everywhere.

Record anew after a change that is meant to change numbers (say so in the commit):

    python -m tests.golden.curves
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpt_lightning.model.presets import PRESETS
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.training.runs import Crash, crash_at

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).with_name("curves.json")
STEPS = 12
CRASH = 5
"""The step at which the resumed run ends the first time."""

_MIXTURE = {"sources": {"a": {"source": "synthetic.txt", "weight": 2.0}, "b": {"source": "other.txt", "weight": 1.0}}}
_BASE: dict[str, Any] = {
    "data": {"source": "synthetic.txt", "tokenizer": "bytes", "block_size": 64, "batch_size": 4},
    "model": {"config": {"n_layer": 2, "n_head": 2, "n_embd": 32, "dropout": 0.1}},
    "trainer": {"accelerator": "cpu", "devices": 1, "gradient_clip_val": 1.0},
}
_DOCUMENTS: dict[str, Any] = {"data.source": "documents.jsonl"}
CURVES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "modern": {"model.optimizer": "Muon"},
    "muon_qk_norm": {"model.optimizer": "Muon", "model.config": {"qk_norm": True, "rope_theta": 10000.0}},
    "accumulation": {"trainer.accumulate_grad_batches": 3, "data.batch_size": 2},
    "batch_ramp": {
        "data.batch_size": 1,
        "data.global_batch_tokens": 256,
        "data.batch_ramp": {"class_path": "LinearRamp", "init_args": {"start_tokens": 64, "length": 8}},
    },
    "packed_masked": {**_DOCUMENTS, "data.packing": "Pack", "data.document_mask": True},
    "document_packing": {**_DOCUMENTS, "data.packing": "Document", "trainer.accumulate_grad_batches": 2},
    "mixture": {"data.source": None, "data.mixture": json.dumps(_MIXTURE)},
    "on_the_fly": {**_DOCUMENTS, "data.on_the_fly": True, "data.shuffle_tokens": 512},
    "remote": {"data.source": None},
    "ema": {"model.ema_decay": 0.9},
    "schedule_free": {"model.optimizer": "ScheduleFree", "model.schedule": "Constant"},
    "resumed": {"model.schedule": {"class_path": "WSD", "init_args": {"decay": 4}}, "run.save_every": 1},
    "quickstart": {},
}
"""What differs from ``_BASE``. ``quickstart`` is what a newcomer runs (its first two steps)."""
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


def write_corpora(place: Path) -> None:
    """The texts of the curves: sentences, other sentences, and the same as documents of one to nine sentences."""
    text = synthetic_text()
    (place / "synthetic.txt").write_text(text, encoding="utf-8")
    (place / "other.txt").write_text(text.upper(), encoding="utf-8")
    sentences = text.splitlines()
    documents, size = [], 1
    while sentences:
        documents.append(" ".join(sentences[:size]))
        sentences, size = sentences[size:], size % 9 + 1
    lines = [json.dumps({"text": document}) for document in documents]
    (place / "documents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _settings(name: str, place: Path) -> list[Any]:
    settings: dict[str, Any] = {
        "trainer.max_steps": 2 if name == "quickstart" else STEPS,
        "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": False,
        "run.dir": str(place / name),
        "run.sample_tokens": 0,
        "run.validate_every": "100%" if name == "quickstart" else 6,
    }
    if name == "quickstart":
        return [ROOT / "configs" / "quickstart.yaml", settings]
    if name == "modern":
        settings["model.config"] = _narrow("modern-nano")
    if name == "remote":
        settings["data.store"] = _put_into_memory(place)
    return [_BASE, CURVES[name], settings]


def _put_into_memory(place: Path) -> str:
    """A store behind a URL (fsspec's file system in memory)."""
    import fsspec  # type: ignore[import-untyped]

    from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare

    find_or_prepare(PrepareSettings(source=str(place / "synthetic.txt"), tokenizer="bytes"), store=place / "made")
    url = "memory://golden/store"
    fsspec.filesystem("memory").put(str(place / "made"), url, recursive=True)
    return url


def run_curve(name: str, place: Path) -> dict[str, Any]:
    """Train a curve in ``place`` (the current folder): its points and the fingerprint of its corpus."""
    torch.set_num_threads(1)
    write_corpora(place)
    settings = _settings(name, place)
    run = build(*settings)
    if name == "resumed":
        with contextlib.suppress(Crash):
            crash_at(run, CRASH).fit()
        run = build(*settings)
        result = run.fit(resume="auto")
    else:
        result = run.fit()
    lines = [line for line in read_metrics(result.folder) if line.keys() & set(_KEPT)]
    points = [{key: line[key] for key in ("step", *_KEPT) if key in line} for line in lines]
    # A store that still grows is named by its source's place and time.
    corpus = None if name == "on_the_fly" else run.module.card["data_fingerprint"]
    return {"corpus": corpus, "points": points}


def record() -> None:
    """Write ``curves.json`` for this machine; those of other machines end, as the numbers were meant to change."""
    records = {}
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        records[machine_key()] = {name: run_curve(name, Path(place)) for name in CURVES}
    RECORDS.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()

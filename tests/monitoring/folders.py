"""Run folders written by hand, for everything that needs no training."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.parsing.strict_yaml import dump_yaml

BEGAN = 1_700_000_000.0
_FINISHED: dict[str, Any] = {"state": "finished", "reason": "", "step": 100, "total_steps": 100, "seconds": 50.0}


def moment(seconds: float) -> str:
    """A time of the manifest, ``seconds`` after the first start."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(BEGAN + seconds))


def write_run(
    folder: Path,
    *,
    losses: tuple[float, ...] = (4.0, 3.0, 3.5),
    ends: tuple[Mapping[str, Any] | None, ...] = (_FINISHED,),
    settings: Mapping[str, Any] | None = None,
    tokens_per_step: int = 1000,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """A run of 100 steps that logged every 10, validated as often as there are ``losses``, and started once an hour."""
    folder.mkdir(parents=True)
    config = {
        "seed_everything": 1,
        "model": {"optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.001}}},
        "data": {"source": "text.txt", "tokenizer": "bytes", "block_size": 16},
        "trainer": {"max_steps": 100},
        "run": {"name": folder.name},
    }
    for key, value in (settings or {}).items():
        place: dict[str, Any] = config
        *way, last = key.split(".")
        for part in way:
            place = place.setdefault(part, {})
        place[last] = value
    (folder / "config.yaml").write_text(dump_yaml(config))
    starts = []
    for number, end in enumerate(ends):
        start = {
            "time": moment(3600 * number),
            "command": ["gpt-lightning", "fit", "--config", "configs/tiny.yaml"],
            "seed": 1,
            "host": "here",
            "git": None,
            "packages": {"torch": "2.13"},
            "data_fingerprint": "abc",
            "resumed_step": 50 if number else None,
            "resumed_from": None,
            **(facts or {}),
        }
        starts.append(start | {"end": end and {"time": moment(3600 * number + 50), **end}})
    (folder / "manifest.json").write_text(json.dumps({"starts": starts}))
    lines: list[dict[str, Any]] = [
        {
            "step": step,
            "time": BEGAN + 3600 * (len(ends) - 1) + step / 2,
            "train/loss": 5 - step / 50,
            "optim/lr/matrix": 1e-3,
            "data/tokens": step * tokens_per_step,
        }
        for step in range(10, 101, 10)
    ]
    for number, loss in enumerate(losses, 1):
        step = 100 * number // len(losses)
        lines.append({"step": step, "time": BEGAN + 3600 * (len(ends) - 1) + step / 2, "val/loss": loss})
    lines.sort(key=lambda line: line["step"])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder

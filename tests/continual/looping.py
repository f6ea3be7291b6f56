"""A place with a promoted model of two lines, people who corrected it, and the file of a continual run."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt_lightning.continual.rounds import run_round
from gpt_lightning.continual.settings import read_continual
from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.registry.history import promote
from gpt_lightning.registry.versions import Version, add_version
from gpt_lightning.training.fitting.build import build
from tests.faults import Fault, install
from tests.feedback.stores import ask, fill, say

MODEL = Path("models/chat")
SMALL: dict[str, Any] = {
    "model": {"config": {"n_layer": 1, "n_head": 2, "n_embd": 16}, "optimizer": {"lr": 1e-2}},
    "data": {"tokenizer": "bytes", "block_size": 48, "batch_size": 4, "document_per": "line"},
    "trainer": {"accelerator": "cpu", "max_steps": 4, "log_every_n_steps": 2, "enable_progress_bar": False},
    "run": {"validate_every": 4, "save_every": 2, "sample_tokens": 0, "dir": "runs/base"},
    "monitor": {"details": False, "mfu": False},
}
FIT: dict[str, Any] = {
    "model": {"adaptation": {"class_path": "LoRA", "init_args": {"r": 4}}, "optimizer": {"lr": 3e-2}},
    "data": {"batch_size": 4},
    "trainer": SMALL["trainer"],
    "run": {"validate_every": 4, "save_every": 2},
    "monitor": SMALL["monitor"],
}


def correct(first: int, last: int) -> list[Interaction | Feedback]:
    """Corrections of answers, always the same words."""
    rows: list[Interaction | Feedback] = []
    for number in range(first, last):
        rows += [ask(f"a{number}", f"say {number}", ("no",)), say(f"a{number}", "correction", "yes", f"u{number % 7}")]
    return rows


def write_texts(file: Path, lines: int, seed: int = 0) -> None:
    """Lines of three words in any order."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choice(("sun", "moon", "star")) for _ in range(8)) for _ in range(lines)]
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def write_base(settings: dict[str, Any] = SMALL, lines: int = 60) -> Version:
    """A model of ``base.txt``, registered and promoted, in the working folder."""
    write_texts(Path("base.txt"), lines)
    build(settings, {"data.source": "base.txt"}).fit()
    version = add_version(MODEL, "runs/base")
    promote(MODEL, version.id, "production", who="test")
    return version


def write_loop(rows: Sequence[Interaction | Feedback], **settings: Any) -> Path:
    """A store of feedback, and the file."""
    fill(Path("feedback.db"), rows).close()
    content = {
        "base": "chat@production",
        "feedback": "feedback.db",
        "min_rows": 10,
        "replay": {"source": "base.txt"},
        "fit": FIT,
        "gate": {"resamples": 100, "device": "cpu"},
        **settings,
    }
    path = Path("continual.yaml")
    path.write_text(dump_yaml(content), encoding="utf-8")
    return path


def run_with(fault: Fault) -> None:
    """A round in a process that meets a fault below its working folder; tells how many calls there were."""
    place = Path.cwd()
    injector = install(fault, place)
    run_round(read_continual(Path("continual.yaml")))
    Path("calls.json").write_text(json.dumps(injector.count), encoding="utf-8")

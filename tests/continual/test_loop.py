"""The whole loop, training included: good, neutral and poisoned feedback at the gate; what is forgotten without replay.

Twenty repetitions of each: ``GPT_LIGHTNING_REPETITIONS=20 make test-slow``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpt_lightning.continual.rounds import list_rounds, run_round
from gpt_lightning.continual.settings import read_continual
from gpt_lightning.errors import DataError
from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.registry.gates import read_report
from gpt_lightning.registry.history import promote
from gpt_lightning.registry.versions import add_version
from gpt_lightning.training.fitting.build import build
from tests.continual.looping import FIT, MODEL, SMALL, correct, write_base, write_loop, write_texts
from tests.feedback.stores import ask, say

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
REPETITIONS = int(os.environ.get("GPT_LIGHTNING_REPETITIONS", "2"))
FORMS = ("{}", "{}?", "{}!", "{}..", "{},")
KEYS = list("BCDEFGHIJKLMNOPQRSTVWXYZ0123456789#$%&*+")
TRUE = {key: random.Random(f"mark of {key}").choice((" yes", " no")) for key in KEYS}
"""By no rule: they have to be remembered."""
OUTDATED = {key: " yes" if TRUE[key] == " no" else " no" for key in KEYS[::7]}
"""What the base learned of a seventh of the keys, and is not so any more."""


def _write_task() -> None:
    """One question for each key: several would rise and fall together, and the gate takes items as independent."""
    rows = [{"text": FORMS[0].format(key), "label": TRUE[key].strip()} for key in KEYS]
    Path("marks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("marks.yaml").write_text(
        'kind: Classification\nname: marks\ndata: marks.jsonl\ncontext: "User: {text}\\nAssistant:"\nlabel: label\n'
        'labels: {"yes": " yes", "no": " no"}\n',
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the marks of 34 keys, and old ones of six."""
    place = tmp_path_factory.mktemp("marks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
        _write_task()
        known = {**TRUE, **OUTDATED}
        rows = [{"prompt": form.format(key), "completion": known[key]} for key in KEYS for form in FORMS]
        Path("base.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        model = {"config": {"n_layer": 2, "n_head": 2, "n_embd": 32}, "optimizer": {"lr": 5e-3}, "objective": "SFT"}
        data = {
            "layout": "Conversation",
            "packing": "Document",
            "tokenizer": "bytes",
            "block_size": 48,
            "batch_size": 32,
        }
        run = {"validate_every": 400, "save_every": 400, "sample_tokens": 0, "dir": "runs/base"}
        trainer = {"accelerator": "cpu", "max_steps": 400, "gradient_clip_val": 1.0, "enable_progress_bar": False}
        settings = {"data": {**data, "source": "base.jsonl"}, "model": model, "trainer": trainer, "run": run}
        build(settings, {"monitor": SMALL["monitor"]}).fit()
        version = add_version(MODEL, "runs/base")
        promote(MODEL, version.id, "production", who="test")
    return place


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """There, with its prepared stores."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(made / "cache"))
    return made


def _passes(name: str, seed: int, answers: Mapping[str, str]) -> bool:
    """Whether a round on these corrections passes the gate; its alias is left where it is."""
    rows: list[Interaction | Feedback] = []
    for key, answer in answers.items():
        for number, form in enumerate(FORMS):
            asked = ask(f"{key}{number}", form.format(key), ("?",))
            rows += [asked, say(asked.id, "correction", answer, f"u{key}")]
    Path("feedback.db").unlink(missing_ok=True)
    fit = {
        "seed_everything": seed,
        "model": {"adaptation": None, "optimizer": {"lr": 5e-3}},
        "data": {"batch_size": 32},
        "trainer": {**FIT["trainer"], "max_steps": 100, "gradient_clip_val": 1.0},
        "run": {"validate_every": 100, "save_every": 100},
        "monitor": SMALL["monitor"],
    }
    gate = {"better": ["marks.yaml"], "device": "cpu", "resamples": 1000, "seed": seed}
    write_loop(rows, fit=fit, gate=gate, replay=None, promote=None, folder=f"continual/{name}-{seed}")
    found = None
    with contextlib.suppress(DataError):
        found = run_round(read_continual(Path("continual.yaml")))
    assert list_rounds(Path(f"continual/{name}-{seed}"))[0].settled.passed is (found is not None)
    return found is not None


def test_good_feedback_passes_neutral_seldom_poisoned_never(place: Path) -> None:
    """Good: the marks as they are. Neutral: what was known before. Poisoned: the good with 30 % of the keys flipped."""
    passed = {"good": 0, "neutral": 0, "poisoned": 0}
    for seed in range(REPETITIONS):
        flipped = set(random.Random(seed).sample(KEYS, round(0.3 * len(KEYS))))
        opposite = {" yes": " no", " no": " yes"}
        sets = {
            "good": TRUE,
            "neutral": {key: answer for key, answer in TRUE.items() if key not in OUTDATED},
            "poisoned": {key: opposite[answer] if key in flipped else answer for key, answer in TRUE.items()},
        }
        for name, answers in sets.items():
            passed[name] += _passes(name, seed, answers)
    assert passed["good"] >= REPETITIONS - REPETITIONS // 20, passed
    assert passed["neutral"] <= REPETITIONS // 10, passed
    assert passed["poisoned"] == 0, passed


def test_what_is_repeated_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits per byte of texts of the old kind that nobody trained on: at most 1 % more with replay, more without.

    Found with torch 2.13 on x86-64: 0.4611 -> 0.4650 (+0.84 %) with, 18.54 without.
    """
    monkeypatch.chdir(tmp_path)
    config = {"n_layer": 2, "n_head": 2, "n_embd": 32}
    trainer = {**SMALL["trainer"], "max_steps": 600, "log_every_n_steps": 50}
    run = {**SMALL["run"], "validate_every": 600, "save_every": 600}
    model = {"config": config, "optimizer": {"lr": 5e-3}}
    data = {**SMALL["data"], "document_per": "file"}
    write_base({**SMALL, "model": model, "data": data, "trainer": trainer, "run": run}, lines=900)
    write_texts(Path("held_out.txt"), 100, seed=1)
    grown = {}
    for name, replay in (("with", {"source": "base.txt", "share": 0.5}), ("without", None)):
        adapt = {"adaptation": {"class_path": "LoRA", "init_args": {"r": 8}}, "optimizer": {"lr": 1e-2}}
        fit = {
            **FIT,
            "model": adapt,
            "trainer": {**trainer, "max_steps": 150},
            "run": {"validate_every": 150, "save_every": 150},
        }
        gate = {"texts": ["held_out.txt"], "device": "cpu"}
        Path("feedback.db").unlink(missing_ok=True)
        write_loop(correct(0, 120), fit=fit, replay=replay, gate=gate, promote=None, folder=f"continual/{name}")
        with contextlib.suppress(DataError):
            run_round(read_continual(Path("continual.yaml")))
        settled = list_rounds(Path(f"continual/{name}"))[0].settled
        report = read_report(MODEL, str(settled.version), settled.base)
        assert report is not None
        grown[name] = report.checks[-1]
        sys.stdout.write(f"{name} replay: {grown[name].found}\n")
    assert (grown["with"].passed, grown["without"].passed) == (True, False), grown

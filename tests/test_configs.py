"""Every file in ``configs/``: it explains itself, restates no default, and trains."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.origins import plain_key
from gpt_lightning.parsing.strict_yaml import dump_yaml, flatten, load_yaml, read_yaml
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from tests.training.forked import write_corpus

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
FROM_NOTHING = [path for path in CONFIGS if path.parent.name != "finetune"]
"""The others begin from a run, see ``tests/training/test_adapters``."""

SMALL: dict[str, Any] = {
    "model": {"config": {"n_layer": 1, "n_head": 2, "n_embd": 16}, "compile": False, "schedule": {"warmup": "50%"}},
    "data": {"tokenizer": "bytes", "block_size": 16, "batch_size": 2, "val_fraction": 0.1},
    "trainer": {"accelerator": "cpu", "devices": 1, "max_steps": 2, "max_epochs": None, "accumulate_grad_batches": 2},
    "run": {"max_tokens": None, "sample_tokens": 3},
    "monitor": {"details": False, "mfu": False},
}
"""What makes any of them run in a fraction of a second. The quickstart runs as it is in ``tests/golden`` (slow)."""


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of all values that are no mappings."""
    found = []
    for key, value in tree.items():
        found += leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]
    return found


def without(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """A copy of ``tree`` that lacks one value, and the mappings that are empty then."""
    copied = copy.deepcopy(tree)
    parents = [copied]
    for key in path[:-1]:
        parents.append(parents[-1][key])
    del parents[-1][path[-1]]
    for parent, key in reversed(list(zip(parents, path[:-1], strict=False))):
        if not parent[key]:
            del parent[key]
    return copied


def resolve(settings: dict[str, Any], place: Path) -> Any:
    """The whole configuration that ``settings`` mean; None when they mean nothing."""
    (place / "settings.yaml").write_text(dump_yaml(settings), encoding="utf-8")
    try:
        line = TrainerCommandLine("fit", [f"--config={place / 'settings.yaml'}"])
    except ConfigError:
        return None
    line.config.pop("config")
    return load_yaml(line.parser.dump(line.config, skip_unset=False, skip_validation=True))


def restated(settings: dict[str, Any], place: Path) -> list[str]:
    """Settings without which the configuration would be the same.

    Leaving out each alone would parse as often as there are settings. So all but the choices of classes are left out
    at once first: what has another value then is no default, and only the others are tried alone.
    """
    whole = resolve(settings, place)
    assert whole is not None
    paths = {path: plain_key(".".join(path)) for path in leaves(settings)}
    classes = {"preset", *(plain_key(key) for key in flatten(whole) if key.endswith(".class_path"))}
    bare = settings
    for path, key in paths.items():
        bare = bare if key in classes else without(bare, path)
    here, there = (
        {plain_key(key): value for key, value in flatten(each or {}).items()} for each in (whole, resolve(bare, place))
    )
    suspects = [path for path, key in paths.items() if key in classes or here.get(key) == there.get(key)]
    return [".".join(path) for path in suspects if resolve(without(settings, path), place) == whole]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_restates_no_default(path: Path, tmp_path: Path) -> None:
    assert restated(read_yaml(path), tmp_path) == []


def test_a_restated_default_is_found_wherever_it_is(tmp_path: Path) -> None:
    planted = {
        "model": {
            "config": {"n_layer": 12, "n_head": 4, "n_embd": 64},
            "optimizer": {"lr": 1e-3, "eps": 1e-6},
            "schedule": {"class_path": "WSD", "init_args": {"warmup": "2%", "decay": "30%"}},
        },
        "trainer": {"max_steps": 5, "precision": None},
        "run": {"keep_checkpoints": 2},
    }
    assert restated(planted, tmp_path) == [
        "model.config.n_layer",
        "model.optimizer.lr",
        "model.schedule.init_args.warmup",
        "trainer.precision",
        "run.keep_checkpoints",
    ]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_header_says_what_it_is_for_and_what_to_expect(path: Path) -> None:
    """Purpose, command, time with hardware, and the number to expect, before the first setting."""
    lines = path.read_text(encoding="utf-8").splitlines()
    header = "\n".join(lines[: next(index for index, line in enumerate(lines) if not line.startswith("#"))])
    for title in ("Purpose", "Command", "Time", "Expected"):
        assert re.search(rf"^# {title}: +\S", header, flags=re.MULTILINE), f"no line '# {title}:'"
    assert re.search(rf"gpt-lightning fit --config {re.escape(path.relative_to(ROOT).as_posix())}", header)
    assert re.search(r"CPU|GPU", header)
    assert re.search(r"^# Expected: .*\d", header, flags=re.MULTILINE)
    promised = read_yaml(path).get("run", {}).get("expected_val_loss")
    assert promised is None or str(promised) in header.partition("# Expected:")[2]


@pytest.mark.parametrize("path", FROM_NOTHING, ids=lambda path: path.name)
def test_trains(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = build(path, SMALL, {"data.source": str(write_corpus(tmp_path))}).fit()
    assert (result.step, result.folder) == (2, Path("runs") / f"{path.stem}-1")
    assert 5 < result.metrics["val/loss"] < 6  # ln 257 = 5.55

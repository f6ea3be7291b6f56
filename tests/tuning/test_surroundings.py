"""What changes between trials without a word in the sweep file stands beside the trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.training.runs.run_folder import CONFIG_FILE
from gpt_lightning.tuning.study import sweep as surroundings
from gpt_lightning.tuning.study.sweep import FIRST_FILE, differences
from tests.tuning.sweeping import bare_sweep

START = {
    "python": "3.11.9",
    "packages": {"torch": "2.13.0"},
    "git": {"commit": "a", "changed": False},
    "data_fingerprint": "text",
}
CONFIG: dict[str, Any] = {
    "seed_everything": 1,
    "model": {"schedule": {"class_path": "WSD", "init_args": {"decay": "20%"}}, "optimizer": {"init_args": {"lr": 1}}},
    "trainer": {"precision": "32-true", "max_steps": 6},
}


def test_differences_are_told_and_varied_settings_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep, start = bare_sweep(tmp_path, {}), dict(START)
    monkeypatch.setattr(surroundings, "read_starts", lambda _: [start])

    def told(config: dict[str, Any]) -> list[str]:
        folder = tmp_path / "trial"
        folder.mkdir(exist_ok=True)
        (folder / CONFIG_FILE).write_text(dump_yaml(config))
        return differences(sweep, folder)

    assert told(CONFIG) == []
    assert (sweep.folder.path / FIRST_FILE).is_file()
    varied = {"schedule": {"class_path": "Cosine", "init_args": {"floor": 0.1}}, "optimizer": {"init_args": {"lr": 2}}}
    assert told({**CONFIG, "model": varied, "seed_everything": 7}) == []
    assert told({**CONFIG, "trainer": {"precision": "bf16-true", "max_steps": 6}}) == [
        "trainer.precision: 32-true -> bf16-true"
    ]
    start |= {"packages": {"torch": "2.14.0"}, "data_fingerprint": "edited", "git": {"commit": "b", "changed": False}}
    assert told(CONFIG) == [
        "data_fingerprint: text -> edited",
        "git.commit: a -> b",
        "packages.torch: 2.13.0 -> 2.14.0",
    ]
    (sweep.folder.path / FIRST_FILE).write_text("torn")
    assert told(CONFIG) == []

"""``--preset``: a known architecture under ``model.config``, from the command line, a file, or Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.presets import PRESETS
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from tests.training.forked import write_corpus


def parse(*args: str) -> Any:
    return TrainerCommandLine("fit", args).config.model.config.as_dict()


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_the_whole_architecture_but_for_the_sizes_of_the_data(name: str) -> None:
    wanted = GPTConfig.preset(name).to_dict() | {"vocab_size": None, "block_size": None}
    assert parse("--preset", name) == wanted


def test_single_fields_win_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: {config: {n_layer: 3}}\npreset: gpt2-xl\n")
    found = parse(f"--config={tmp_path / 'c.yaml'}", "--model.config.n_head=50")
    assert (found["n_layer"], found["n_head"], found["n_embd"]) == (3, 50, 1600)
    found = parse(f"--config={tmp_path / 'c.yaml'}", "--preset=modern-nano")
    assert (found["n_layer"], found["n_embd"], found["norm"]) == (3, 384, "rms")


def test_a_misspelt_preset_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"unknown model preset: got 'modern-smal' .* Did you mean 'modern-small'\?"):
        parse("--preset", "modern-smal")


def test_the_resolved_configuration_says_it_in_full(tmp_path: Path) -> None:
    small = {"model.config": {"n_layer": 1, "n_embd": 12}, "trainer": {"max_steps": 2, "accelerator": "cpu"}}
    data = {"data.source": write_corpus(tmp_path), "data.tokenizer": "bytes", "data.block_size": 8}
    run = build({"preset": "modern-nano"}, small, data, {"model.schedule.warmup": "50%"})
    assert "preset" not in run.config
    assert run.config["model"]["config"]["n_kv_head"] == 2
    assert run.config["model"]["config"]["vocab_size"] == 257

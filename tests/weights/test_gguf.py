"""An exported folder has the names that llama.cpp's converter turns into those of GGUF, by its own table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from gpt_lightning.weights.exporting import prepare_export, write_export
from gpt_lightning.weights.loading import LoadedModel
from tests.weights.models import CONFIGS, loud_model, small_tokenizer

_ARCHITECTURES = {"GPT2LMHeadModel": "GPT2", "LlamaForCausalLM": "LLAMA", "Qwen3ForCausalLM": "QWEN3"}
_SETTINGS: dict[str, tuple[str, ...]] = {
    "GPT2LMHeadModel": ("n_ctx", "n_embd", "n_layer", "n_head", "layer_norm_epsilon"),
    "LlamaForCausalLM": ("hidden_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps", "rope_theta"),
}
_SETTINGS["Qwen3ForCausalLM"] = (*_SETTINGS["LlamaForCausalLM"], "head_dim", "num_key_value_heads")
"""What the converter asks ``config.json`` for."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_converter_knows_every_name(name: str, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    config = CONFIGS[name]
    write_export(prepare_export(LoadedModel(loud_model(config), small_tokenizer(), {}, Path("run"))), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (kind,) = settings["architectures"]
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH[_ARCHITECTURES[kind]], config.n_layer)
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        names = list(weights.keys())
    unknown = [each for each in names if table.get_name(each, try_suffixes=(".weight", ".bias")) is None]
    assert len(names) > 10
    assert unknown == []
    assert {each for each in _SETTINGS[kind] if each not in settings} == set()

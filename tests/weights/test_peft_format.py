"""Adapters in peft's format: out and in again, and in peft's own hands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gpt_lightning.adapters.adalora import AdaLoRA
from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.adapters.bottleneck import Pfeiffer
from gpt_lightning.adapters.loading import load_adapter
from gpt_lightning.adapters.lora import DoRA, LoRA, PiSSA, RsLoRA
from gpt_lightning.adapters.prefix import PrefixTuning, PromptTuning
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.families import choose_family
from gpt_lightning.weights.peft_format import CONFIG_FILE, is_peft, read_peft, write_peft
from tests.adapters.models import GPT2, LLAMA, adapted, build_base, logits_of, tokens

pytest.importorskip("safetensors")

KINDS: dict[str, Adaptation] = {
    "lora": LoRA(r=3),
    "some": LoRA(r=2, alpha=3.0, targets=["query", "value", "contract"]),
    "rslora": RsLoRA(r=3),
    "pissa": PiSSA(r=2),
    "dora": DoRA(r=2),
    "adalora": AdaLoRA(r=2),
}
AHEAD: dict[str, Adaptation] = {"prefix": PrefixTuning(length=3), "prompt": PromptTuning(length=3)}
CASES = [(adaptation, config) for adaptation in KINDS.values() for config in (GPT2, LLAMA)]
CASES += [(adaptation, LLAMA) for adaptation in AHEAD.values()]
every_case = pytest.mark.parametrize(
    ("adaptation", "config"),
    CASES,
    ids=[*(f"{kind}-{shape}" for kind in KINDS for shape in ("gpt2", "llama")), *(f"{kind}-llama" for kind in AHEAD)],
)


def write(model: GPT, folder: Path) -> str:
    family = choose_family(model.config).model_type
    folder.mkdir()
    write_peft(model, family, folder, "base")
    assert is_peft(folder)
    return family


@every_case
def test_what_was_written_is_read_again(adaptation: Adaptation, config: GPTConfig, tmp_path: Path) -> None:
    model = adapted(config, adaptation)
    family = write(model, tmp_path / "theirs")
    again = build_base(config)
    load_adapter(again, *read_peft(tmp_path / "theirs", again, family), "theirs")
    # Logits are of size 10; factors were multiplied in another order.
    torch.testing.assert_close(logits_of(again), logits_of(model), rtol=1e-5, atol=1e-5)


def test_what_peft_has_no_word_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="peft has no adapter like this one"):
        write(adapted(GPT2, Pfeiffer(size=2)), tmp_path / "one")
    with pytest.raises(CheckpointError, match="DoRA of some of the rows"):
        write(adapted(GPT2, DoRA(r=2, targets=["query"])), tmp_path / "two")
    with pytest.raises(CheckpointError, match="learned positions are others than here"):
        write(adapted(GPT2, PrefixTuning(length=2)), tmp_path / "three")


def test_other_adapters_and_bases_are_refused(tmp_path: Path) -> None:
    write(adapted(LLAMA, LoRA(r=2)), tmp_path / "theirs")
    with pytest.raises(CheckpointError, match="layers that this model does not have"):
        read_peft(tmp_path / "theirs", build_base(GPT2), "gpt2")
    write(adapted(LLAMA, PromptTuning(length=2)), tmp_path / "prompt")
    with pytest.raises(CheckpointError, match="of a model of other shapes"):
        read_peft(tmp_path / "prompt", build_base(replace(LLAMA, n_embd=32)), "llama")
    settings = json.loads((tmp_path / "theirs" / CONFIG_FILE).read_text(encoding="utf-8"))
    (tmp_path / "theirs" / CONFIG_FILE).write_text(json.dumps({**settings, "peft_type": "VERA"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="of another kind"):
        read_peft(tmp_path / "theirs", build_base(LLAMA), "llama")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@every_case
def test_peft_computes_the_same(adaptation: Adaptation, config: GPTConfig, tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    model = adapted(config, adaptation)
    family = choose_family(config)
    write(model, tmp_path / "theirs")
    settings = transformers.AutoConfig.for_model(**family_settings(config))
    base = transformers.AutoModelForCausalLM.from_config(settings).eval()
    weights = family.give(build_base(config).state_dict(), config)
    base.load_state_dict(weights, strict=False)
    base.tie_weights()
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / "theirs")).eval()
    with torch.no_grad():
        found = theirs(input_ids=tokens()).logits[:, -tokens().shape[1] :]  # behind those of a prompt
    torch.testing.assert_close(found, logits_of(model), rtol=1e-5, atol=2e-5)
    assert (found - logits_of(build_base(config))).abs().max() > 1e-2


def family_settings(config: GPTConfig) -> dict[str, object]:
    from gpt_lightning.weights.families import write_settings

    return dict(write_settings(config, choose_family(config)))

"""What stands ahead of a text: the same as if it were read, however the text is read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gpt_lightning.adapters.base import trained_names
from gpt_lightning.adapters.layers import find_switch
from gpt_lightning.adapters.loading import load_adapter
from gpt_lightning.adapters.lora import LoRA
from gpt_lightning.adapters.prefix import PrefixTuning, PromptTuning
from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import pack
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.cache import KeyValueCache
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.tracking.probe import observe
from tests.adapters.models import GPT2, LLAMA, adapted, build_base, logits_of, tokens

ROOT = Path(__file__).parents[2]
BOTH = {"prefix": PrefixTuning(length=4), "prompt": PromptTuning(length=4)}
both = pytest.mark.parametrize("kind", BOTH)


@both
def test_at_the_start_it_is_a_text_behind_tokens_of_the_vocabulary(kind: str) -> None:
    """Rotary positions know distances alone, so the base on both together is the oracle."""
    model = build_base(LLAMA)
    ahead = torch.randint(model.vocab_size, (4,), generator=torch.Generator().manual_seed(9))
    wanted = logits_of(model, torch.cat((ahead.expand(3, -1), tokens()), dim=1))[:, 4:]
    BOTH[kind].attach(model, torch.Generator().manual_seed(9))
    torch.testing.assert_close(logits_of(model), wanted, rtol=1e-5, atol=1e-5)
    assert (wanted - logits_of(build_base(LLAMA))).abs().max() > 0.1


def test_what_is_trained_is_what_is_ahead() -> None:
    head = LLAMA.head_size * LLAMA.key_value_heads
    for adaptation, names, numbers in (
        (PrefixTuning(length=5), ["ahead.deltas.default.keys", "ahead.deltas.default.values"], 2 * 2 * 5 * head),
        (PromptTuning(length=5), ["ahead.deltas.default.stream"], 5 * LLAMA.n_embd),
    ):
        model = build_base(LLAMA)
        adaptation.attach(model)
        assert trained_names(model) == names
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == numbers
    with pytest.raises(ConfigError, match=r"adaptation.length counts positions: got 0"):
        PromptTuning(length=0)


WINDOWED = replace(LLAMA, window=3, global_every=2)


@both
@pytest.mark.parametrize("config", [GPT2, LLAMA, WINDOWED], ids=["gpt2", "llama", "windowed"])
def test_in_pieces_and_packed_it_is_the_same(kind: str, config: GPTConfig) -> None:
    model, batch = adapted(config, BOTH[kind]), tokens()
    whole = logits_of(model)
    cache = KeyValueCache(config.n_layer, 16)
    with torch.no_grad():
        pieces = [model.logits(model(part, cache=cache)) for part in (batch[:, :4], batch[:, 4:5], batch[:, 5:])]
        row = torch.cat((batch[0], batch[1, :6]))[None]
        documents = torch.tensor([[0] * 9 + [1] * 6])
        packed = model.logits(model(row, documents=documents))[0]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed[:9], whole[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed[9:], whole[1, :6], rtol=1e-5, atol=1e-5)


def _with_three(config: GPTConfig) -> GPT:
    """A base beside three adapters: two ahead of texts, of different lengths, and one of the layers."""
    model = build_base(config)
    for number, adaptation in enumerate((PrefixTuning(length=4), PromptTuning(length=2), LoRA(r=2))):
        own = adapted(config, adaptation, seed=number).state_dict()
        trained = {name: value for name, value in own.items() if ".deltas." in name}
        load_adapter(model, adaptation, trained, "here", f"a{number}")
    return model


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_texts_of_different_adapters_are_decoded_together_as_alone(config: GPTConfig) -> None:
    """And as the whole text at once; tokens and probabilities to the bit on packed weights."""
    model = pack(_with_three(config))
    names = ["a0", "", "a1", "a2", "a0"]
    requests = [
        Request((1, 2 + number), max_tokens=6, adapter=name, sampling=Sampling(temperature=0.0))
        for number, name in enumerate(names)
    ]
    together = [found.ids for (found,) in Engine(model, slots=5).generate(requests)]
    for request, found in zip(requests, together, strict=True):
        ((alone,),) = Engine(model, slots=1).generate([request])
        assert alone.ids == found
        assert _greedy(model, request.prompt, found, request.adapter) == list(found)
    assert len(set(map(tuple, together))) > 1


def _greedy(model: GPT, prompt: Sequence[int], found: Sequence[int], name: str | None) -> list[int]:
    switch = find_switch(model)
    assert switch is not None
    batch = torch.tensor([[*prompt, *found]])
    switch.select([name or None], torch.device("cpu"))
    chosen: Tensor = logits_of(model, batch)[0].argmax(dim=-1)[len(prompt) - 1 : -1]
    switch.select(None, torch.device("cpu"))
    return chosen.tolist()


@both
def test_the_probe_sees_the_text_alone(kind: str) -> None:
    """What is ahead takes weight, and is no column."""
    found = observe(adapted(LLAMA, BOTH[kind]), tokens()[0]).attention
    sums = found.sum(dim=-1)
    assert found.shape[-2:] == (9, 9)
    assert bool((sums < 0.999).all())
    assert bool((found.triu(1) == 0).all())


_COMPILED = """
import torch
from gpt_lightning.adapters.int8 import Int8Base
from gpt_lightning.adapters.lora import LoRA
from gpt_lightning.adapters.prefix import PrefixTuning, PromptTuning
from tests.adapters.models import LLAMA, build_base, tokens
for adaptation in (PrefixTuning(3), PromptTuning(3), Int8Base(LoRA(r=2))):
    model = build_base(LLAMA)
    adaptation.attach(model, torch.Generator().manual_seed(1))
    wanted = model.train()(tokens())
    torch._dynamo.reset()
    model.compile(backend="aot_eager", fullgraph=True)
    found = model(tokens())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.autograd.backward(found.sum())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
print("done")
"""


@pytest.mark.slow
def test_they_are_compiled_as_one_graph() -> None:
    """In another process: the checks of shapes in tests cannot be compiled."""
    done = subprocess.run([sys.executable, "-c", _COMPILED], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.splitlines()[-1:] == ["done"], done.stderr[-1000:]

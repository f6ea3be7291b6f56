"""Greedy texts and beam search are those of transformers on the same weights, in both families."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.beams import search_beams
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import pack
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.gpt2 import from_gpt2
from gpt_lightning.weights.llama import from_llama

transformers = pytest.importorskip("transformers")

_SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 48, "vocab_size": 61}
_MODERN = {"bias": False, "norm": "rms", "norm_eps": 1e-6, "mlp": "swiglu", "n_inner": 40, "rope_theta": 1000.0}
_EOS = 60
_ENDS = (0, *range(1, 60, 5), _EOS)
"""For beams: so many that texts end; their padding, 0, is among them."""


def _stir(reference: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return reference.eval()


def _pair(family: str) -> tuple[GPT, Any]:
    """A model of ours and theirs with the same weights."""
    torch.manual_seed(0)  # transformers draws from the global generator
    ends = {"bos_token_id": None, "eos_token_id": _EOS, "pad_token_id": 0}
    if family == "gpt2":
        config = GPTConfig.from_dict(_SIZES)
        sizes = {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 48, "vocab_size": 61}
        reference = _stir(transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **ends)))
        convert = from_gpt2
    else:
        config = GPTConfig.from_dict({**_SIZES, **_MODERN, "n_kv_head": 2, "qk_norm": family == "Qwen3"})
        settings = getattr(transformers, f"{family}Config")(
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            hidden_size=32,
            head_dim=8,
            intermediate_size=40,
            vocab_size=61,
            max_position_embeddings=48,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
            tie_word_embeddings=True,
            **ends,
        )
        reference = _stir(getattr(transformers, f"{family}ForCausalLM")(settings))
        convert = from_llama
    model = GPT(config)
    model.load_state_dict(convert(reference.state_dict(), config))
    return model.eval(), reference


_PROMPTS = [[5, 3, 8], [1], [9, 9, 9, 30, 2, 17], [44, 20]]


@pytest.mark.parametrize(
    "family", ["Qwen3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "Llama"))]
)
def test_greedy_text_is_that_of_transformers(family: str) -> None:
    model, reference = _pair(family)
    engine = Engine(pack(model), slots=3)
    asked = [
        Request(prompt, max_tokens=30, sampling=Sampling(temperature=0.0), stop_ids=(_EOS,)) for prompt in _PROMPTS
    ]
    for request, (completion,) in zip(asked, engine.generate(asked), strict=True):
        ids = torch.tensor([request.prompt])
        theirs = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False)
        theirs = theirs[0, ids.shape[1] :].tolist()
        assert list(completion.ids) == [token for token in theirs if token != _EOS]
        assert (completion.finish_reason == "stop") == (_EOS in theirs)


_SEARCHES = [
    pytest.param("gpt2", 3, 1.0),
    pytest.param("Qwen3", 4, 2.0),
    *(pytest.param(*each, marks=pytest.mark.slow) for each in [("gpt2", 1, 1.0), ("gpt2", 4, 0.0), ("Qwen3", 3, 1.0)]),
]


@pytest.mark.parametrize(("family", "beams", "length_penalty"), _SEARCHES)
def test_beam_search_finds_what_transformers_finds(family: str, beams: int, length_penalty: float) -> None:
    model, reference = _pair(family)
    found_stops = 0
    for prompt in _PROMPTS:
        found = search_beams(model, prompt, beams=beams, max_tokens=12, length_penalty=length_penalty, stop_ids=_ENDS)
        ids = torch.tensor([prompt])
        theirs = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=length_penalty,
            eos_token_id=list(_ENDS),
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = [[token for token in row[len(prompt) :].tolist() if token not in _ENDS] for row in theirs.sequences]
        assert [list(beam.ids) for beam in found] == texts
        if beams > 1:
            scores = [beam.score for beam in found]
            assert scores == pytest.approx(theirs.sequences_scores.tolist(), rel=1e-4)
            assert scores == sorted(scores, reverse=True)
        found_stops += sum(beam.finish_reason == "stop" for beam in found)
    assert found_stops or beams == 1 or length_penalty > 1  # a high one favours the longest texts


def test_more_beams_find_likelier_texts() -> None:
    model, _ = _pair("gpt2")
    scores = [search_beams(model, [5, 3], beams=beams, max_tokens=8, length_penalty=0.0)[0].score for beams in (1, 8)]
    assert scores[1] > scores[0]


def test_beams_end_with_the_positions_and_mistakes_are_told() -> None:
    model, _ = _pair("gpt2")
    (beam,) = search_beams(model, [1] * 40, beams=1, max_tokens=99)
    assert (len(beam.ids), beam.finish_reason) == (9, "length")
    with pytest.raises(ConfigError, match="beams and max_tokens are counts"):
        search_beams(model, [1], beams=0, max_tokens=3)
    with pytest.raises(DataError, match="leaves no position"):
        search_beams(model, [1] * 48, beams=2, max_tokens=3)

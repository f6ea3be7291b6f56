"""``restore(corrupt(x)) == x``: no corruption loses a token, for any window, vocabulary and cut of documents."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.data.tokenizers.resolve import resolve
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption
from gpt_lightning.objectives.corruptions.infilling import FillInTheMiddle
from gpt_lightning.objectives.corruptions.masked import MaskedLM, NextTokenMasked
from gpt_lightning.objectives.corruptions.prefix import PrefixLM
from gpt_lightning.objectives.corruptions.spans import SpanCorruption
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.mixture import UL2, Mixture, Part

OBJECTIVES: dict[str, Corruption] = {
    "clm": CausalLM(),
    "prefix": PrefixLM(),
    "masked": MaskedLM(0.4),
    "mntp": NextTokenMasked(0.4),
    "fim": FillInTheMiddle(rate=0.9),
    "psm": FillInTheMiddle(rate=1.0, spm_rate=0.0, max_documents=2),
    "spm": FillInTheMiddle(rate=1.0, spm_rate=1.0, max_documents=9),
    "spans": SpanCorruption(),
    "many spans": SpanCorruption(share=0.5, bidirectional=False, mode="[X]", max_documents=9),
    "long spans": SpanCorruption(share=0.3, mean_span=20.0, mode="[X]"),
    "ul2": UL2(),
    "mixture": Mixture({"clm": Part(CausalLM()), "fim": Part(FillInTheMiddle()), "spans": Part(SpanCorruption())}),
}
_ROWS = 4


def context_of(objective: Corruption, tokenizer: str, time: int) -> Context:
    """Of a vocabulary with the objective's own tokens behind it."""
    eot_id, texts = _texts(tokenizer)
    names = objective.needs(GPTConfig(block_size=time)).special_tokens
    special_ids = {name: len(texts) + number for number, name in enumerate(names)}
    return Context(vocab_size=len(texts), eot_id=eot_id, special_ids=special_ids, texts=texts)


@cache
def _texts(tokenizer: str) -> tuple[int, tuple[bytes, ...]]:
    known = resolve(tokenizer)
    return known.eot_id, tuple(b"" if token in known.special_ids else text for token, text in enumerate(known.pieces))


def draw_windows(seed: int, tokenizer: str) -> Batch:
    """Rows of 1, 2 or 9 documents or of documents of one or two tokens; with their numbers, or without."""
    generator = torch.Generator().manual_seed(seed)
    length = int(torch.randint(3, 70, (), generator=generator))
    tokens = torch.randint(256, (_ROWS, length), generator=generator)
    if tokenizer != "bytes":
        tokens = torch.randint(len(_texts(tokenizer)[1]) - 1, (_ROWS, length), generator=generator)
    kind = seed % 4
    if kind == 3:
        begins = torch.rand(_ROWS, length, generator=generator) < 0.7
    else:
        places = torch.randint(length, (_ROWS, (0, 1, 8)[kind]), generator=generator)
        begins = torch.zeros(_ROWS, length, dtype=torch.bool).scatter(1, places, True)
    begins[:, 0] = False
    numbered = bool(torch.randint(2, (), generator=generator))
    if numbered:
        return Batch(tokens, documents=begins.cumsum(dim=1).int())
    return Batch(torch.where(begins, _texts(tokenizer)[0], tokens))


def corrupt(objective: Corruption, batch: Batch, seed: int, context: Context) -> Corrupted:
    return objective.corrupt(batch, Draws(seed, torch.arange(_ROWS)), context)


@pytest.mark.parametrize("tokenizer", ["bytes", "gpt2"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize("count", [4, pytest.param(500, marks=pytest.mark.slow)])
def test_nothing_is_lost(name: str, tokenizer: str, count: int) -> None:
    # Four windows each: 384 in all by default, 32,000 slow.
    objective = OBJECTIVES[name]
    for seed in range(count):
        batch = draw_windows(seed, tokenizer)
        time = batch.tokens.shape[1] - 1
        context = context_of(objective, tokenizer, time)
        corrupted = corrupt(objective, batch, seed, context)
        assert corrupted.tokens.shape[1] == time + objective.needs(GPTConfig(block_size=time)).room
        assert torch.equal(objective.restore(corrupted, context).tokens, batch.tokens), f"seed {seed}"
        assert _is_noticed(objective, corrupted, context, batch.tokens, seed), f"seed {seed}"


def _is_noticed(objective: Corruption, corrupted: Corrupted, context: Context, tokens: Tensor, seed: int) -> bool:
    """Whether it shows when one token of the text gets lost on the way."""
    sequence = torch.cat([corrupted.tokens[:, :1], corrupted.targets], dim=1)
    is_text = (sequence[0] != context.eot_id) & (sequence[0] < context.vocab_size)
    place = int(is_text.nonzero().flatten()[seed % 2])
    rest = torch.cat([sequence[:, :place], sequence[:, place + 1 :], sequence[:, -1:]], dim=1)
    fewer = replace(corrupted, tokens=rest[:, :-1], targets=rest[:, 1:])
    try:
        restored = objective.restore(fewer, context).tokens
    except (ValueError, StopIteration, IndexError):  # a sentinel is missed
        return True
    return restored.shape != tokens.shape or not torch.equal(restored, tokens)

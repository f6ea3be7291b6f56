"""Objectives without a run."""

from __future__ import annotations

import torch
from torch import nn

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Learner, Objective
from gpt_lightning.objectives.draws import Draws

LABELS = ("good", "bad", "odd")
"""Of the data."""


def apply(
    objective: Objective, model: GPT, batch: Batch, vocab_size: int = 7, extras: nn.ModuleDict | None = None
) -> LossOutput:
    """The loss of a decoder, as in a run of seed 0; special tokens stand behind those of the text.

    Args:
        objective: What is learned.
        model: The decoder.
        batch: As from the data.
        vocab_size: Of the text.
        extras: Of the objective; None = made for this call.
    """
    samples = batch.number_rows().samples
    assert samples is not None
    context = describe(objective, batch, vocab_size)
    return objective(Learner(model, extras or build_extras(objective, model), context), batch, Draws(0, samples))


def build_extras(objective: Objective, model: GPT) -> nn.ModuleDict:
    """What an objective trains beside a decoder, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return objective.build_extras(model.config, Context(labels=LABELS)).to(model.token_embedding.weight.dtype)


def describe(objective: Objective, batch: Batch, vocab_size: int) -> Context:
    """What a run would tell an objective that gets such batches."""
    names = objective.needs(GPTConfig(block_size=batch.tokens.shape[1] - 1)).special_tokens
    specials = {name: vocab_size + number for number, name in enumerate(names)}
    return Context(vocab_size, special_ids=specials, labels=LABELS)

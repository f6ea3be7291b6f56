"""Objectives without a run."""

from __future__ import annotations

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Learner, Objective
from gpt_lightning.objectives.draws import Draws


def apply(objective: Objective, model: GPT, batch: Batch, vocab_size: int = 7) -> LossOutput:
    """The loss of a decoder without extras, as in a run of seed 0; special tokens stand behind those of the text."""
    samples = batch.number_rows().samples
    assert samples is not None
    return objective(Learner(model, context=describe(objective, batch, vocab_size)), batch, Draws(0, samples))


def describe(objective: Objective, batch: Batch, vocab_size: int) -> Context:
    """What a run would tell an objective that gets such batches."""
    names = objective.needs(GPTConfig(block_size=batch.tokens.shape[1] - 1)).special_tokens
    return Context(vocab_size, special_ids={name: vocab_size + number for number, name in enumerate(names)})

"""Objectives without a run."""

from __future__ import annotations

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Learner, Objective
from gpt_lightning.objectives.draws import Draws


def apply(objective: Objective, model: GPT, batch: Batch) -> LossOutput:
    """The loss of a decoder without extras, as in a run of seed 0."""
    samples = batch.number_rows().samples
    assert samples is not None
    return objective(Learner(model), batch, Draws(0, samples))

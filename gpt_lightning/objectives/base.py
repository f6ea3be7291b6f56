"""The interface between a model and what it learns."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.model.gpt import GPT


class Objective(ABC):
    """A loss that is a function of model, batch and generator alone.

    Rules every objective keeps (checked by its contract tests):

    - positions of weight 0 change neither the loss nor a gradient;
    - all its randomness comes from ``generator``: the same generator state gives the same loss;
    - ``loss`` is a weighted mean and ``weight`` the sum of its weights, so that
      ``sum(loss x weight) / sum(weight)`` over the parts of a split batch is the loss of the whole.
    """

    @abstractmethod
    def __call__(self, model: GPT, batch: Batch, generator: torch.Generator | None) -> LossOutput:
        """The loss of one micro-batch.

        Args:
            model: The decoder, in training or evaluation mode.
            batch: On the model's device; its ids may still be of a narrow integer type.
            generator: Source of masking and corruption; None is enough for an objective that draws nothing.
        """

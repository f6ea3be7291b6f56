"""Multi-token prediction: every position also predicts tokens behind the next one.

Further heads (``model.multi_token``) are trained beside the decoder. They make its hidden states look further ahead,
and guess for faster decoding (``generate --draft heads``); the decoder itself is used and exported as if they were not
there. No head has a target in another document: what follows there is nothing that could be known.

    model.objective:
      class_path: MultiToken
      init_args: {heads: 2, form: parallel}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.attention_mask import build_mask
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.multi_token import FORMS, FurtherHeads, Surroundings
from gpt_lightning.model.positions import build_rotation
from gpt_lightning.objectives.additions import Addition, Part
from gpt_lightning.objectives.base import Context, Learner
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption
from gpt_lightning.objectives.losses import compute_losses


class MultiToken(Addition):
    """The base's loss, and the mean loss of further heads.

    Args:
        heads: Number of tokens predicted behind the next one; 0 = the base alone, to the bit.
        form: ``parallel``: every head by itself (Gloeckle et al. 2024); ``sequential``: each on the one before and the
            token in between (DeepSeek-V3).
        weight: Of the heads' mean loss beside that of the next token; DeepSeek-V3 began with 0.3, Gloeckle et al.
            weighed every token alike, which is the number of heads.
        base: What the decoder learns.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        heads: int = 1,
        form: Literal["parallel", "sequential"] = "sequential",
        weight: float = 0.3,
        base: Corruption = CausalLM(),
    ) -> None:
        super().__init__(base, weight)
        if heads < 0:
            raise ConfigError("objective.heads is a count", got=heads, allowed="0 or more")
        self._heads, self._form = heads, form

    def build_extras(self, config: GPTConfig, context: Context) -> nn.ModuleDict:
        """The heads, under the name of their form."""
        if self._heads == 0:
            return nn.ModuleDict()
        heads = FORMS[self._form](config, self._heads)
        heads.init_weights()
        return nn.ModuleDict({self._form: heads})

    def _names(self) -> list[str]:
        return [f"ahead_{number + 1}" for number in range(1, self._heads + 1)]

    def _add(self, learner: Learner, corrupted: Corrupted, hidden: Float[Tensor, "batch time embed"]) -> Iterator[Part]:
        model, config = learner.model, learner.model.config
        heads = learner.extras[self._form]
        assert isinstance(heads, FurtherHeads)
        time, device = hidden.shape[1], hidden.device
        dropout = config.dropout if model.training else 0.0
        mask = build_mask(
            time, time, device=device, documents=corrupted.documents, opens=corrupted.opens, dropout=dropout
        )
        theta, rotation = config.rope_theta, None
        if theta is not None:
            rotation = build_rotation(0, time, config.head_size, theta, device, config.rope_scaling)
        numbers, weights = number_documents(corrupted, learner.context), corrupted.weights
        if weights is None:
            weights = torch.ones(corrupted.targets.shape, device=device)
        before = hidden
        # One after the other, so that the logits of one head exist at a time.
        for level, name in enumerate(self._names(), start=1):
            token = model.token_embedding(move_up(corrupted.targets, level - 1))
            before = heads.level(level, hidden, before, token, Surroundings(mask, rotation))
            losses = compute_losses(model, before, move_up(corrupted.targets, level), self.chunk_size)
            inside = move_up(numbers, level, fill=-1) == numbers
            yield name, losses, move_up(weights, level) * inside


def number_documents(corrupted: Corrupted, context: Context) -> Int[Tensor, "batch time"]:
    """Document of every position, from the end-of-text tokens in front of them where attention knows none."""
    if corrupted.documents is not None:
        return corrupted.documents.long()
    return (corrupted.tokens == context.eot_id).cumsum(dim=1)


def move_up(values: Tensor, steps: int, fill: int = 0) -> Tensor:
    """Every position gets the value of the one so many steps behind it; the last ones get ``fill``."""
    return F.pad(values[:, steps:], (0, steps), value=fill)

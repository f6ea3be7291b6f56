"""Heads beside a decoder that predict further tokens than the next one.

Level k (1, 2, ...) of a position says what stands k tokens behind the next one. Every level is one layer of the
decoder's kind and ends in the decoder's own head, which all share:

    ParallelHeads     level k: layer k (hidden)                                        (Gloeckle et al. 2024)
    SequentialHeads   level k: layer k (project [norm(level k - 1); norm(embedding of the token k behind)]),
                      level 0 = hidden: each level has seen the tokens up to the one it predicts  (DeepSeek-V3, 2024)

They are trained by ``objectives.multi_token`` and guess for the engine in ``generation.drafting``.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.model.attention_mask import AttentionMask
from gpt_lightning.model.block import Block
from gpt_lightning.model.cache import LayerCache
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.norm import RMSNorm, build_norm
from gpt_lightning.model.positions import Rotation

_INIT_STD = 0.02


@dataclass(frozen=True)
class Surroundings:
    """What a layer is told beside its input.

    Attributes:
        mask: What each position sees.
        rotation: Rotary angles; None = the decoder has none.
        cache: Keys and values of the positions before; None = there are none.
    """

    mask: AttentionMask
    rotation: Rotation | None = None
    cache: LayerCache | None = None


class FurtherHeads(nn.Module):
    """Layers for further tokens.

    Args:
        config: Of the decoder; the layers are of its kind.
        count: Levels, 1 or more.
    """

    def __init__(self, config: GPTConfig, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(count))
        self.norms = nn.ModuleList(build_norm(config) for _ in range(count))

    @property
    def count(self) -> int:
        """Number of levels."""
        return len(self.layers)

    @abstractmethod
    def _prepare(
        self,
        level: int,
        hidden: Float[Tensor, "batch time embed"],
        before: Float[Tensor, "batch time embed"],
        token: Float[Tensor, "batch time embed"],
    ) -> Float[Tensor, "batch time embed"]:
        """What goes into a level's layer."""

    def level(
        self,
        number: int,
        hidden: Float[Tensor, "batch time embed"],
        before: Float[Tensor, "batch time embed"],
        token: Float[Tensor, "batch time embed"],
        surroundings: Surroundings,
    ) -> Float[Tensor, "batch time embed"]:
        """Hidden states of one level, which the decoder's head turns into logits.

        Args:
            number: 1 for the token behind the next one.
            hidden: Of the decoder.
            before: Of the level before; of the decoder for level 1.
            token: Embedding of the last token in front of the one to be predicted.
            surroundings: For the layer.
        """
        stream = self._prepare(number, hidden, before, token)
        stream = self.layers[number - 1](stream, surroundings.cache, surroundings.mask, surroundings.rotation)
        result: Tensor = self.norms[number - 1](stream)
        return result

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw all weights as the decoder's are drawn (``model.gpt``), from torch's global generator."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                branch_end = name.endswith(("attention.output", "mlp.contract"))
                module.weight.normal_(0.0, _INIT_STD / math.sqrt(2 * self.count) if branch_end else _INIT_STD)
                if module.bias is not None:
                    module.bias.zero_()


class ParallelHeads(FurtherHeads):
    """Every level on the decoder's hidden states."""

    def _prepare(
        self,
        level: int,
        hidden: Float[Tensor, "batch time embed"],
        before: Float[Tensor, "batch time embed"],
        token: Float[Tensor, "batch time embed"],
    ) -> Float[Tensor, "batch time embed"]:
        return hidden


class SequentialHeads(FurtherHeads):
    """Every level on the one before it and the token that has become known."""

    def __init__(self, config: GPTConfig, count: int) -> None:
        super().__init__(config, count)
        width = config.n_embd
        self.hidden_norms = nn.ModuleList(RMSNorm(width, eps=config.norm_eps) for _ in range(count))
        self.token_norms = nn.ModuleList(RMSNorm(width, eps=config.norm_eps) for _ in range(count))
        self.projections = nn.ModuleList(nn.Linear(2 * width, width, bias=False) for _ in range(count))

    def _prepare(
        self,
        level: int,
        hidden: Float[Tensor, "batch time embed"],
        before: Float[Tensor, "batch time embed"],
        token: Float[Tensor, "batch time embed"],
    ) -> Float[Tensor, "batch time embed"]:
        both = torch.cat([self.hidden_norms[level - 1](before), self.token_norms[level - 1](token)], dim=-1)
        result: Tensor = self.projections[level - 1](both)
        return result


FORMS: dict[str, type[FurtherHeads]] = {"parallel": ParallelHeads, "sequential": SequentialHeads}
"""By the name under which they stand among an objective's extras."""

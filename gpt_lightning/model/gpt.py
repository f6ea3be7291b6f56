"""The whole decoder, GPT-2's architecture exactly (Radford et al. 2019): tokens -> hidden states -> logits.

Initial values, the one table of them (width-independent, as in GPT-2's released code):

    weight                                   drawn from
    embeddings, linear layers                N(0, 0.02)
    attention.output, mlp.contract           N(0, 0.02 / sqrt(2 n_layer)): 2 n_layer branches add up in the stream
    biases, norm shifts                      0
    norm scales                              1
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gpt_lightning.errors import DataError
from gpt_lightning.model.block import Block
from gpt_lightning.model.cache import KeyValueCache
from gpt_lightning.model.config import GPTConfig

_INIT_STD = 0.02


class GPT(nn.Module):
    """A GPT-2 shaped decoder with learned positions and a head tied to the token embedding.

    Args:
        config: A complete record (``vocab_size`` and ``block_size`` known).
        generator: Source of the initial weights; None = torch's global generator. With a generator of its own the
            weights depend on nothing else, and the global generator is not touched.

    Raises:
        ConfigError: ``config`` is not complete.
    """

    def __init__(self, config: GPTConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        vocab_size, block_size = config.data_sizes()
        self.block_size = block_size
        device = torch.get_default_device()
        # Built without memory first: torch's layers would draw initial values, from the global generator, that
        # init_weights overwrites; for the largest preset that is a quarter of a minute.
        with torch.device("meta"):
            self.token_embedding = _reserve_embedding(vocab_size, config.n_embd)
            self.position_embedding = _reserve_embedding(block_size, config.n_embd)
            self.dropout = nn.Dropout(config.dropout)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
            self.final_norm = nn.LayerNorm(config.n_embd, bias=config.bias)
        if device.type != "meta":
            self.to_empty(device=device)
            self.init_weights(generator)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew (table above), in a fixed order; ``generator`` must live on the weights' device."""
        residual_std = _INIT_STD / math.sqrt(2 * self.config.n_layer)
        for name, module in self.named_modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, _INIT_STD, generator=generator)
            elif isinstance(module, nn.Linear):
                ends_branch = name.endswith(("attention.output", "mlp.contract"))
                module.weight.normal_(0.0, residual_std if ends_branch else _INIT_STD, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()

    def forward(
        self, tokens: Int[Tensor, "batch time"], cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch time embed"]:
        """Hidden states after the final norm.

        Args:
            tokens: Ids below ``vocab_size``; that is the data room's promise and not checked here, because a check
                would wait for the device at every step.
            cache: Keys and values of the tokens before these; extended in place.

        Raises:
            DataError: The sequence, with what the cache holds, is longer than ``block_size``.
        """
        time = tokens.shape[1]
        start = 0 if cache is None else cache.length
        end = start + time
        if end > self.block_size:
            raise DataError(
                "the sequence is longer than the model's positions",
                got=end,
                allowed=f"at most block_size={self.block_size} tokens",
                fix="Cut the sequence, or build the model with a larger block_size.",
            )
        # A slice, not a second embedding look-up: the positions are consecutive, and its gradient is a plain sum.
        hidden: Tensor = self.dropout(self.token_embedding(tokens) + self.position_embedding.weight[start:end])
        mask = None
        if start > 0 and time > 1:
            mask = torch.ones(time, end, dtype=torch.bool, device=tokens.device).tril(start)
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, None if cache is None else cache.layers[index], mask)
        result: Tensor = self.final_norm(hidden)
        return result

    def logits(self, hidden: Float[Tensor, "*batch embed"]) -> Float[Tensor, "*batch vocab"]:
        """Unnormalised log-probabilities of the next token, through the tied embedding."""
        return F.linear(hidden, self.token_embedding.weight)


def _reserve_embedding(rows: int, width: int) -> nn.Embedding:
    # nn.Embedding(rows, width) draws a normal; where there is no memory, torch imports its compiler for that (1 s).
    embedding: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)  # type: ignore[no-untyped-call]
    return embedding

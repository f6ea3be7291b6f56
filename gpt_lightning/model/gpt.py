"""The whole decoder: tokens -> hidden states -> logits. With the defaults of ``GPTConfig`` GPT-2's function exactly.

Initial values, the one table of them, independent of the width. They are those of GPT-2's paper as nanoGPT reads it;
the released code draws positions from N(0, 0.01) and does not divide by the number of branches:

    weight                                   drawn from
    embeddings, linear layers                N(0, 0.02)
    attention.output, mlp.contract           N(0, 0.02 / sqrt(2 n_layer)): 2 n_layer branches add up in the stream
    the same and head, with zero_init        0
    smear, bigram and value embeddings       0: they begin as if they were not there
    biases, norm shifts                      0
    norm scales                              1
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.model.ahead import Behind, Kept
from gpt_lightning.model.attention_mask import AttentionMask, CausalMask, Lead, Opens, Sight, States, build_mask
from gpt_lightning.model.block import Block
from gpt_lightning.model.cache import KeyValueCache, LayerCache
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.embeddings import BigramEmbedding, Smear, reserve_embedding
from gpt_lightning.model.norm import build_norm
from gpt_lightning.model.positions import (
    Rotation,
    build_rotation,
    count_positions,
    find_begins,
    rotate_documents,
    rotate_rows,
)
from gpt_lightning.model.slots import SlotRows

_INIT_STD = 0.02
_BRANCH_ENDS = ("attention.output", "mlp.contract")


class Ahead(nn.Module, ABC):
    """What stands ahead of texts."""

    @abstractmethod
    def leads(self, model: GPT) -> list[Lead] | None:
        """Of the rows of the batch that is being computed, layer by layer; None = nothing."""


class GPT(nn.Module):
    """A decoder of the architecture that ``config`` describes.

    Args:
        config: A complete record (``vocab_size`` and ``block_size`` known).
        generator: Source of the initial weights; None = torch's global generator. With a generator of its own the
            weights depend on nothing else, and the global generator is not touched.

    Attributes:
        position_embedding: Only there with learned positions.
        checkpoint_every: In training, every so-many-th block keeps only its input and is computed a second time in
            the backward pass, dropout and all (Chen et al. 2016); 1 = every block, None = no block. It changes memory
            and time, never a number.
        sights: What its training lets it see of a text: ``causal``, ``open`` (every position sees all of them) or both.
            It decides how prompts are read (``reads_openly``), and changes nothing else.
        ahead: What stands ahead of every text and is no token of it; None = nothing.
        is_compiled: Whether ``compile`` was called; a loss then compiles what it does with the logits.

    Raises:
        ConfigError: ``config`` is not complete.
    """

    position_embedding: nn.Embedding
    checkpoint_every: int | None = None
    sights: frozenset[Sight] = frozenset({"causal"})
    is_compiled = False

    def __init__(self, config: GPTConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.vocab_size, self.block_size = config.data_sizes()
        self._stretch = config.rope_scaling
        device = torch.get_default_device()
        # Built without memory first: torch's layers would draw initial values, from the global generator, that
        # init_weights overwrites; for the largest preset that is a quarter of a minute.
        with torch.device("meta"):
            self._reserve(config)
        if device.type != "meta":
            self.to_empty(device=device)
            self.init_weights(generator)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile ``forward`` in place, which keeps the names of the weights; arguments as in ``torch.compile``."""
        super().compile(*args, **kwargs)
        self.is_compiled = True

    def _reserve(self, config: GPTConfig) -> None:
        width, rows = config.n_embd, config.padded_vocab_size
        self.token_embedding = reserve_embedding(rows, width)
        if config.rope_theta is None:
            self.position_embedding = reserve_embedding(self.block_size, width)
        self.smear = Smear(width) if config.smear else None
        self.bigram_embedding = (
            None if config.bigram_rows is None else BigramEmbedding(config.bigram_rows, width, self.vocab_size)
        )
        self.value_embeddings = nn.ModuleDict(
            {
                str(layer): reserve_embedding(self.vocab_size, config.key_value_heads * config.head_size)
                for layer in range(config.n_layer)
                if config.has_value_embedding(layer)
            }
        )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.final_norm = build_norm(config)
        self.head = None if config.tie_embeddings else nn.Linear(width, rows, bias=False)
        self.ahead: Ahead | None = None

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew (table above), in a fixed order; ``generator`` must live on the weights' device."""
        for name, module in self.named_modules():
            self.init_layer(name, module, generator)

    @torch.no_grad()
    def init_layer(self, name: str, module: nn.Module, generator: torch.Generator | None = None) -> None:
        """Draw the weights that a module itself holds; all of them in the order of ``named_modules`` is the model."""
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            module.reset_parameters()
        elif isinstance(module, Smear):
            module.scale.zero_()
        elif isinstance(module, (nn.Embedding, nn.Linear)):
            std = self._choose_std(name)
            # Nothing is drawn for zeros, so that these options leave the other weights as they are.
            module.weight.normal_(0.0, std, generator=generator) if std > 0 else module.weight.zero_()
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()

    def _choose_std(self, name: str) -> float:
        if name.startswith(("bigram_embedding", "value_embeddings")):
            return 0.0
        if name.endswith(_BRANCH_ENDS):
            return 0.0 if self.config.zero_init else _INIT_STD / math.sqrt(2 * self.config.n_layer)
        return 0.0 if name == "head" and self.config.zero_init else _INIT_STD

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        cache: KeyValueCache | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        opens: Opens = False,
    ) -> Float[Tensor, "batch time embed"]:
        """Hidden states after the final norm.

        Args:
            tokens: Ids below ``vocab_size``; that is the data room's promise and not checked here, because a check
                would wait for the device at every step.
            cache: Keys and values of the tokens before these; extended in place.
            documents: Document number of every token; the tokens of a document stand together. Each document then
                gives what it would give in a row of its own: attention stays inside it, positions count from its
                first token, and nothing of the token before that one is mixed in. None = each row is one document.
            opens: Positions that everybody of their document sees, also those before them (``model.mask``): False =
                causal, True = full attention, or a table ``(batch, time)`` that is True in a prefix.

        Raises:
            DataError: The sequence, with what the cache holds, is longer than ``block_size``.
            ConfigError: ``documents`` came with some of the cached tokens and not with others, or ``opens`` behind
                cached tokens, which could not see the new ones any more.
        """
        start = 0 if cache is None else cache.length
        end = start + tokens.shape[1]
        if end > self.block_size:
            raise DataError(
                "the sequence is longer than the model's positions",
                got=end,
                allowed=f"at most block_size={self.block_size} tokens",
                fix="Cut the sequence, or build the model with a larger block_size.",
            )
        if opens is not False and start > 0:
            raise ConfigError(
                "positions that open came behind cached ones, whose hidden states would change",
                got=f"{start} cached positions",
                allowed="opens only in the first call with a cache",
                fix="Clear the cache and pass the whole prefix at once.",
            )
        if cache is not None:
            documents = cache.extend_documents(documents)
        hidden = self._embed(tokens, start, cache, documents)
        masks = self._build_masks(start, end, documents, opens, tokens.device)
        theta, rotation = self.config.rope_theta, None
        if theta is not None and self.ahead is not None and documents is not None:
            rotation = rotate_documents(documents, start, self.config.head_size, theta, self._stretch)
        elif theta is not None:
            rotation = build_rotation(start, end, self.config.head_size, theta, tokens.device, self._stretch)
        return self._run(hidden, tokens, None if cache is None else cache.layers, masks, rotation)

    def advance(
        self, tokens: Int[Tensor, " rows"], before: Int[Tensor, " rows"], rows: SlotRows
    ) -> Float[Tensor, "rows embed"]:
        """Hidden states of one more token for each of several sequences, whatever their lengths.

        Equal to ``forward`` on each sequence with a cache of its own, up to rounding.

        Args:
            tokens: One new token per row; below ``vocab_size``, as in ``forward``.
            before: The token before each of them in its sequence.
            rows: Where they belong; their keys and values are written there.
        """
        column = tokens[:, None]
        embedded: Tensor = self.token_embedding(column)
        if self.smear is not None:
            embedded = self.smear(embedded, self.token_embedding(before))
        if self.bigram_embedding is not None:
            embedded = embedded + self.bigram_embedding(column, before)
        theta, rotation = self.config.rope_theta, None
        if theta is None:
            embedded = embedded + self.position_embedding(rows.positions)[:, None]
        else:
            rotation = rotate_rows(rows.positions, self.config.head_size, theta, self._stretch)
        masks = {window: rows.build_mask(window) for window in self._windows()}
        return self._run(self.dropout(embedded), column, rows.layers, masks, rotation)[:, 0]

    def _run(
        self,
        hidden: Float[Tensor, "batch time embed"],
        tokens: Int[Tensor, "batch time"],
        caches: Sequence[LayerCache] | None,
        masks: dict[int | None, AttentionMask],
        rotation: Rotation | None,
    ) -> Float[Tensor, "batch time embed"]:
        """The blocks and the final norm."""
        values = {int(layer): table(tokens) for layer, table in self.value_embeddings.items()}
        leads = None if self.ahead is None else self.ahead.leads(self)
        for index, block in enumerate(self.blocks):
            layer_cache = None if caches is None else caches[index]
            mask = masks[self.config.window_of(index)]
            mask = mask if leads is None else Behind(mask, leads[index])
            inputs = (hidden, layer_cache, mask, rotation, values.get(index))
            # A cache would be extended twice.
            if self._recomputes(index) and caches is None:
                hidden = checkpoint(block, *inputs, use_reentrant=False)
            else:
                hidden = block(*inputs)
        result: Tensor = self.final_norm(hidden)
        return result

    def read_ahead(self, embedded: Float[Tensor, "ahead embed"]) -> list[States]:
        """Keys and values of positions before the first one of a text, layer by layer.

        Args:
            embedded: Their stream before the first block; each sees itself and those before it.
        """
        hidden, count, theta, rotation = embedded[None], len(embedded), self.config.rope_theta, None
        if theta is not None:
            rotation = build_rotation(-count, 0, self.config.head_size, theta, embedded.device, self._stretch)
        caches = [Kept() for _ in self.blocks]
        for cache, block in zip(caches, self.blocks, strict=True):
            hidden = block(hidden, cache, CausalMask(), rotation)
        return [cache.states for cache in caches if cache.states is not None]

    def _recomputes(self, index: int) -> bool:
        every = self.checkpoint_every
        return every is not None and self.training and torch.is_grad_enabled() and (index + 1) % every == 0

    def _embed(
        self, tokens: Tensor, start: int, cache: KeyValueCache | None, documents: Tensor | None
    ) -> Float[Tensor, "batch time embed"]:
        """The stream before the first block."""
        embedded: Tensor = self.token_embedding(tokens)
        if self.smear is not None or self.bigram_embedding is not None:
            embedded = self._add_previous(embedded, tokens, start, cache, documents)
        if self.config.rope_theta is None:
            if documents is None:
                # A slice, not a second embedding look-up: the positions are consecutive, its gradient a plain sum.
                embedded = embedded + self.position_embedding.weight[start : start + tokens.shape[1]]
            else:
                embedded = embedded + self.position_embedding(count_positions(documents)[:, start:])
        result: Tensor = self.dropout(embedded)
        return result

    def _add_previous(
        self,
        embedded: Tensor,
        tokens: Tensor,
        start: int,
        cache: KeyValueCache | None,
        documents: Tensor | None,
    ) -> Float[Tensor, "batch time embed"]:
        """Mix in what the token before each token adds."""
        before = None if cache is None else cache.swap_last_tokens(tokens)
        begins = None if documents is None else find_begins(documents)[:, start:]
        if self.smear is not None:
            embedded = self.smear(embedded, None if before is None else self.token_embedding(before), begins)
        if self.bigram_embedding is not None:
            embedded = embedded + self.bigram_embedding(tokens, before, begins)
        return embedded

    def _build_masks(
        self, start: int, end: int, documents: Tensor | None, opens: Opens, device: torch.device
    ) -> dict[int | None, AttentionMask]:
        """What local and global layers see, by their window."""
        dropout = self.config.dropout if self.training else 0.0
        build = functools.partial(
            build_mask,
            end - start,
            end,
            device=device,
            documents=documents,
            opens=opens,
            dropout=dropout,
            as_table=self.ahead is not None,
        )
        return {window: build(window=window) for window in self._windows()}

    def _windows(self) -> set[int | None]:
        return {self.config.window_of(layer) for layer in range(self.config.n_layer)}

    def reads_openly(self, *, whole: bool = False) -> bool:
        """Whether the positions of a prompt should see all of it, also what stands behind them.

        Args:
            whole: The prompt is a text to be understood, not one to go on from: a model that knows both sights reads
                the former openly and the latter causally.
        """
        return "open" in self.sights and (whole or "causal" not in self.sights)

    @property
    def head_weight(self) -> Float[Tensor, "rows embed"]:
        """The matrix that turns hidden states into logits; its rows are the vocabulary and its padding."""
        return self.token_embedding.weight if self.head is None else self.head.weight

    def logits(self, hidden: Float[Tensor, "*batch embed"]) -> Float[Tensor, "*batch vocab"]:
        """Unnormalised log-probabilities of the next token, for the ``vocab_size`` real ids only."""
        logits = F.linear(hidden, self.token_embedding.weight) if self.head is None else self.head(hidden)
        if logits.shape[-1] > self.vocab_size:
            logits = logits[..., : self.vocab_size]
        cap = self.config.logit_softcap
        if cap is not None:
            # Half precision would round a second time; a compiler fuses the conversion away.
            logits = cap * torch.tanh((logits.float() if logits.itemsize < 4 else logits) / cap)
        return logits

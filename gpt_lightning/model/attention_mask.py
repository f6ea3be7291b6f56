"""What a position may look at, and the kernel that computes it fastest.

One rule covers causal, full, prefix and packed attention (Dong et al. 2019; Raffel et al. 2020):

    sees(query, key) = (key <= query or opens[key]) and |query - key| < window and same document

Every position sees itself and what is before it. A position that *opens* is seen by everybody of its document, also by
what stands before it: all positions open are an encoder, those of a prefix are a prefix LM. A window (local layers see
only positions so near) and documents (a row of several documents must not mix them) narrow that down. An
``AttentionMask`` is made once per forward pass and shared by the layers:

    CausalMask  nothing but the order: the fused kernel's own triangle, faster than any table
    FullMask    everybody sees everybody: no mask at all
    DenseMask   a table of who sees whom; every device, a cost of time x context per row
    BlockMask   the same rule as a function, compiled by FlexAttention: only blocks that somebody sees are computed
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

States = tuple[Float[Tensor, "_ _ _ _"], Float[Tensor, "_ _ _ _"]]
"""Keys, as a cache holds them, and values of some positions in one layer, ``(rows, groups, positions, head)`` each."""


@dataclass(frozen=True)
class Lead:
    """What stands ahead of texts in one layer, see ``model.ahead``.

    Attributes:
        rows: Of every row of a batch, None = nothing; or one for all of them.
    """

    rows: tuple[States | None, ...]

    def precede(self, row: int, keys: Tensor, values: Tensor) -> States:
        """The keys and values of a row's text behind those ahead of it."""
        states = self.rows[row if len(self.rows) > 1 else 0]
        if states is None:
            return keys, values
        pairs = zip(states, (keys, values), strict=True)
        joined = (torch.cat((mine.to(own.dtype).expand(len(own), -1, -1, -1), own), dim=2) for mine, own in pairs)
        return next(joined), next(joined)


class AttentionMask(ABC):
    """Which of ``context`` positions each of ``time`` new ones sees; the new ones are the last of the context."""

    @abstractmethod
    def attend(
        self,
        queries: Float[Tensor, "batch heads time head"],
        keys: Float[Tensor, "batch groups context head"],
        values: Float[Tensor, "batch groups context head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads time head"]:
        """Attention: softmax of the scaled scores of all visible positions, times their values.

        Args:
            queries: One row of heads for every new position.
            keys: Of the whole context; ``groups`` divides ``heads``, neighbouring heads share a group.
            values: Like the keys.
            dropout: Probability of dropping an attention weight.
        """

    def tabulate(self, time: int, context: int, device: torch.device) -> Bool[Tensor, "*rows time context"]:
        """Who sees whom, as a table."""
        raise NotImplementedError(f"{type(self).__name__} has no table")

    def of_row(self, row: int) -> AttentionMask:
        """That of one row of the batch."""
        return self

    def attend_behind(
        self,
        lead: Lead,
        queries: Float[Tensor, "batch heads time head"],
        keys: Float[Tensor, "batch groups context head"],
        values: Float[Tensor, "batch groups context head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads time head"]:
        """The same, where every new position also sees what is ahead of its text; rows that differ each alone."""
        if len(lead.rows) > 1:
            mixed = []
            for row, own in enumerate(lead.rows):
                mask, here = self.of_row(row), slice(row, row + 1)
                alone = queries[here], keys[here], values[here], dropout
                mixed.append(mask.attend(*alone) if own is None else mask.attend_behind(Lead((own,)), *alone))
            return torch.cat(mixed)
        table = self.tabulate(queries.shape[2], keys.shape[2], queries.device)
        keys, values = lead.precede(0, keys, values)
        table = F.pad(table, (keys.shape[2] - table.shape[-1], 0), value=True)
        return DenseMask(table).attend(queries, keys, values, dropout)


class CausalMask(AttentionMask):
    """Everything up to the position itself; several new positions only where there are none before them."""

    def attend(
        self,
        queries: Float[Tensor, "batch heads time head"],
        keys: Float[Tensor, "batch groups context head"],
        values: Float[Tensor, "batch groups context head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads time head"]:
        """As in ``AttentionMask.attend``."""
        time = queries.shape[2]
        if torch.compiler.is_compiling() and queries.device.type == "cpu" and 1 < time <= _SHORT and dropout == 0.0:
            return _attend_short(queries, keys, values)
        # The kernel's triangle starts at the upper left corner: right for a square, wrong for one new row.
        return F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            dropout_p=dropout,
            is_causal=time > 1,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )

    def tabulate(self, time: int, context: int, device: torch.device) -> Bool[Tensor, "time context"]:
        """As in ``AttentionMask``."""
        return torch.ones(time, context, dtype=torch.bool, device=device).tril(context - time)


class FullMask(AttentionMask):
    """All positions of the context."""

    def attend(
        self,
        queries: Float[Tensor, "batch heads time head"],
        keys: Float[Tensor, "batch groups context head"],
        values: Float[Tensor, "batch groups context head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads time head"]:
        """As in ``AttentionMask.attend``."""
        return F.scaled_dot_product_attention(
            queries, keys, values, dropout_p=dropout, enable_gqa=queries.shape[1] != keys.shape[1]
        )

    def tabulate(self, time: int, context: int, device: torch.device) -> Bool[Tensor, "time context"]:
        """As in ``AttentionMask``."""
        return torch.ones(time, context, dtype=torch.bool, device=device)


Sight = Literal["causal", "open"]
"""What the positions of a text see of it: what is before them, or all of it."""

Opens = bool | Bool[Tensor, "batch context"]
"""Which positions everybody of their document sees: none (False), all (True), or those that are True."""

_SHORT = 128
"""Positions up to which a compiler's own attention beats torch's kernel on a CPU (by 15 to 30 %; at 256 they are equal,
and the table of all weights grows)."""

_LATER = torch.full((_SHORT, _SHORT), -torch.inf, device="cpu").triu(1)
"""Added to the scores: minus infinity for what comes later. A constant, since the compiler would compute it anew for
every score; numbers, since it reads booleans one by one, which cost more than the softmax."""


def _attend_short(
    queries: Float[Tensor, "batch heads time head"],
    keys: Float[Tensor, "batch groups time head"],
    values: Float[Tensor, "batch groups time head"],
) -> Float[Tensor, "batch heads time head"]:
    """``CausalMask.attend`` written out, for a compiler to fuse; heads that share keys are one product."""
    batch, heads, time, width = queries.shape
    groups = keys.shape[1]
    shared = heads // groups
    queries = (
        queries.view(batch, groups, shared, time, width).transpose(2, 3).reshape(batch, groups, time * shared, width)
    )
    scores = torch.matmul(queries, keys.transpose(-2, -1)).view(batch, groups, time, shared, time) * width**-0.5
    weights = (scores + _LATER[:time, None, :time].to(scores.dtype)).softmax(dim=-1)
    mixed = torch.matmul(weights.view(batch, groups, time * shared, time), values)
    return mixed.view(batch, groups, time, shared, width).transpose(2, 3).reshape(batch, heads, time, width)


@dataclass(frozen=True)
class DenseMask(AttentionMask):
    """A table: True where a new position (row) sees a position of the context (column)."""

    table: Bool[Tensor, "*rows time context"]

    def attend(
        self,
        queries: Float[Tensor, "batch heads time head"],
        keys: Float[Tensor, "batch groups context head"],
        values: Float[Tensor, "batch groups context head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads time head"]:
        """As in ``AttentionMask.attend``."""
        return F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=self.table,
            dropout_p=dropout,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )

    def tabulate(self, time: int, context: int, device: torch.device) -> Bool[Tensor, "*rows time context"]:
        """As in ``AttentionMask``."""
        return self.table

    def of_row(self, row: int) -> DenseMask:
        """As in ``AttentionMask``."""
        return self if self.table.ndim == 2 else DenseMask(self.table[row : row + 1])


@dataclass(frozen=True)
class BlockMask(AttentionMask):
    """A FlexAttention block mask; it knows no dropout.

    Args:
        block_mask: Which blocks of the score table have to be computed, and the rule inside them.
        kernel: ``flex_attention``, compiled or not.
    """

    block_mask: Any
    kernel: Callable[..., Any]

    def attend(
        self,
        queries: Float[Tensor, "batch heads time head"],
        keys: Float[Tensor, "batch groups context head"],
        values: Float[Tensor, "batch groups context head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads time head"]:
        """As in ``AttentionMask.attend``."""
        assert dropout == 0.0, "FlexAttention drops no attention weights"
        mixed: Tensor = self.kernel(
            queries, keys, values, block_mask=self.block_mask, enable_gqa=queries.shape[1] != keys.shape[1]
        )
        return mixed


def build_mask(
    time: int,
    context: int,
    *,
    device: torch.device,
    window: int | None = None,
    documents: Int[Tensor, "batch context"] | None = None,
    opens: Opens = False,
    dropout: float = 0.0,
    as_table: bool = False,
) -> AttentionMask:
    """The cheapest mask that obeys the rule on ``device``.

    Args:
        time: Number of new positions, the last of the context.
        context: Number of all positions.
        device: Where attention will run.
        window: Reach of a position, itself included: it sees what is less than that far from it; None = everything.
        documents: Document number of every position of the context; None = one document.
        opens: Which positions are seen by those before them too. A flag costs no table where nothing else narrows.
        dropout: Probability of dropping an attention weight.
        as_table: Whether it has to be one that can be tabulated.
    """
    narrowed = documents is not None or (window is not None and window < context)
    if not narrowed and opens is True:
        return FullMask()
    if not narrowed and opens is False and time in (1, context):
        return CausalMask()
    # Behind a filled cache there are few new rows: a table is small, and a block mask would be compiled anew for
    # every length.
    if device.type == "cuda" and dropout == 0.0 and time == context and not as_table:
        kernel = _compiled_kernel()
        return build_block_mask(time, device=device, window=window, documents=documents, opens=opens, kernel=kernel)
    return build_dense_mask(time, context, device=device, window=window, documents=documents, opens=opens)


def build_dense_mask(
    time: int,
    context: int,
    *,
    device: torch.device,
    window: int | None = None,
    documents: Int[Tensor, "batch context"] | None = None,
    opens: Opens = False,
) -> DenseMask:
    """The rule as a table; arguments as in ``build_mask``."""
    start = context - time
    everything = torch.ones(time, context, dtype=torch.bool, device=device)
    table = everything if opens is True else everything.tril(start)
    if isinstance(opens, Tensor):
        table = table | opens[:, None, :]  # B T context
    if window is not None:
        # What is later matters only where something opens.
        table = table & everything.triu(start - window + 1).tril(start + window - 1)
    if documents is not None:
        table = table & (documents[:, start:, None] == documents[:, None, :])
    return DenseMask(table if table.ndim == 2 else table[:, None])


def build_block_mask(
    time: int,
    *,
    device: torch.device,
    kernel: Callable[..., Any],
    window: int | None = None,
    documents: Int[Tensor, "batch context"] | None = None,
    opens: Opens = False,
) -> BlockMask:
    """The rule as a FlexAttention block mask, for a whole context at once; arguments as in ``build_mask``."""
    from torch.nn.attention.flex_attention import and_masks, create_block_mask

    # Lambdas, not functions: FlexAttention counts their arguments, which a wrapper around a function would hide.
    rules: list[Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = []
    if isinstance(opens, Tensor):
        seen_by_all = opens
        rules.append(lambda row, _head, query, key: (query >= key) | seen_by_all[row, key])
    elif not opens:
        rules.append(lambda _row, _head, query, key: query >= key)
    if window is not None:
        reach = window
        rules.append(lambda _row, _head, query, key: (query - key).abs() < reach)
    if documents is not None:
        numbers = documents
        rules.append(lambda row, _head, query, key: numbers[row, query] == numbers[row, key])
    by_row = [part for part in (documents, opens) if isinstance(part, Tensor)]
    rows = by_row[0].shape[0] if by_row else None
    return BlockMask(create_block_mask(and_masks(*rules), rows, None, time, time, device=str(device)), kernel)


@functools.cache
def _compiled_kernel() -> Callable[..., Any]:
    # Not compiled, FlexAttention computes and stores every score. Inside a compiled model this inlines.
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)

"""Next-token prediction: position t sees tokens 0..t and predicts token t + 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gpt_lightning.batch import Batch
from gpt_lightning.objectives.base import Context
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption, count_targets
from gpt_lightning.objectives.draws import Draws

if TYPE_CHECKING:
    from torchmetrics import Metric


class CausalLM(Corruption):
    """Cross-entropy of the next token in nats, a weighted mean over the positions; computed in float32 or wider.

    With ``batch.documents``, attention stays inside documents. Which positions count at their borders is said by
    ``batch.weights``, since only the data know where a document ends; without weights, none does.

    Args:
        chunk_size: Positions (of all rows together) whose logits exist at a time; they are computed a second time in
            the backward pass. Saves most of the memory of a large vocabulary for about a third more work in the head.
            None = all logits at once.

    Raises:
        ConfigError: ``chunk_size`` is not positive.
    """

    is_causal_lm = True

    def __init__(self, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)

    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """Nothing changes; draws nothing."""
        tokens, documents = batch.tokens.long(), batch.documents
        return Corrupted(
            tokens=tokens[:, :-1],
            targets=tokens[:, 1:],
            weights=count_targets(batch),
            documents=None if documents is None else documents[:, :-1],
        )

    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """The first token, and all targets."""
        return Batch(torch.cat([corrupted.tokens[:, :1], corrupted.targets], dim=1))

    def measures(self, context: Context) -> dict[str, Metric]:
        """The loss, its exponential, and bits per byte where the bytes of the tokens are known."""
        from gpt_lightning.metrics.language import Perplexity, TokenLoss

        return {"loss": TokenLoss(), "perplexity": Perplexity(), **measure_text(context)}


def measure_text(context: Context) -> dict[str, Metric]:
    """What of a causal loss compares over tokenizers."""
    from gpt_lightning.metrics.language import BitsPerByte

    return {} if context.token_bytes is None else {"bits_per_byte": BitsPerByte(context.token_bytes)}

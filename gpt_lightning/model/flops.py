"""What one token costs, in closed form; the yardstick of model-FLOPs utilisation.

Counted as in Chowdhery et al. 2022 (PaLM, appendix B) and everywhere since: 2 operations per multiplied weight in
the forward pass and 4 in the backward pass, and attention over the whole context, although a causal kernel computes
half of it. Embedding look-ups, norms and activations are not counted; the head is, because it is a product.
"""

from __future__ import annotations

from gpt_lightning.model.config import GPTConfig


def count_matmul_weights(config: GPTConfig) -> int:
    """Weights that every token is multiplied with: 12 n_embd^2 per block and the head."""
    vocab_size, _ = config.data_sizes()
    return 12 * config.n_layer * config.n_embd**2 + vocab_size * config.n_embd


def count_forward_flops(config: GPTConfig, context: int | None = None) -> int:
    """Operations per token of a forward pass over ``context`` tokens (default: ``block_size``)."""
    _, block_size = config.data_sizes()
    length = block_size if context is None else context
    return 2 * count_matmul_weights(config) + 4 * config.n_layer * config.n_embd * length


def count_training_flops(config: GPTConfig, context: int | None = None) -> int:
    """Operations per token of forward and backward: 6 per weight + 12 x n_layer x n_embd x context."""
    return 3 * count_forward_flops(config, context)

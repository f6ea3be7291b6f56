"""What one token costs, in closed form; the yardstick of model-FLOPs utilisation.

Counted as in Chowdhery et al. 2022 (PaLM, appendix B) and everywhere since: 2 operations per multiplied weight in
the forward pass and 4 in the backward pass, and attention over the whole context, although a causal kernel computes
half of it. Embedding look-ups, norms and activations are not counted; the head is, because it is a product. Work that
helps nobody is not counted either: rows that fill up the vocabulary, and positions outside a layer's window.
"""

from __future__ import annotations

from gpt_lightning.model.config import GPTConfig, count_block_weights


def count_matmul_weights(config: GPTConfig) -> int:
    """Weights that every token is multiplied with: the matrices of the blocks (12 n_embd^2 each in GPT-2) and the head.

    A tied head is a product like any other, although its weights are the embedding's.
    """
    vocab_size, _ = config.data_sizes()
    return config.n_layer * count_block_weights(config) + vocab_size * config.n_embd


def count_forward_flops(config: GPTConfig, context: int | None = None) -> int:
    """Operations per token of a forward pass over ``context`` tokens (default: ``block_size``)."""
    _, block_size = config.data_sizes()
    length = block_size if context is None else context
    seen = sum(min(length, config.window_of(layer) or length) for layer in range(config.n_layer))
    return 2 * count_matmul_weights(config) + 4 * config.query_size * seen


def count_training_flops(config: GPTConfig, context: int | None = None) -> int:
    """Operations per token of forward and backward: 6 per weight + 12 x n_layer x query_size x context."""
    return 3 * count_forward_flops(config, context)

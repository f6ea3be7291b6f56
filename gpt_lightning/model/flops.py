"""What one token costs, in closed form; the yardstick of model-FLOPs utilisation.

Counted as in Chowdhery et al. 2022 (PaLM, appendix B) and everywhere since: 2 operations per multiplied weight in
the forward pass and 4 in the backward pass, and attention over the whole context, although a causal kernel computes
half of it. Embedding look-ups, norms and activations are not counted; the head is, because it is a product. Work that
helps nobody is not counted either: rows that fill up the vocabulary, and positions outside a layer's window.

How fast this machine multiplies matrices: the measured ceiling that model-FLOPs utilisation is a share of.

A data sheet's figure is reached by no program, and for a shared or throttled machine there is none.
"""

from __future__ import annotations

import time

import torch

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


_WIDTHS = {"cuda": 8192}
_WIDTH = 2048
_SMALL_WIDTH = 256
_AT_A_TIME = {"cuda": 10}
"""Products between two looks at the clock: launching one takes longer on a GPU than looking at the clock twice."""


@torch.no_grad()
def measure_matrix_peak(
    device: torch.device, dtype: torch.dtype = torch.float32, *, seconds: float = 0.5, width: int | None = None
) -> float:
    """Operations per second of the fastest product of two square matrices, with the process's own threads.

    Several sizes take turns: on one machine the largest is the fastest, on another it leaves the caches.

    Args:
        device: Where to multiply.
        dtype: Of both factors and the result.
        seconds: How long to try; each size is tried three times at least after once to warm up.
        width: Rows and columns of each factor; None = several, those left out of which a product would take more than
            an eighth of ``seconds``.
    """
    products = _AT_A_TIME.get(device.type, 1)
    squares = [_Product(width, device, dtype)] if width else _choose_squares(device, dtype, seconds)
    for square in squares:
        square.time(products)
    best, rounds, end = 0.0, 0, time.perf_counter() + seconds
    while rounds < 3 or time.perf_counter() < end:
        best = max(best, *(2 * square.width**3 * products / square.time(products) for square in squares), 0.0)
        rounds += 1
    return best


def _choose_squares(device: torch.device, dtype: torch.dtype, seconds: float) -> list[_Product]:
    """Of the device's usual width; on a CPU of every power of two up to it that is expected to end in time.

    A CPU without instructions for bfloat16 computes it a thousand times slower: minutes for one product of 2048 rows.
    """
    if device.type != "cpu":
        return [_Product(_WIDTHS.get(device.type, _WIDTH), device, dtype)]
    squares = [_Product(_SMALL_WIDTH, device, dtype)]
    # Eight times the last one's time is the next one's.
    while (width := 2 * squares[-1].width) <= _WIDTH and 8 * 8 * squares[-1].time(1) < seconds:
        squares.append(_Product(width, device, dtype))
    return squares


class _Product:
    """Two square factors and the place of their product."""

    def __init__(self, width: int, device: torch.device, dtype: torch.dtype) -> None:
        self.width = width
        # The values do not matter, but zeros would draw less power than weights do.
        # A generator of their own: a run that measures must draw what one that does not would.
        generator = torch.Generator(device=device).manual_seed(0)
        self._left, self._right = (
            torch.randn(width, width, device=device, generator=generator).to(dtype) for _ in range(2)
        )
        self._result = torch.empty_like(self._left)

    def time(self, products: int) -> float:
        """Seconds of some products, from an idle device to an idle device."""
        _wait(self._left.device)
        start = time.perf_counter()
        for _ in range(products):
            torch.mm(self._left, self._right, out=self._result)
        _wait(self._left.device)
        return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def choose_factor_type(precision: str) -> torch.dtype:
    """Type of the factors of a product under a precision of Lightning's Trainer ("32-true", "bf16-mixed", ...)."""
    types = {"64": torch.float64, "32": torch.float32, "16": torch.float16}
    return types.get(precision.partition("-")[0], torch.bfloat16)

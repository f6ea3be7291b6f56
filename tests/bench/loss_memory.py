"""Peak memory and time of the loss over a large vocabulary, all logits at once or in pieces. Prints JSON.

One variant per process, because the peak of a process never falls.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.losses import compute_losses
from tests.bench.publish import SEED

VOCAB_SIZE, WIDTH = 50257, 768
VARIANTS = ["whole", "chunk 1024", "chunk 256", "torch cross_entropy", "torch cross_entropy, compiled"]
if hasattr(F, "linear_cross_entropy"):
    VARIANTS.append("torch linear_cross_entropy")


def peak_bytes() -> int:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _compare(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), targets)


def measure_loss(variant: str, positions: int, *, vocab_size: int = VOCAB_SIZE, width: int = WIDTH) -> dict[str, float]:
    """Bytes beyond those before the loss, seconds of the second of two passes, and the loss."""
    config = GPTConfig(n_layer=1, n_head=1, n_embd=width, block_size=positions, vocab_size=vocab_size)
    model = GPT(config, torch.Generator().manual_seed(SEED))
    # Another seed than the weights': with the same one every target would be its position's own embedding.
    generator = torch.Generator().manual_seed(SEED + 1)
    hidden = torch.randn(1, positions, width, generator=generator, requires_grad=True)
    targets = torch.arange(positions)[None] % vocab_size
    weight = model.token_embedding.weight
    weight.grad = torch.zeros_like(weight)  # there in any case
    before, seconds, loss = peak_bytes(), 0.0, torch.zeros(())
    for _ in range(2):
        start = time.perf_counter()
        if variant == "torch linear_cross_entropy":
            loss = F.linear_cross_entropy(hidden[0], weight, targets[0])
        elif variant.startswith("torch"):
            compare = torch.compile(_compare) if variant.endswith("compiled") else _compare
            loss = compare(hidden[0], weight, targets[0])
        else:
            chunk_size = int(variant.split()[1]) if variant.startswith("chunk") else None
            loss = compute_losses(model, hidden, targets, chunk_size).mean()
        torch.autograd.backward(loss)
        seconds = time.perf_counter() - start
    return {"bytes": float(peak_bytes() - before), "seconds": seconds, "loss": loss.item()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("positions", type=int)
    chosen = parser.parse_args()
    sys.stdout.write(json.dumps(measure_loss(chosen.variant, chosen.positions)) + "\n")

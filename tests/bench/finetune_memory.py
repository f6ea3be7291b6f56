"""Memory of fine-tuning a decoder of GPT-2's 124M shape: the process's peak in two steps, and what a checkpoint takes.

    python -m tests.bench.finetune_memory full | lora | int8

One process for each, of one thread: gradients, AdamW's state and activations of 2 x 128 tokens. The peak is resident
memory above what the process had before the model was made. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
import torch

from gpt_lightning.adapters.base import trained_names
from gpt_lightning.adapters.int8 import Int8Base
from gpt_lightning.adapters.lora import LoRA
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

KINDS = {"full": None, "lora": LoRA(r=8), "int8": Int8Base(LoRA(r=8))}


class Peak(threading.Thread):
    """Looks at the process's memory a hundred times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.process, self.done = psutil.Process(), threading.Event()
        self.least = self.most = self.process.memory_info().rss

    def run(self) -> None:
        """Until ``done``."""
        while not self.done.wait(0.01):
            self.most = max(self.most, self.process.memory_info().rss)


def measure(kind: str) -> dict[str, Any]:
    """Peak and resting memory and the checkpoint's size, in bytes."""
    GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, vocab_size=8, block_size=8))(torch.zeros(1, 4, dtype=torch.long))
    peak = Peak()
    model = GPT(GPTConfig(vocab_size=50257, block_size=1024), torch.Generator().manual_seed(0))
    adaptation = KINDS[kind]
    if adaptation is not None:
        adaptation.attach(model, torch.Generator().manual_seed(0))
    resting = peak.process.memory_info().rss
    peak.start()
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-4)
    tokens = torch.randint(50257, (2, 129), generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        logits = model.logits(model(tokens[:, :-1]))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        del logits
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    peak.done.set()
    peak.join()
    state = model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        torch.save({"state": {name: state[name] for name in trained_names(model)}, "o": optimizer.state_dict()}, path)
        size = path.stat().st_size
    return {"kind": kind, "peak": peak.most - peak.least, "resting": resting - peak.least, "checkpoint": size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    sys.stdout.write(json.dumps(measure(parser.parse_args().kind)) + "\n")

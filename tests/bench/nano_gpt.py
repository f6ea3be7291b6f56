"""A GPT-2 and a training loop written by us in the manner of karpathy/nanoGPT (model.py, train.py): the yardstick.

What is kept of its manner: exact GELU, learned positions, a tied head, the loss inside the model's forward; windows
drawn one by one at random from a uint16 array and stacked; the next batch fetched before the backward pass; gradients
clipped at 1.0, AdamW with two groups, fused only on CUDA; bfloat16 by autocast on CUDA; the loss read every 10 steps.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_lightning.model.config import GPTConfig


class Attention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.n_head, self.n_embd = config.n_head, config.n_embd

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        q, k, v = (part.view(b, t, self.n_head, c // self.n_head).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=True)
        result: Tensor = self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))
        return result


class Layer(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(config.n_embd), nn.LayerNorm(config.n_embd)
        self.attn = Attention(config)
        self.c_fc, self.gelu = nn.Linear(config.n_embd, 4 * config.n_embd), nn.GELU()
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        result: Tensor = x + self.c_proj(self.gelu(self.c_fc(self.ln_2(x))))
        return result


class NanoGPT(nn.Module):
    """Forward gives (logits, loss)."""

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        _, positions = config.data_sizes()
        self.wte, self.wpe = nn.Embedding(vocab_size, config.n_embd), nn.Embedding(positions, config.n_embd)
        self.h = nn.ModuleList(Layer(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, vocab_size, bias=False)
        self.apply(self._init_weights)
        for name, weight in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.n_layer))
        self.wte.weight = self.lm_head.weight

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        pos = torch.arange(idx.size(1), dtype=torch.long, device=idx.device)
        x = self.wte(idx) + self.wpe(pos)
        for layer in self.h:
            x = layer(x)
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


class NanoLoop:
    """One iteration of its training loop per ``step``, for any model whose forward gives (logits, loss).

    Args:
        model: On its device.
        tokens: The training split.
        block_size: Positions per window.
        batch_size: Windows per micro-batch.
        accumulate: Micro-batches per step.
        fused: Of AdamW; None = as nanoGPT chooses, on CUDA only.
        compiled: Whether to ``torch.compile`` the model.
        warmup: Steps over which the learning rate rises.
    """

    def __init__(
        self,
        model: nn.Module,
        tokens: np.ndarray[Any, Any],
        *,
        block_size: int,
        batch_size: int,
        accumulate: int = 1,
        fused: bool | None = None,
        compiled: bool = False,
        warmup: int = 0,
    ) -> None:
        weights = list(model.parameters())
        self.device = weights[0].device
        on_cuda = self.device.type == "cuda"
        groups = [
            {"params": [weight for weight in weights if weight.dim() >= 2], "weight_decay": 0.1},
            {"params": [weight for weight in weights if weight.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=1e-3, betas=(0.9, 0.99), fused=on_cuda if fused is None else fused
        )
        self.context = torch.autocast("cuda", torch.bfloat16) if on_cuda else nullcontext()
        self.weights, self.tokens, self.block_size, self.batch_size = weights, tokens, block_size, batch_size
        self.accumulate, self.warmup, self.count = accumulate, warmup, 0
        self.model: Any = torch.compile(model) if compiled else model
        self.losses: list[float] = []
        self.batch = self.draw()

    def draw(self) -> tuple[Tensor, Tensor]:
        """As its ``get_batch``."""
        starts = torch.randint(len(self.tokens) - self.block_size, (self.batch_size,))
        x, y = (
            torch.stack(
                [torch.from_numpy(self.tokens[i + k : i + k + self.block_size].astype(np.int64)) for i in starts]
            )
            for k in (0, 1)
        )
        if self.device.type == "cuda":
            x, y = (part.pin_memory().to(self.device, non_blocking=True) for part in (x, y))
        return x, y

    def learning_rate(self) -> float:
        """As its ``get_lr``: up to 1e-3, then half a cosine to 1e-4 at step 2000."""
        if self.count < self.warmup:
            return 1e-3 * (self.count + 1) / (self.warmup + 1)
        share = min((self.count - self.warmup) / (2000 - self.warmup), 1)
        return 1e-4 + 0.45e-3 * (1 + math.cos(math.pi * share))

    def step(self) -> None:
        """Learning rate, gradients, clipping, update; the loss every 10 steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        for _ in range(self.accumulate):
            with self.context:
                _, loss = self.model(*self.batch)
                loss = loss / self.accumulate
            self.batch = self.draw()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.count % 10 == 0:
            self.losses.append(loss.item() * self.accumulate)
        self.count += 1

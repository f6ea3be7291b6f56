"""The decoder: token ids in, hidden states and logits out. Plain PyTorch, no training logic.

    tokens ──> token + position embeddings ──> block x n_layer ──> final norm ──> hidden ──> logits (tied head)
               gpt.py                          block.py                                      GPT.logits
                                               ├─ attention.py (with an optional cache.py)
                                               └─ MLP

``config`` is the frozen record of the sizes, ``flops`` counts what one token costs. The hidden states and the logits
are two calls, because an objective may not need the logits of every position and the logits are the largest tensor
of a step.

>>> import torch
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> config = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, vocab_size=11)
>>> model = GPT(config, torch.Generator().manual_seed(0))
>>> hidden = model(torch.tensor([[1, 2, 3]]))
>>> tuple(model.logits(hidden).shape), sum(p.numel() for p in model.parameters()) == config.num_parameters
((1, 3, 11), True)
"""

"""The decoder: token ids in, hidden states and logits out. Plain PyTorch, no training logic.

    tokens ──> token embedding (+ positions ...) ──> block x n_layer ──> final norm ──> hidden ──> logits
               gpt.py, embeddings.py                 block.py            norm.py                   GPT.logits
                                                     ├─ attention.py   positions.py (RoPE), cache.py,
                                                     │                 mask.py (who sees whom, and the kernel)
                                                     └─ mlp.py

``config`` is the frozen record of sizes and choices, GPT-2's by default; ``presets`` are whole records under a name
(``gpt2`` ..., ``modern-nano`` ...); ``rope`` stretches rotary positions; ``ahead`` lets texts be read behind something;
``flops`` counts what one token costs, ``peak`` measures what the machine could do; ``tensor_parallel`` cuts the blocks
over several devices. The hidden states and the logits are two calls, because an objective may not need the logits of
every position and the logits are the largest tensor of a step.

>>> import torch
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> config = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, vocab_size=11)
>>> model = GPT(config, torch.Generator().manual_seed(0))
>>> hidden = model(torch.tensor([[1, 2, 3]]))
>>> tuple(model.logits(hidden).shape), sum(p.numel() for p in model.parameters()) == config.num_parameters
((1, 3, 11), True)

Several documents in one row do not see each other when their numbers are given:

>>> hidden = model(torch.tensor([[1, 2, 3, 4]]), documents=torch.tensor([[0, 0, 1, 1]]))
>>> torch.allclose(hidden[:, 2:], model(torch.tensor([[3, 4]])), atol=1e-6)
True
"""

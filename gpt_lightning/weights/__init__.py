"""Weights under other projects' names, in and out. The only room where those names appear.

``gpt2`` for the released GPT-2 checkpoints, ``llama`` for Llama and Qwen3; ``keys`` is what both check.

>>> import torch
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> from gpt_lightning.weights.gpt2 import from_gpt2, to_gpt2
>>> config = GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=4, vocab_size=5)
>>> model = GPT(config)
>>> theirs = to_gpt2(model.state_dict(), config)
>>> tuple(theirs["transformer.h.0.attn.c_attn.weight"].shape)
(8, 24)
>>> _ = model.load_state_dict(from_gpt2(theirs, config))
"""

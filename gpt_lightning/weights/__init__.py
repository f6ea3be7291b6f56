"""Weights in and out: a model from a checkpoint alone, and other projects' names, which appear only in this room.

``loading`` makes a model with its tokenizer from a checkpoint; ``gpt2`` has the names of the released GPT-2
checkpoints, ``llama`` those of Llama and Qwen3, and ``keys`` is what both check.

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

"""From a prompt to text: choosing tokens, decoding with a cache, and turning ids into characters as they come.

    text.generate_text ──> decode.generate ──> sampling.choose_tokens
    (characters)           (token ids)         (logits -> one id)

>>> import torch
>>> from gpt_lightning.generation.decode import generate
>>> from gpt_lightning.generation.sampling import Sampling
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4, vocab_size=5))
>>> len(list(generate(model, [1, 2], max_tokens=7, sampling=Sampling(temperature=0.0))))
7
"""

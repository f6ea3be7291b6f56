"""From a prompt to text: one engine for single texts, files of prompts, conversations, samples and scores.

    command . chat_command          what is typed
    batch_files . chat              a file of prompts, by one process or several; a conversation (data.layouts)
    text.generate_text              one text as it comes
    engine <── requests             many texts at once: slots, continuous batching
      ├─ reading                prompts into slots, in pieces that nobody waits for; prompt_cache: what was read before
      ├─ sequences                  one of them: tokens, characters (text), stop strings, log-probabilities
      ├─ sampling                   logits -> one id; draws as a function of seed and position
      └─ lookup                     guesses copied from the context
    beams                           a search instead of draws
    packing                         weights laid out for decoding, in float32, float16 or int8

>>> import torch
>>> from gpt_lightning.generation.engine import Engine
>>> from gpt_lightning.generation.requests import Request
>>> from gpt_lightning.generation.sampling import Sampling
>>> from gpt_lightning.model.config import GPTConfig
>>> from gpt_lightning.model.gpt import GPT
>>> model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4, vocab_size=5))
>>> asked = [Request([1, 2], max_tokens=7, sampling=Sampling(temperature=0.0)), Request([3], max_tokens=2, n=2, seed=1)]
>>> [[len(completion.ids) for completion in answers] for answers in Engine(model, slots=2).generate(asked)]
[[7], [2, 2]]
"""

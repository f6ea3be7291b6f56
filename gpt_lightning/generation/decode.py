"""Decoding one sequence, token by token, with cached keys and values.

A model has ``block_size`` learned positions. When they are used up, the window slides: the last half of the context
is encoded anew from position 0 and decoding goes on behind it. Sliding by one token at a time would keep more
context, but would cost a whole encoding per token. A prompt longer than ``block_size`` is read from its last
``block_size`` tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.sampling import Sampling, choose_tokens
from gpt_lightning.model.cache import KeyValueCache
from gpt_lightning.model.gpt import GPT


def generate(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator | None = None,
    stop_id: int | None = None,
) -> Iterator[int]:
    """Token ids that continue the prompt, as they are decoded.

    The model is in evaluation mode while the iterator runs, and back in its former mode afterwards.

    Args:
        model: The decoder.
        prompt_ids: At least one token.
        max_tokens: Most tokens to decode, 0 or more.
        sampling: How each token is chosen.
        generator: Source of the draws; None = torch's global generator.
        stop_id: End when this token is chosen; it is not part of the result. None = only ``max_tokens`` ends.

    Raises:
        ConfigError: ``max_tokens`` is negative.
        DataError: The prompt is empty or has an id outside the vocabulary.
        CheckpointError: The model's logits are not finite.
    """
    context = [int(token) for token in prompt_ids]
    vocab_size, _ = model.config.data_sizes()
    if max_tokens < 0:
        raise ConfigError("max_tokens is negative", got=max_tokens, allowed="0 or more")
    if not context:
        raise DataError("the prompt has no token", got=context, fix="Begin with the end-of-text token.")
    if not 0 <= min(context) <= max(context) < vocab_size:
        wrong = next(token for token in context if not 0 <= token < vocab_size)
        raise DataError(
            "the prompt has a token that the model does not know",
            got=wrong,
            allowed=f"ids 0 to {vocab_size - 1}",
            fix="Use the tokenizer the model was trained with.",
        )
    return _decode(model, context, max_tokens, sampling, generator, stop_id)


def _decode(
    model: GPT,
    context: list[int],
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator | None,
    stop_id: int | None,
) -> Iterator[int]:
    block_size = model.block_size
    cache = KeyValueCache(model.config.n_layer, min(block_size, len(context) + max_tokens))
    pending = context[-block_size:]  # tokens that the cache does not hold yet
    was_training = model.training
    model.eval()
    try:
        for _ in range(max_tokens):
            if cache.length + len(pending) > block_size:
                cache.clear()
                pending = context[-max(1, block_size // 2) :]
            token = int(choose_tokens(_encode(model, pending, cache), sampling, generator))
            if token == stop_id:
                return
            context.append(token)
            pending = [token]
            yield token
    finally:
        model.train(was_training)


@torch.inference_mode()
def _encode(model: GPT, tokens: list[int], cache: KeyValueCache) -> Float[Tensor, "1 vocab"]:
    """Logits behind the last of ``tokens``."""
    device = model.token_embedding.weight.device
    hidden: Tensor = model(torch.tensor([tokens], device=device), cache)
    return model.logits(hidden[:, -1])

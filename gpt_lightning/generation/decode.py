"""Decoding one sequence of ids, token by token: the engine with a single slot.

A model has ``block_size`` positions. When they are used up, the window slides: the last half of the context is encoded
anew from position 0 and decoding goes on behind it. Sliding by one token at a time would keep more context, but would
cost a whole encoding per token. A prompt longer than ``block_size`` is read from its last ``block_size`` tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from gpt_lightning.generation.engine import Engine, check_request
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.generation.text import StreamDecoder, TextTokenizer, encode_prompt
from gpt_lightning.model.gpt import GPT


def generate(
    model: GPT,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator | None = None,
    stop_ids: Sequence[int] = (),
) -> Iterator[int]:
    """Token ids that continue the prompt, as they are decoded.

    The model is in evaluation mode while the iterator runs, and back in its former mode afterwards.

    Args:
        model: The decoder.
        prompt_ids: At least one token.
        max_tokens: Most tokens to decode, 0 or more.
        sampling: How each token is chosen.
        generator: Source of the seed that fixes the draws (one number is taken); None = torch's global generator.
        stop_ids: End when one of these tokens is chosen; it is not part of the result. None of them = only
            ``max_tokens`` ends.

    Raises:
        ConfigError: ``max_tokens`` is negative.
        DataError: The prompt is empty or has an id outside the vocabulary.
        CheckpointError: The model's logits are not finite.
    """
    request = Request(
        prompt=[int(token) for token in prompt_ids],
        max_tokens=max_tokens,
        sampling=sampling,
        seed=draw_seed(generator),
        stop_ids=tuple(stop_ids),
    )
    check_request(request, model, model.block_size, None)
    return _decode(model, request)


def draw_seed(generator: torch.Generator | None) -> int:
    """A request's seed out of a generator, which is moved on by one number."""
    device = None if generator is None else generator.device
    return int(torch.randint(1 << 62, (1,), generator=generator, device=device))


def _decode(model: GPT, request: Request) -> Iterator[int]:
    # No more memory than the text can need.
    capacity = min(model.block_size, len(request.prompt) + request.max_tokens)
    with evaluating(model):
        for event in Engine(model, slots=1, capacity=capacity).stream(request):
            yield from event.ids


@contextmanager
def evaluating(model: GPT) -> Iterator[None]:
    """The model in evaluation mode, and back in its former mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def generate_text(
    model: GPT,
    tokenizer: TextTokenizer,
    prompt: str,
    *,
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> Iterator[str]:
    """The continuation of ``prompt`` (without the prompt) in pieces of whole characters, as they are decoded.

    Ends after ``max_tokens`` tokens or at the end of the document. A prompt is the beginning of a document, as in
    ``encode_prompt``. Other arguments and errors as in ``generate``.
    """
    ids = encode_prompt(tokenizer, prompt)
    decoder = StreamDecoder(tokenizer)
    tokens = generate(
        model, ids, max_tokens=max_tokens, sampling=sampling, generator=generator, stop_ids=tokenizer.end_ids
    )
    for token in tokens:
        piece = decoder.feed(token)
        if piece:
            yield piece
    rest = decoder.flush()
    if rest:
        yield rest

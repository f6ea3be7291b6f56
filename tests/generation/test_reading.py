"""Prompts in pieces: borders, the order of reading, the cache; what is told of a prompt itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.beams import search_beams
from gpt_lightning.generation.embedding import build_embedding_request
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import pack
from gpt_lightning.generation.prompt_cache import PromptCache, name_pieces
from gpt_lightning.generation.requests import Completion, Pooling, Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.attention_mask import Sight
from gpt_lightning.model.gpt import GPT
from tests.model.options import BLOCK, RECIPES, build_stirred

_WILD = Sampling(temperature=1.5)
_PIECE = 4


def engine(model: GPT, *, slots: int = 2, cache: int = 0, piece: int | None = _PIECE) -> Engine:
    return Engine(model, slots=slots, piece_tokens=piece, prompt_cache_bytes=cache)


def requests() -> list[Request]:
    """Prompts of several lengths that begin alike, at and beside the borders; reports; continuations; sliding."""
    shared = [3, 1, 4, 1, 5, 9, 2, 6, 5]
    lengths = (1, 3, 4, 5, 8, 9)
    plain = [Request(shared[:n], max_tokens=3, sampling=_WILD, seed=n, logprobs=2, stop_ids=()) for n in lengths]
    return [
        *plain,
        replace(plain[4], n=3, max_tokens=2),
        replace(plain[5], prompt_logprobs=1, embed="mean", max_tokens=0),
        replace(plain[4], prompt_logprobs=0, n=2),
        Request([7] * 20, max_tokens=4, sampling=_WILD, logprobs=0, stop_ids=()),
    ]


@pytest.mark.parametrize("name", ["everything", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_bits_do_not_depend_on_load_or_cache(name: str) -> None:
    model = pack(build_stirred(**RECIPES[name]))
    asked = requests()
    expected = [engine(model, slots=1).generate([each])[0] for each in asked]
    for slots, order in ((1, 1), (3, -1), (9, 1)):
        warm = engine(model, slots=slots, cache=1 << 20)
        for _ in range(2):
            assert warm.generate(asked[::order])[::order] == expected
        assert warm.reader.tokens_found > 0
    whole = [engine(model, piece=None).generate([each])[0] for each in asked]
    for pieces, at_once in zip(expected, whole, strict=True):
        assert [each.ids for each in pieces] == [each.ids for each in at_once]


def read_steps(asked: Sequence[Request]) -> list[tuple[int, set[int]]]:
    """Per step: prompt tokens read, and which tickets had news."""
    running = engine(build_stirred(), slots=len(asked))
    for each in asked:
        running.submit(each)
    steps = []
    while running.busy:
        before = running.reader.tokens_read
        told = {event.ticket for event in running.step()}
        steps.append((running.reader.tokens_read - before, told))
    return steps


def test_a_long_prompt_holds_nobody_up_and_ends_itself() -> None:
    long = Request([1] * (BLOCK - 1), max_tokens=1)
    short = [Request([2], max_tokens=3, stop_ids=()) for _ in range(4)]
    steps = read_steps([long, *short])
    assert max(read for read, _ in steps) <= _PIECE
    firsts = {ticket: next(n for n, (_, told) in enumerate(steps) if ticket in told) for ticket in range(5)}
    assert max(firsts[ticket] for ticket in range(1, 5)) <= 2
    assert firsts[0] <= 2 * (BLOCK // _PIECE)
    # The twin: read whole, the long prompt comes first and all at once.
    whole = Engine(build_stirred(), slots=2)
    whole.submit(long)
    whole.step()
    assert whole.reader.tokens_read == BLOCK - 1


def test_shared_beginnings_are_read_once() -> None:
    running = engine(build_stirred(), cache=1 << 20)
    first = Request(list(range(10)), max_tokens=1, stop_ids=())
    running.generate([first])
    assert (running.reader.tokens_read, running.reader.tokens_found) == (10, 0)
    running.generate([replace(first, prompt=[*range(8), 5, 5])])
    assert (running.reader.tokens_read, running.reader.tokens_found) == (12, 8)
    running.generate([replace(first, prompt=[9, *range(1, 10)])])
    assert running.reader.tokens_found == 8
    # A prompt that ends on a border still reads its last piece, for the logits behind it.
    running.generate([replace(first, prompt=list(range(8)))])
    assert running.reader.tokens_found == 12


def test_cancelled_reading_leaves_the_slot_and_nothing_else() -> None:
    model = build_stirred()
    running = engine(model, slots=1)
    ticket = running.submit(Request([1] * 10, max_tokens=1, n=2))
    running.step()
    running.cancel(ticket)
    assert not running.busy
    request = Request([2, 3], max_tokens=4, sampling=_WILD, stop_ids=(), logprobs=0)
    assert running.generate([request]) == engine(model, slots=1).generate([request])


def piece(size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.zeros(1, size, 1), torch.zeros(1, size, 1))]


def test_the_cache_gives_up_what_was_not_used_for_longest() -> None:
    cache = PromptCache(3 * 8)
    for key in (b"a", b"b", b"c"):
        cache.keep(key, piece(1))
    assert len(cache.find([b"a"])) == 1
    cache.keep(b"d", piece(1))
    assert (cache.find([b"b"]), len(cache.find([b"a"])), cache.size_bytes) == ([], 1, 24)
    cache.keep(b"e", piece(4))  # more than there is room for: nothing leaves for it
    assert cache.size_bytes == 24
    assert len(cache.find([b"a", b"e", b"d"])) == 1


def test_pieces_are_named_by_all_before_them_and_their_scope() -> None:
    keys = name_pieces([1, 2, 3, 4, 5], 2, "")
    assert len(keys) == 2
    assert name_pieces([1, 2, 3, 4], 2, "") == keys
    assert name_pieces([9, 2, 3, 4], 2, "")[1] != keys[1]
    assert name_pieces([1, 2, 3, 4], 2, "an adapter")[0] != keys[0]


def report(model: GPT, request: Request) -> Completion:
    return engine(model).generate([request])[0][0]


def test_a_prompt_s_own_log_probabilities_and_mean_are_those_of_one_pass() -> None:
    model, prompt = build_stirred(), [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    found = report(model, Request(prompt, max_tokens=0, prompt_logprobs=3, embed="mean", slide=False))
    with torch.no_grad():
        hidden = model(torch.tensor([prompt]))[0]
        logs = model.logits(hidden).log_softmax(-1)
    assert found.prompt_logprobs is not None
    assert [entry.token for entry in found.prompt_logprobs] == prompt[1:]
    wanted = [float(row[token]) for row, token in zip(logs, prompt[1:], strict=False)]
    assert [entry.logprob for entry in found.prompt_logprobs] == pytest.approx(wanted, abs=1e-5)
    assert [len(entry.top) for entry in found.prompt_logprobs] == [3] * 11
    assert found.embedding == pytest.approx(hidden.mean(0).tolist(), abs=1e-5)
    assert (found.ids, found.finish_reason) == ((), "length")


_OPEN, _BOTH = frozenset[Sight]({"open"}), frozenset[Sight]({"open", "causal"})


def continue_uncached(model: GPT, prompt: list[int], opens: int) -> tuple[list[int], list[float]]:
    """Five likeliest tokens and their log-probabilities, a whole forward pass each; the first positions open."""
    ids, logs = list(prompt), []
    with torch.no_grad():
        for _ in range(5):
            table = (torch.arange(len(ids)) < opens)[None]
            row = model.logits(model(torch.tensor([ids]), opens=table)[0, -1]).log_softmax(-1)
            ids.append(int(row.argmax()))
            logs.append(float(row.max()))
    return ids[len(prompt) :], logs


@pytest.mark.parametrize("name", ["gpt2", "everything"])
@pytest.mark.parametrize(("piece", "cache"), [(None, 0), (_PIECE, 1 << 20)])
def test_a_prefix_lm_reads_prompts_as_it_was_trained(name: str, piece: int | None, cache: int) -> None:
    model, prompt = build_stirred(**RECIPES[name]), [3, 1, 4, 1, 5, 9]
    asked = Request(prompt, max_tokens=5, sampling=Sampling(temperature=0.0), stop_ids=(), logprobs=0)

    def check(running: Engine, request: Request, wanted: tuple[list[int], list[float]]) -> None:
        (found,) = running.generate([request])[0]
        assert found.logprobs is not None
        assert list(found.ids) == wanted[0]
        assert [each.logprob for each in found.logprobs] == pytest.approx(wanted[1], abs=1e-4)

    causal, opened = (continue_uncached(model, prompt, opens) for opens in (0, len(prompt)))
    assert opened[1] != pytest.approx(causal[1], abs=1e-2)
    model.sights = _OPEN
    running = engine(model, piece=piece, cache=cache)
    for request in (asked, replace(asked, draft_tokens=2), asked):
        check(running, request, opened)
    (best,) = search_beams(model, prompt, beams=1, max_tokens=5)
    assert list(best.ids) == opened[0]
    assert best.score * 5 == pytest.approx(sum(opened[1]), abs=1e-4)
    model.sights = _BOTH  # a mixture with CausalLM goes on from prompts as that does
    check(engine(model, piece=piece, cache=cache), asked, causal)


@pytest.mark.parametrize("sights", [frozenset[Sight]({"causal"}), _OPEN, _BOTH])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_embeddings_see_what_the_model_learned_to_see(sights: frozenset[Sight], pooling: Pooling) -> None:
    model, prompt = build_stirred(), [3, 1, 4, 1, 5, 9, 2, 6, 5]
    model.sights = sights
    with torch.no_grad():
        causal, opened = (model(torch.tensor([prompt]), opens=opens)[0] for opens in (False, True))
    hidden = opened if "open" in sights else causal
    found = report(model, build_embedding_request(prompt, pooling)).embedding
    assert found == pytest.approx((hidden.mean(0) if pooling == "mean" else hidden[-1]).tolist(), abs=1e-5)
    assert not torch.allclose(causal.mean(0), opened.mean(0), atol=1e-3)


def test_a_prompt_s_own_log_probabilities_are_causal_even_of_a_prefix_lm() -> None:
    model, prompt = build_stirred(), [3, 1, 4, 1, 5, 9, 2, 6, 5]
    asked = Request(prompt, max_tokens=0, prompt_logprobs=0, slide=False)
    before = report(model, asked).prompt_logprobs
    model.sights = _OPEN
    assert report(model, asked).prompt_logprobs == before


@pytest.mark.parametrize(
    "settings", [{"piece_tokens": 0}, {"prompt_cache_bytes": 1}, {"piece_tokens": 1, "prompt_cache_bytes": -1}]
)
def test_lengths_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="prompts cannot be read so"):
        Engine(build_stirred(), **settings)

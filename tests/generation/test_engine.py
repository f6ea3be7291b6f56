"""The engine: company, order and admission change nothing about a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Completion, Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.gpt import GPT
from tests.model.options import BLOCK, RECIPES, build_stirred

_GREEDY = Sampling(temperature=0.0)
_WILD = Sampling(temperature=1.5, top_p=0.95)


class Letters:
    """Ids 0 to 9 are the letters a to j, 10 ends the text."""

    begin_id = eot_id = 10
    end_ids = (10,)

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return bytes(ord("a") + token for token in ids if token < 10)


def requests() -> list[Request]:
    """Of all kinds: lengths, settings, several continuations, sliding and not."""
    return [
        Request([3], max_tokens=9, sampling=_GREEDY),
        Request([1, 2, 3, 4, 5], max_tokens=20, sampling=_WILD, seed=1),
        Request([7, 7], max_tokens=0),
        Request(
            [9, 1], max_tokens=6, sampling=replace(_WILD, repetition_penalty=1.5, presence_penalty=0.3), seed=2, n=3
        ),
        Request(list(range(10)), max_tokens=9, sampling=_GREEDY, slide=False),
        Request(list(range(11)) * 2, max_tokens=5, sampling=_WILD, seed=3),
        Request([3, 4], max_tokens=1, sampling=_WILD, seed=5, n=2),
        Request([5], max_tokens=15, sampling=_GREEDY, draft_tokens=3),
        Request([2, 8], max_tokens=15, sampling=_WILD, seed=4, draft_tokens=3),
    ]


def alone(model: GPT, request: Request) -> list[Completion]:
    return Engine(model, Letters(), slots=1).generate([request])[0]


@pytest.mark.parametrize(("name", "slots"), [pytest.param("gpt2", 4, marks=pytest.mark.slow), ("everything", 2)])
def test_a_text_is_the_same_alone_and_in_a_busy_batch(name: str, slots: int) -> None:
    model = build_stirred(**RECIPES[name])
    asked = requests()
    expected = [alone(model, request) for request in asked]
    assert Engine(model, Letters(), slots=slots).generate(asked) == expected
    backwards = Engine(model, Letters(), slots=slots).generate(asked[::-1])
    assert backwards[::-1] == expected
    assert len({completion.ids for answers in expected for completion in answers}) >= 10


def plain(model: GPT, request: Request) -> list[int]:
    """Greedy decoding without any cache."""
    ids = list(request.prompt)
    with torch.no_grad():
        for _ in range(request.max_tokens):
            ids.append(int(model.logits(model(torch.tensor([ids])))[0, -1].argmax()))
            if ids[-1] == Letters.eot_id:
                return ids[len(request.prompt) : -1]
    return ids[len(request.prompt) :]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=name, marks=() if name in ("gpt2", "modern", "everything") else pytest.mark.slow)
        for name, changes in RECIPES.items()
    ],
)
def test_every_architecture_decodes_what_it_says_without_a_cache(changes: dict[str, Any]) -> None:
    model = build_stirred(**changes)
    asked = [
        Request([start, 3], max_tokens=BLOCK - 2, sampling=_GREEDY, draft_tokens=2 * (start % 2)) for start in range(3)
    ]
    found = [completion.ids for (completion,) in Engine(model, Letters(), slots=2).generate(asked)]
    assert found == [tuple(plain(model, request)) for request in asked]


def test_continuations_differ_and_the_first_is_that_of_a_single_one() -> None:
    model = build_stirred()
    many = alone(model, Request([4, 2], max_tokens=8, sampling=_WILD, seed=9, n=5))
    assert many[0] == alone(model, Request([4, 2], max_tokens=8, sampling=_WILD, seed=9))[0]
    assert len({completion.ids for completion in many}) > 2


def test_guesses_come_true_without_changing_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = build_stirred(), []
    advance = GPT.advance

    def counted(self: GPT, *inputs: Any) -> torch.Tensor:
        passes.append(len(inputs[0]))
        return advance(self, *inputs)

    monkeypatch.setattr(GPT, "advance", counted)
    model.position_embedding.weight.data.zero_()  # without positions a text soon runs in circles
    request = Request([3, 1, 3, 1], max_tokens=8, sampling=_GREEDY)
    plainly = alone(model, request)
    without = len(passes)
    assert alone(model, replace(request, draft_tokens=4)) == plainly
    assert len(passes) - without < without


def test_a_free_slot_takes_the_next_request_at_once() -> None:
    engine = Engine(build_stirred(), slots=2)
    long = engine.submit(Request([1], max_tokens=8, sampling=_GREEDY))
    short = [engine.submit(Request([2], max_tokens=2, sampling=_GREEDY)) for _ in range(3)]
    done: list[int] = []
    steps = 0
    while engine.busy:
        assert sum(engine.load) == 4 - len(done)
        done += [event.ticket for event in engine.step() if event.completion is not None]
        steps += 1
    assert done[-1] == long
    assert sorted(done) == sorted([long, *short])
    assert steps <= 8


def test_cancelled_requests_leave_without_a_word() -> None:
    engine = Engine(build_stirred(), slots=1)
    first = engine.submit(Request([1], max_tokens=8, sampling=_GREEDY))
    second = engine.submit(Request([2], max_tokens=3, sampling=_GREEDY))
    third = engine.submit(Request([3], max_tokens=3, sampling=_GREEDY))
    assert {event.ticket for event in engine.step()} == {first}
    engine.cancel(first)
    engine.cancel(third)
    told = set()
    while engine.busy:
        told |= {event.ticket for event in engine.step()}
    assert told == {second}


def test_requests_are_taken_from_an_iterator_only_when_there_is_room() -> None:
    taken: list[int] = []

    def source() -> Any:
        for number in range(6):
            taken.append(number)
            yield Request([number], max_tokens=1 + number, sampling=_GREEDY)

    answers = Engine(build_stirred(), slots=2).complete(source())
    assert next(answers)[0] == 0
    assert taken == [0, 1]
    assert sorted(number for number, _ in answers) == [1, 2, 3, 4, 5]


def test_events_join_to_the_completion() -> None:
    engine = Engine(build_stirred(), Letters(), slots=1)
    events = list(engine.stream(Request([3], max_tokens=12, sampling=_WILD, seed=6, stop_ids=())))
    completion = events[-1].completion
    assert completion is not None
    assert sum((event.ids for event in events), ()) == completion.ids
    assert "".join(event.text for event in events) == completion.text
    assert completion.text == Letters().decode_bytes(completion.ids).decode()
    assert not engine.busy
    assert all(event.completion is None for event in events[:-1])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_stop_strings_end_the_text_before_them(size: int) -> None:
    model = build_stirred()
    request = Request([3], max_tokens=12, sampling=_WILD, seed=6, stop_ids=())
    (whole,) = alone(model, request)
    stop = whole.text[4 : 4 + size]
    (stopped,) = alone(model, replace(request, stop=("zz", stop)))
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert (stopped.finish_reason, stopped.stopped_by) == ("stop", stop)
    (missed,) = alone(model, replace(request, stop=(whole.text[-1] + "z", "zzz")))
    assert (missed.text, missed.finish_reason, missed.stopped_by) == (whole.text, "length", None)


def test_end_of_text_ends_it_unless_told_otherwise() -> None:
    model = build_stirred()
    asked = Request([3], max_tokens=40, sampling=Sampling(temperature=2.0), seed=1)
    (ended,) = alone(model, asked)
    assert ended.finish_reason == "stop"
    assert Letters.eot_id not in ended.ids
    (on,) = alone(model, replace(asked, stop_ids=()))
    assert on.finish_reason == "length"
    assert on.ids[: len(ended.ids) + 1] == (*ended.ids, Letters.eot_id)


def test_positions_are_an_end_where_nothing_may_slide() -> None:
    model = build_stirred()
    (completion,) = alone(model, Request([3, 1], max_tokens=40, sampling=_GREEDY, slide=False, stop_ids=()))
    assert completion.finish_reason == "length"
    # The last position can be read as well, so one token more than there are positions is known.
    assert len(completion.ids) == BLOCK - 1


def test_log_probabilities_are_the_model_s_own() -> None:
    model = build_stirred()
    settings = Sampling(temperature=0.3, top_k=3, repetition_penalty=1.7, logit_bias={2: 1.0})
    (completion,) = alone(model, Request([3, 1], max_tokens=6, sampling=settings, logprobs=4, stop_ids=()))
    assert completion.logprobs is not None
    with torch.no_grad():
        logs = model.logits(model(torch.tensor([[3, 1, *completion.ids]]))).log_softmax(-1)[0, 1:-1]
    for row, entry in zip(logs, completion.logprobs, strict=True):
        values, ids = row.topk(4)
        assert entry.logprob == pytest.approx(float(row[entry.token]), abs=1e-5)
        assert [token for token, _ in entry.top] == ids.tolist()
        assert [value for _, value in entry.top] == pytest.approx(values.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("request_", "error", "part"),
    [
        ({"prompt": []}, DataError, "the prompt has no token"),
        ({"prompt": [11]}, DataError, "got 11 (allowed: ids 0 to 10)"),
        ({"max_tokens": -1}, ConfigError, "max_tokens is negative: got -1"),
        ({"n": 0}, ConfigError, "n is not positive: got 0"),
        ({"stop": ("a", "")}, ConfigError, "a stop string is empty"),
        ({"stop": ("a",)}, ConfigError, "stop strings need a tokenizer"),
        ({"sampling": Sampling(logit_bias={11: 1.0})}, ConfigError, "logit_bias names a token"),
        ({"prompt": [1] * BLOCK, "slide": False}, DataError, "leaves no position"),
    ],
)
def test_mistakes_are_told_at_once(request_: dict[str, Any], error: type[Exception], part: str) -> None:
    engine = Engine(build_stirred())
    with pytest.raises(error) as caught:
        engine.submit(Request(**{"prompt": [1], **request_}))
    assert part in str(caught.value)
    assert not engine.busy


@pytest.mark.parametrize("capacity", [0, BLOCK + 1])
def test_capacity_is_within_the_positions(capacity: int) -> None:
    with pytest.raises(ConfigError, match=f"got {capacity}"):
        Engine(build_stirred(), capacity=capacity)


def test_a_text_ends_at_any_of_the_tokenizer_s_ends() -> None:
    class Chatty(Letters):
        end_ids = (10, *range(5))

    model = build_stirred(**RECIPES["gpt2"])
    asked = [Request([seed % 10], max_tokens=30, sampling=_WILD, seed=seed) for seed in range(8)]
    for free, stopped in zip(
        Engine(model, Letters()).generate(asked), Engine(model, Chatty()).generate(asked), strict=True
    ):
        ids = list(free[0].ids)
        first = next((place for place, token in enumerate(ids) if token < 5), None)
        assert list(stopped[0].ids) == ids[:first]
        assert stopped[0].finish_reason == ("stop" if first is not None else free[0].finish_reason)

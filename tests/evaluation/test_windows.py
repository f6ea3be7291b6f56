"""Sliding windows against a loop that scores token by token, in float64, and against transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.scoring.windows import check_window, list_windows, score_texts
from gpt_lightning.model.gpt import GPT
from tests.generation.models import tiny_model


def naive(model: GPT, ids: list[int], window: int, stride: int) -> list[tuple[float, int]]:
    """Loss and context of every prediction, each by a forward pass of its own."""
    found = []
    for target in range(1, len(ids)):
        # The first window makes ``window`` predictions, each later one ``stride``.
        number = max(0, -(-(target - window) // stride))
        start = number * stride
        with torch.no_grad():
            hidden = model(torch.tensor([ids[start:target]]))
            logits = model.logits(hidden[0, -1]).double()
        found.append((float(-logits.log_softmax(-1)[ids[target]]), target - start))
    return found


@pytest.mark.parametrize(("window", "stride"), [(16, 16), (16, 8), (16, 1), (5, 3), (1, 1)])
def test_every_token_once_with_the_stated_context(window: int, stride: int) -> None:
    model = tiny_model().double()
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, 257, size) for size in (36, 1, 2, 0, 16, 17, 18)]
    found = list(score_texts(model, texts, window=window, stride=stride, batch_size=3))
    for text, losses in zip(texts, found, strict=True):
        expected = naive(model, text.tolist(), window, stride)
        assert losses.losses == pytest.approx([loss for loss, _ in expected], rel=1e-9)
        assert losses.contexts.tolist() == [context for _, context in expected]
        assert losses.targets.tolist() == text[1:].tolist()


def test_the_picture_in_the_docstring() -> None:
    assert [(w.start, w.end, w.first) for w in list_windows(0, 8, 4, 2)] == [(0, 4, 0), (2, 6, 4), (4, 7, 6)]


@pytest.mark.parametrize("stride", [16, 5])
def test_transformers_agrees_on_the_same_windows(stride: int) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from gpt_lightning.weights.gpt2 import from_gpt2

    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(
        GPT2Config(vocab_size=257, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=256, eos_token_id=256)
    )
    theirs.eval()  # type: ignore[no-untyped-call]
    ours = tiny_model()
    ours.load_state_dict(from_gpt2(theirs.state_dict(), ours.config))
    ids = np.random.default_rng(1).integers(0, 257, 50)
    (found,) = score_texts(ours, [ids], window=16, stride=stride)
    nats = 0.0
    for each in list_windows(0, len(ids), 16, stride):
        row = torch.from_numpy(ids[each.start : each.end])
        with torch.no_grad():
            logits = theirs(row[None]).logits[0].double()
        scores = logits.log_softmax(-1).gather(1, torch.from_numpy(ids[each.start + 1 : each.end + 1])[:, None])
        nats -= float(scores[each.first - each.start :].sum())
    assert float(found.losses.sum()) == pytest.approx(nats, rel=1e-6)


def test_defaults_and_borders() -> None:
    assert check_window(None, None, 16) == (16, 8)
    assert check_window(1, None, 16) == (1, 1)
    for window, stride, message in [(17, None, "1 to block_size=16"), (0, None, "window"), (8, 9, "1 to window=8")]:
        with pytest.raises(ConfigError, match=message):
            check_window(window, stride, 16)

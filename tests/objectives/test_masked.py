"""Masked and prefix objectives: who is chosen, what is seen, what counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context
from gpt_lightning.objectives.corruptions.masked import MASK, MaskedLM, NextTokenMasked
from gpt_lightning.objectives.corruptions.prefix import PrefixLM, draw_prefixes
from gpt_lightning.objectives.draws import Draws

_CONTEXT = Context(vocab_size=100, special_ids={MASK: 100})


def _draws(rows: int, first: int = 0) -> Draws:
    return Draws(3, torch.arange(first, first + rows))


@pytest.mark.parametrize("kind", [MaskedLM, NextTokenMasked])
def test_shares_are_those_of_bert(kind: type[MaskedLM]) -> None:
    tokens = torch.randint(100, (400, 101), generator=torch.Generator().manual_seed(0))
    corrupted = kind().corrupt(Batch(tokens), _draws(400), _CONTEXT)
    assert corrupted.weights is not None
    chosen = corrupted.weights > 0
    if kind is NextTokenMasked:  # shown one place further on; the last target is not shown
        shown, targets, chosen = corrupted.tokens[:, 1:], corrupted.targets[:, :-1], chosen[:, :-1]
    else:
        shown, targets = corrupted.tokens, corrupted.targets
    hidden, same = shown == 100, shown == targets
    assert torch.equal(shown[~chosen], targets[~chosen])
    # A random token is the old one now and then.
    expected = {chosen: 0.15, hidden: 0.15 * 0.8, chosen & same: 0.15 * (0.1 + 0.1 / 100)}
    for found, share in expected.items():
        deviation = (share * (1 - share) / found.numel()) ** 0.5
        assert found.float().mean().item() == pytest.approx(share, abs=4 * deviation)


def test_padding_and_first_tokens_are_never_chosen() -> None:
    tokens = torch.randint(100, (4, 41), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([0] * 20 + [1] * 21).expand(4, 41)
    weights = torch.ones(4, 40)
    weights[:, 30:] = 0
    batches = {"weights": Batch(tokens, weights), "documents": Batch(tokens, documents=documents)}
    for kind in (MaskedLM, NextTokenMasked):
        found = {name: kind(1.0).corrupt(batch, _draws(4), _CONTEXT).weights for name, batch in batches.items()}
        assert all(weight is not None for weight in found.values())
        assert torch.equal(found["weights"], weights)  # type: ignore[arg-type]
        assert found["documents"].eq(0).nonzero()[:, 1].tolist() == [19] * 4  # type: ignore[union-attr]


def test_the_ratio_is_that_of_the_step() -> None:
    tokens = torch.randint(100, (8, 65), generator=torch.Generator().manual_seed(0))
    now = Context(100, special_ids={MASK: 100}, values={"mask_ratio": 1.0})
    weights = MaskedLM(0.1).corrupt(Batch(tokens), _draws(8), now).weights
    assert weights is not None
    assert weights.all()


def test_a_prefix_ends_anywhere_in_its_document() -> None:
    documents = torch.tensor([0, 0, 0, 0, 1, 2, 2]).expand(6000, 7)
    prefixes = draw_prefixes(documents, _draws(6000))
    for first, length in ((0, 4), (4, 1), (5, 2)):
        own = prefixes[:, first : first + length]
        assert torch.equal(own, own[:, :1].expand_as(own))
        shares = own[:, 0].bincount(minlength=length + 1)[1:] / 6000
        assert len(shares) == length
        assert shares.tolist() == pytest.approx([1 / length] * length, abs=4 * (0.25 / 6000) ** 0.5)
    assert (prefixes[:, 0] == prefixes[:, 5]).float().mean() < 0.5  # each its own


def test_what_a_prefix_shows_is_not_predicted() -> None:
    tokens = torch.randint(100, (50, 13), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([0] * 5 + [1] * 8).expand(50, 13)
    corrupted = PrefixLM().corrupt(Batch(tokens, documents=documents), _draws(50), _CONTEXT)
    opens, weights = corrupted.opens, corrupted.weights
    assert isinstance(opens, Tensor)
    assert weights is not None
    assert corrupted.documents is not None
    shown = torch.cat([opens[:, 1:], opens.new_zeros(50, 1)], dim=1)
    inside = documents[:, 1:] == documents[:, :-1]
    assert torch.equal(weights > 0, inside & ~shown)


@pytest.mark.parametrize("kind", [MaskedLM, NextTokenMasked])
def test_what_is_predicted_is_hidden(kind: type[MaskedLM]) -> None:
    tokens = torch.randint(100, (20, 13), generator=torch.Generator().manual_seed(0))
    corrupted = kind(0.5, mask_fraction=1.0, random_fraction=0.0).corrupt(Batch(tokens), _draws(20), _CONTEXT)
    assert corrupted.weights is not None
    chosen = corrupted.weights > 0
    shown = corrupted.tokens if kind is MaskedLM else torch.cat([corrupted.tokens[:, 1:], tokens[:, -1:]], dim=1)
    hidden = shown == 100
    assert torch.equal(hidden[:, :-1], chosen[:, :-1])
    assert corrupted.opens is True


def test_a_prefix_shows_no_target() -> None:
    """The gradient of a counted position by what it has to predict is exactly 0, and by the prefix it is not."""
    config = GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=12, vocab_size=101)
    model = GPT(config, torch.Generator().manual_seed(0)).double()
    tokens = torch.arange(26).view(2, 13)
    corrupted = PrefixLM().corrupt(Batch(tokens), _draws(2), _CONTEXT)
    opens, weights = corrupted.opens, corrupted.weights
    assert isinstance(opens, Tensor)
    assert weights is not None
    for row, place in (weights > 0).nonzero().tolist():
        model.zero_grad()
        torch.autograd.backward(model(corrupted.tokens, opens=opens)[row, place].square().sum())
        gradient = model.token_embedding.weight.grad
        assert gradient is not None
        seen = gradient[tokens[row, :12]].ne(0).any(dim=1)  # every token stands once
        assert torch.equal(seen, (torch.arange(12) <= place) | opens[row])
        assert place == 11 or not seen[place + 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"ratio": 0.0}, "ratio is out of range"), ({"ratio": 1.5}, "ratio"), ({"mask_fraction": 0.95}, "no whole")],
)
def test_wrong_settings_are_explained(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MaskedLM(**settings)  # type: ignore[arg-type]

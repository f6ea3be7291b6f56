"""What a position may not see has no influence on it: gradients of exactly 0, for every kind of attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.cache import KeyValueCache
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

_TIME = 10
_DOCUMENTS = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 2, 2, 2]])
_PREFIXES = torch.tensor([[1, 1, 0, 0, 1, 0, 0, 0, 0, 0]]).bool()


def _influence(model: GPT, documents: Tensor | None, opens: Tensor | bool) -> Tensor:
    """Whether output t depends on input s: ``(time, time)``, from the gradient of a hidden state by the embeddings."""
    tokens = torch.arange(_TIME)[None]
    seen = torch.zeros(_TIME, _TIME, dtype=torch.bool)
    for query in range(_TIME):
        model.zero_grad()
        # Every token stands once, so the gradient of its row of the table is that of its position.
        model(tokens, documents=documents, opens=opens)[0, query].square().sum().backward()
        gradient = model.token_embedding.weight.grad
        assert gradient is not None
        seen[query] = gradient[:_TIME].ne(0).any(dim=1)
    return seen


def _rule(documents: Tensor | None, opens: Tensor | bool) -> Tensor:
    """Who may see whom through two layers: whom those see whom it sees."""
    seen = torch.ones(_TIME, _TIME, dtype=torch.bool).tril()
    seen = seen | (opens[0] if isinstance(opens, Tensor) else torch.tensor(opens))
    if documents is not None:
        seen = seen & (documents[0][:, None] == documents[0])
    return seen.float() @ seen.float() > 0


@pytest.mark.parametrize("documents", [None, _DOCUMENTS], ids=["one", "documents"])
@pytest.mark.parametrize("opens", [False, True, _PREFIXES], ids=["causal", "full", "prefixes"])
@pytest.mark.parametrize("options", [{}, {"rope_theta": 1e4, "qk_norm": True, "n_kv_head": 1}], ids=["gpt2", "modern"])
def test_nothing_leaks(options: dict[str, object], opens: Tensor | bool, documents: Tensor | None) -> None:
    config = GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=_TIME, vocab_size=12, tie_embeddings=False, **options)  # type: ignore[arg-type]
    model = GPT(config, torch.Generator().manual_seed(0)).double()
    assert torch.equal(_influence(model, documents, opens), _rule(documents, opens))
    if isinstance(opens, Tensor):  # what a prefix one position off would be, is seen
        assert not torch.equal(_influence(model, documents, opens.roll(1, dims=1)), _rule(documents, opens))


def test_a_prefix_with_a_cache() -> None:
    """The prefix in the first call, the rest one by one, gives what the whole gives."""
    config = GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=_TIME, vocab_size=12)
    model = GPT(config, torch.Generator().manual_seed(0)).double().eval()
    tokens = torch.arange(_TIME)[None]
    opens = (torch.arange(_TIME) < 4)[None]
    cache = KeyValueCache(2, _TIME)
    with torch.no_grad():
        whole = model(tokens, opens=opens)
        pieces = [model(tokens[:, :4], cache, opens=True)]
        pieces += [model(tokens[:, position : position + 1], cache) for position in range(4, _TIME)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-12, atol=1e-12)
        with pytest.raises(ConfigError, match="positions that open came behind cached ones"):
            model(tokens[:, :0], cache, opens=True)

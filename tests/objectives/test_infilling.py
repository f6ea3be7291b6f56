"""Fill-in-the-middle: the two forms, what counts, where cuts fall, and what stays as it is."""

from __future__ import annotations

import pytest
import torch

from gpt_lightning.batch import Batch
from gpt_lightning.data.tokenizers.infill_tokens import END, MIDDLE, PREFIX, SENTINELS, SUFFIX
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Needs
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.characters import CharacterCuts
from gpt_lightning.objectives.corruptions.infilling import FillInTheMiddle
from gpt_lightning.objectives.draws import Draws
from tests.objectives.test_restore import OBJECTIVES, context_of, corrupt, draw_windows

_TEXT = "漢字 and é"
_EOT = 256


def rearrange(objective: FillInTheMiddle, seed: int, text: str = _TEXT) -> tuple[list[int], list[float]]:
    """The tokens of a document, and the weight of each as a target."""
    ids = [_EOT, *text.encode()]
    corrupted = objective.corrupt(
        Batch(torch.tensor([ids])), Draws(seed, torch.arange(1)), context_of(objective, "bytes", len(ids) - 1)
    )
    assert corrupted.weights is not None
    row = [*corrupted.tokens[0, :1].tolist(), *corrupted.targets[0].tolist()]
    length = len(ids) + len(SENTINELS)
    assert row[length:] == [_EOT] * (len(row) - length)
    return row[:length], [0.0, *corrupted.weights[0].tolist()][:length]


@pytest.mark.parametrize("seed", range(20))
def test_psm_form(seed: int) -> None:
    row, weights = rearrange(FillInTheMiddle(rate=1.0, spm_rate=0.0, max_documents=1), seed)
    ids = {name: 257 + number for number, name in enumerate(SENTINELS)}
    second, third = row.index(ids[SUFFIX]), row.index(ids[MIDDLE])
    assert row[:2] == [_EOT, ids[PREFIX]]
    assert row[-1] == ids[END]
    prefix, suffix, middle = (
        bytes(part).decode() for part in (row[2:second], row[second + 1 : third], row[third + 1 : -1])
    )
    assert prefix + middle + suffix == _TEXT
    # Every token of the text and the end of the middle count; what is given in a prompt does not.
    uncounted = {0, 1, second, third}
    assert weights == [float(place not in uncounted) for place in range(len(row))]


def test_spm_form() -> None:
    for seed in range(20):
        row, _ = rearrange(FillInTheMiddle(rate=1.0, spm_rate=1.0, max_documents=1), seed)
        third = row.index(259)
        assert row[:3] == [_EOT, 257, 258]
        assert bytes(row[third + 1 : -1]).decode() + bytes(row[3:third]).decode() == _TEXT


def test_cuts_go_through_tokens() -> None:
    # gpt2 has " the" and " t", "he": a third of all prefixes would end with a token otherwise.
    objective = FillInTheMiddle(rate=1.0, spm_rate=0.0)
    context = context_of(objective, "gpt2", 6)
    the, cat = context.texts.index(b" the"), context.texts.index(b" cat")
    batch = Batch(torch.tensor([[context.eot_id, the, cat, the, cat, the, cat]]).expand(64, -1))
    corrupted = objective.corrupt(batch, Draws(0, torch.arange(64)), context)
    halves = {token for token in corrupted.targets.flatten().tolist() if token < context.eot_id} - {the, cat}
    assert {context.texts[token] for token in halves} >= {b" t", b"he", b" th", b"e"}


def test_halves_of_a_token_are_told_from_neighbours() -> None:
    cuts = CharacterCuts((b"", b"a", b"b", b"ab", b"\xc3", b"\xa9", "é".encode(), b"ab"), torch.device("cpu"))
    # Two ids have the text "ab"; the halves of "é" would be no characters.
    assert cuts.join(1, 2) is None
    assert cuts.join(4, 5) is None
    assert cuts.begins_inside.tolist() == [False] * 5 + [True, False, False]


def test_padding_and_documents_without_room_stay() -> None:
    objective = FillInTheMiddle(rate=1.0, max_documents=1)
    documents = torch.tensor([[0] * 5 + [1] * 5 + [2] * 6])
    tokens, weights = torch.arange(16)[None], torch.ones(1, 15)
    weights[:, :4] = weights[:, 10:] = 0.0  # the first has nothing that counts, the last is padding
    batch = Batch(tokens, weights, documents)
    corrupted = objective.corrupt(batch, Draws(0, torch.arange(1)), context_of(objective, "bytes", 15))
    row = [0, *corrupted.targets[0].tolist()]
    assert row[:5] == [0, 1, 2, 3, 4]
    assert row[6] == 257
    assert row[14:20] == [10, 11, 12, 13, 14, 15]
    assert corrupted.documents is not None
    assert corrupted.documents[0].tolist()[:19] == [0] * 5 + [1] * 9 + [2] * 5


def test_share_of_rearranged_documents() -> None:
    objective = FillInTheMiddle(rate=0.3)
    batch = Batch(torch.cat([torch.full((4000, 1), _EOT), torch.randint(256, (4000, 5))], dim=1))
    corrupted = objective.corrupt(batch, Draws(3, torch.arange(4000)), context_of(objective, "bytes", 5))
    share = (corrupted.tokens[:, 1] == 257).double().mean().item()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5


def test_rate_0_is_next_token_prediction() -> None:
    objective, batch = FillInTheMiddle(rate=0.0), draw_windows(1, "bytes")
    assert objective.needs(GPTConfig(block_size=8)) == Needs()
    ours, theirs = (corrupt(each, batch, 0, context_of(each, "bytes", 8)) for each in (objective, CausalLM()))
    assert torch.equal(ours.tokens, theirs.tokens)
    assert torch.equal(ours.targets, theirs.targets)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_rows_do_not_depend_on_their_company(name: str) -> None:
    objective, batch = OBJECTIVES[name], draw_windows(5, "bytes")
    context = context_of(objective, "bytes", batch.tokens.shape[1] - 1)
    whole = objective.corrupt(batch, Draws(2, torch.arange(4)), context)
    part = objective.corrupt(batch.part(slice(1, 3)), Draws(2, torch.arange(1, 3)), context)
    for field in ("tokens", "targets", "weights", "documents", "opens"):
        mine, theirs = getattr(whole, field), getattr(part, field)
        assert torch.equal(mine[1:3], theirs) if isinstance(mine, torch.Tensor) else mine is theirs


@pytest.mark.parametrize(("settings", "words"), [({"rate": 1.1}, "rate"), ({"max_documents": 0}, "max_documents")])
def test_settings_out_of_range(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FillInTheMiddle(**settings)  # type: ignore[arg-type]

"""Guesses of heads: the same text, whatever they guess, and fewer passes where they are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.cli import main
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.errors import CheckpointError
from gpt_lightning.generation.drafting import Heads, load_heads
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.attention_mask import build_mask
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.multi_token import FORMS, FurtherHeads, Surroundings
from gpt_lightning.model.positions import build_rotation
from gpt_lightning.weights.loading import load_model
from tests.generation.models import write_run

_CONFIG = GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=32, vocab_size=257, rope_theta=10000.0)

each_form = pytest.mark.parametrize("form", list(FORMS))


def decoder() -> GPT:
    return GPT(_CONFIG, torch.Generator().manual_seed(0)).eval()


def build_heads(form: str, count: int = 2) -> FurtherHeads:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        heads = FORMS[form](_CONFIG, count)
        heads.init_weights()
        for parameter in heads.parameters():
            parameter.data.mul_(20.0)  # opinions of their own
    return heads.eval()


@torch.no_grad()
def guess_slowly(model: GPT, heads: FurtherHeads, tokens: list[int]) -> list[int]:
    """What heads guess behind the last token, in one pass over everything before it."""
    known, time = list(tokens), len(tokens) - 1
    hidden = before = model(torch.tensor([tokens[:-1]]))
    rotation = build_rotation(0, time, _CONFIG.head_size, 10000.0, torch.device("cpu"))
    for level in range(1, heads.count + 1):
        embedded = model.token_embedding(torch.tensor([known[level : level + time]]))
        surroundings = Surroundings(build_mask(time, time, device=torch.device("cpu")), rotation)
        before = heads.level(level, hidden, before, embedded, surroundings)
        known.append(int(model.logits(before[0, -1]).argmax()))
    return known[len(tokens) :]


class Watched(Heads):
    """Compares every guess with the slow one."""

    checked = 0

    def propose(self, sequence, most):  # type: ignore[no-untyped-def]
        found = super().propose(sequence, most)
        assert found == guess_slowly(self._model, self.heads, sequence.context[-(sequence.held + 1) :])[:most]
        self.checked += 1
        return found


@pytest.mark.parametrize(
    ("form", "temperature"),
    [
        ("parallel", 0.0),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [("sequential", 0.0), ("sequential", 1.0), ("parallel", 1.0)]
        ),
    ],
)
def test_text_is_that_without_guesses(form: str, temperature: float) -> None:
    # Long enough to slide; several at once, that take turns in the slots.
    requests = [
        Request([256, *prompt], max_tokens=40, sampling=Sampling(temperature=temperature), seed=number, stop_ids=())
        for number, prompt in enumerate([b"a", b"long prompt", b"xyz"])
    ]
    alone = Engine(decoder(), slots=2).generate(requests)
    drafter = Watched(decoder(), build_heads(form))
    engine = Engine(decoder(), slots=2, drafter=drafter)
    drafted = engine.generate([replace(request, draft_tokens=2) for request in requests])
    assert [each.ids for (each,) in drafted] == [each.ids for (each,) in alone]
    assert drafter.checked > 20
    assert engine.drafts.guessed > engine.drafts.accepted


@each_form
def test_right_guesses_save_passes(form: str) -> None:
    # Silent layers: the heads see the decoder's own state, and a decoder that repeats itself is guessed by it.
    model, heads = decoder(), build_heads(form)
    with torch.no_grad():
        for block in (*model.blocks, *heads.layers):
            block.attention.output.weight.zero_()
            block.mlp.contract.weight.zero_()
        for name, parameter in heads.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        for projection in getattr(heads, "projections", []):
            projection.weight.copy_(torch.cat([torch.zeros(8, 8), torch.eye(8)], dim=1))
    engine = Engine(model, drafter=Heads(model, heads))
    ((found,),) = engine.generate(
        [Request([256, 97], max_tokens=13, sampling=Sampling(0.0), stop_ids=(), draft_tokens=2)]
    )
    assert len(set(found.ids)) == 1
    assert engine.drafts.accepted == engine.drafts.guessed
    assert engine.drafts.passes == 4  # the prompt gives one token, each pass three


def test_command_says_how_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    state = {f"model.{name}": value for name, value in decoder().state_dict().items()}
    state |= {f"extras.sequential.{name}": value for name, value in build_heads("sequential").state_dict().items()}
    card = {"model": _CONFIG.to_dict(), "tokenizer": ByteTokenizer().describe()}
    write_checkpoint(Path("run") / CHECKPOINTS_DIR, step=1, state={"state_dict": state, "gpt_lightning": card})
    shown = []
    for more in ([], ["--draft", "heads"]):
        assert main(["generate", "run", "--prompt", "ab", "--max_tokens", "9", "--seed", "3", *more]) == 0
        shown.append(capsys.readouterr())
    assert shown[0].out == shown[1].out
    assert "guesses accepted" in shown[1].err
    assert "for 9 tokens" in shown[1].err
    write_run(Path("plain"), steps=(1,))
    with pytest.raises(CheckpointError, match="no heads"):
        load_heads(load_model("plain", prefer="last"))

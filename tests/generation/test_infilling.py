"""Middles: the prompt that the model was trained with, where a middle ends, and how gaps are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.cli import main
from gpt_lightning.data.tokenizers.infill_tokens import END, SENTINELS
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.errors import CheckpointError
from gpt_lightning.generation.infilling import InfillForm, infill
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.loading import load_model
from tests.generation.models import write_run

_CONFIG = GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=64, vocab_size=261)
_TOKENIZER = ByteTokenizer().adding(SENTINELS)
_END = _TOKENIZER.specials[END]
_PREPARE = ["--source", "text.jsonl", "--store", "tokens", "--tokenizer", "bytes", "--val_fraction", "0.3"]


def model() -> GPT:
    return GPT(_CONFIG, torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A run whose objective had the share of SPM that the test's parameter says."""
    monkeypatch.chdir(tmp_path)
    rate = getattr(request, "param", 0.5)
    fim = {
        "class_path": "gpt_lightning.objectives.corruptions.infilling.FillInTheMiddle",
        "init_args": {"spm_rate": rate},
    }
    mixture = {"class_path": "Mixture", "init_args": {"parts": {"clm": {"share": 1.0}, "fim": {"objective": fim}}}}
    card = {
        "model": _CONFIG.to_dict(),
        "tokenizer": _TOKENIZER.describe(),
        "config": {"model": {"objective": mixture}},
    }
    weights = {f"model.{name}": value for name, value in model().state_dict().items()}
    write_checkpoint(Path("run") / CHECKPOINTS_DIR, step=1, state={"state_dict": weights, "gpt_lightning": card})
    return "run"


@pytest.mark.parametrize(
    ("run", "ids"),
    [
        (0.0, [256, 257, 97, 98, 258, 99, 259]),
        (0.5, [256, 257, 97, 98, 258, 99, 259]),
        (1.0, [256, 257, 258, 99, 259, 97, 98]),
    ],
    indirect=["run"],
)
def test_prompt_has_the_form_of_the_training(run: str, ids: list[int]) -> None:
    assert InfillForm.of(load_model(run, prefer="last")).encode("ab", "c") == ids


def test_middle_is_what_the_model_finds_likeliest(run: str) -> None:
    ids = [256, 257, *b"ab", 258, *b"c", 259]
    length, decoder = len(ids), model()
    with torch.no_grad():
        while len(ids) < length + 6 and ids[-1] != _END:
            ids.append(int(decoder.logits(decoder(torch.tensor([ids]))[0, -1]).argmax()))
    (middle,) = infill(load_model(run, prefer="last"), [("ab", "c")], temperature=0.0, max_tokens=6)
    assert middle.text == _TOKENIZER.decode(ids[length:]).replace(END, "")
    assert middle.ended == (ids[-1] == _END)


@pytest.mark.parametrize(("bias", "ended"), [(100.0, True), (-100.0, False)])
def test_only_its_own_token_ends_a_middle(run: str, bias: float, ended: bool) -> None:
    # End-of-text is the likeliest token of all but the end of a middle, and ends nothing.
    settings: dict[str, Any] = {"logit_bias": {256: 50.0, _END: bias}, "temperature": 0.0, "max_tokens": 3}
    (middle,) = infill(load_model(run, prefer="last"), [("a", "b")], **settings)
    assert middle.ended is ended
    assert (middle.text == "") is ended


def test_no_other_special_token_is_part_of_a_middle(run: str) -> None:
    """Whatever the model finds likely, and however it is drawn."""
    loaded = load_model(run, prefer="last")
    wrong = {token: 1000.0 for name, token in _TOKENIZER.specials.items() if name != END}
    for temperature in (0.0, 1.0):
        settings: dict[str, Any] = {"logit_bias": {**wrong, 65: 500.0}, "temperature": temperature, "max_tokens": 3}
        assert [middle.text for middle in infill(loaded, [("a", "b")], **settings)] == ["AAA"]


def test_command_shows_the_middle_in_its_place(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", run, "--infill", "def f(", "): pass", "--max_tokens", "4"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("def f(")
    assert shown.endswith("): pass\n")


def test_refusals(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "plain", steps=(1,))
    with pytest.raises(CheckpointError, match="not trained to fill in"):
        InfillForm.of(load_model(tmp_path / "plain", prefer="last"))
    assert main(["generate", run, "--infill", "alone"]) == 2
    assert "--infill takes 2 values" in capsys.readouterr().err
    assert main(["generate", run, "--infill", "a", "b", "--prompt", "c"]) == 2
    assert "another option" in capsys.readouterr().err


def test_gaps_of_held_out_documents(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"line {number}: é漢" for number in range(30)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    assert main(["prepare", *_PREPARE]) == 0
    ask = ["evaluate", "infill", run, "tokens", "--max_middle", "3", "--limit", "5", "--output", "gaps.json"]
    assert main(ask) == 0
    found = json.loads((tmp_path / "gaps.json").read_text())
    assert set(found["scores"]) >= {"exact_match", "edit_similarity", "ended"}
    middles = [item["outcomes"][""]["references"][0] for item in found["items"]]
    assert len(middles) == 5
    assert all(1 <= len(middle) <= 3 for middle in middles)
    assert all(any(middle in line for line in lines) for middle in middles)
    assert main([*ask, "--prefix_only", "true"]) == 0
    again = json.loads((tmp_path / "gaps.json").read_text())
    assert "ended" not in again["scores"]
    assert [item["key"] for item in again["items"]] == [item["key"] for item in found["items"]]
    assert main(["evaluate", "infill", run, "tokens", "--max_middle", "8"]) == 3
    assert "too few positions" in capsys.readouterr().err

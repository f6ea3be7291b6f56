"""A step is one weighted mean: however its global batch is split, the gradient is the same number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.prompts import build_request
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Learner
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import add_callbacks
from gpt_lightning.training.modules.module import GPTModule
from gpt_lightning.training.modules.weighing import StepWeight
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.objectives.applying import apply
from tests.selections import seldom
from tests.training.together import run_together

STEPS = 4
ALONE = SingleDeviceStrategy("cpu")
DOCUMENTS: dict[str, Any] = {
    "model": {"config": {"n_layer": 2, "n_head": 2, "n_embd": 16, "dropout": 0.0}, "optimizer": {"lr": 1e-2}},
    "data": {"tokenizer": "bytes", "block_size": 64, "val_fraction": 0.2, "source": "documents.jsonl"},
    "trainer": {"accelerator": "cpu", "max_steps": STEPS, "log_every_n_steps": 1, "gradient_clip_val": 1.0},
    "run": {"validate_every": "100%", "sample_tokens": 0},
    "monitor": {"details": False, "mfu": False},
}
WEIGHTED: dict[str, dict[str, Any]] = {
    "document": {"data.packing": "Document"},
    "pack": {"data.packing": "Pack"},
    "mask": {"data.document_mask": True},
    "masked": {"model.objective": "MaskedLM"},
}
"""Ways in which micro-batches come to unequal weights."""


def write_documents(place: Path) -> None:
    """Sixty documents of 1 to 20 words: rows that are nearly empty beside rows that are full."""
    words = [" ".join(f"w{number * k % 37}" for k in range(number * 7 % 20 + 1)) for number in range(60)]
    lines = (json.dumps({"text": text}) + "\n" for text in words)
    (place / "documents.jsonl").write_text("".join(lines), encoding="utf-8")


def split(rows: int, times: int, precision: str = "64-true") -> dict[str, Any]:
    return {"data.batch_size": rows, "trainer.accumulate_grad_batches": times, "trainer.precision": precision}


def fit(folder: Path, *settings: Mapping[str, Any]) -> None:
    build(DOCUMENTS, {"trainer.devices": 1}, *settings, {"run.dir": str(folder)}).fit()


def curve(folder: Path) -> dict[str, list[float]]:
    names = ("train/loss", "optim/grad_norm", "val/loss")
    return {name: [line[name] for line in read_metrics(folder) if name in line] for name in names}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_documents(tmp_path)
    return tmp_path


def test_what_is_clipped_and_logged_is_the_norm_of_the_published_form(place: Path) -> None:
    """CompleteP keeps its factors in the weights, 1 / 2 for branches and the final norm: their gradients as well."""
    complete = {"model.parametrization": {"class_path": "CompleteP", "init_args": {"base_width": 8, "base_layers": 1}}}
    run = build(DOCUMENTS, {"trainer.devices": 1, "trainer.max_steps": 1}, complete, {"run.dir": str(place / "run")})
    found: dict[str, Tensor] = {}

    class Look(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            for name, parameter in pl_module.named_parameters():
                assert parameter.grad is not None
                own = "final_norm" in name or "attention.output" in name or "contract" in name
                found[name] = parameter.grad / (2 if own else 1)

    add_callbacks(run.trainer, Look())
    run.fit()
    norm = torch.cat([gradient.flatten() for gradient in found.values()]).norm().item()
    assert curve(place / "run")["optim/grad_norm"] == pytest.approx([norm], rel=1e-5)


@pytest.mark.parametrize("way", ["document", *seldom("masked", "pack", "mask")])
def test_every_split_of_the_global_batch_has_the_same_gradient(place: Path, way: str) -> None:
    """Float64: what is left is the order of a sum. A mean of means is off by 0.6 % here (Document)."""
    fit(place / "8x1", WEIGHTED[way], split(8, 1))
    whole = curve(place / "8x1")
    for rows in (4, 1) if way == "document" else (2,):
        fit(place / f"{rows}", WEIGHTED[way], split(rows, 8 // rows))
        parts = curve(place / f"{rows}")
        for name, values in whole.items():
            assert len(values) == (1 if name == "val/loss" else STEPS)
            assert parts[name] == pytest.approx(values, rel=1e-10 if name == "optim/grad_norm" else 1e-12), name


def test_the_mean_of_means_is_another_number(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above must be able to fail."""
    monkeypatch.setattr(StepWeight, "add", lambda self, output, batch: output.loss)
    monkeypatch.setattr(StepWeight, "close", lambda *_: None)
    norms = []
    for rows in (8, 1):
        fit(place / f"{rows}", WEIGHTED["document"], split(rows, 8 // rows), {"trainer.max_steps": 1})
        norms.append(curve(place / f"{rows}")["optim/grad_norm"][0])
    assert norms[1] != pytest.approx(norms[0], rel=1e-3)


def start(folder: Path, settings: Mapping[str, Any]) -> None:
    build(DOCUMENTS, settings, {"run.dir": str(folder), "data.source": str(folder.parent / "documents.jsonl")}).fit()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_have_the_gradient_of_one(place: Path, strategy: str) -> None:
    """The processes' rows differ in what counts; 2 x 2 x 2 windows are the 8 of one process.

    Float32 (a sharded run knows no other), with the tolerance of its sums.
    """
    fit(place / "one", WEIGHTED["document"], split(8, 1, "32-true"))
    settings = {**WEIGHTED["document"], **split(2, 2, "32-true"), "trainer.devices": 2, "trainer.strategy": strategy}
    assert run_together(place, 2, start, place / "two", settings) == [0, 0]
    one, two = curve(place / "one"), curve(place / "two")
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-5), name


def output_of(losses: list[float], weights: list[float] | None) -> tuple[LossOutput, Batch]:
    values = torch.tensor([losses], dtype=torch.float64)
    marks = None if weights is None else torch.tensor([weights], dtype=torch.float64)
    mean = values.mean() if marks is None else (values * marks).sum() / marks.sum().clamp_min(1e-300)
    weight = torch.tensor(float(values.numel())).double() if marks is None else marks.sum()
    batch = Batch(torch.zeros(1, len(losses) + 1, dtype=torch.long), marks)
    return LossOutput(mean, weight, losses=values, weights=marks), batch


def test_sums_and_factor_make_the_weighted_mean() -> None:
    """Weighted and whole micro-batches mix: (2 x 1 + 0.5 x 3 + (4 + 6 + 8)) / (2 + 0.5 + 3)."""
    weighing = StepWeight()
    parts = [output_of([1, 3, 9], [2, 0.5, 0]), output_of([4, 6, 8], None), output_of([5, 5, 5], [0, 0, 0])]
    shares = [weighing.add(*part) for part in parts]
    assert shares[1] is parts[1][0].loss
    factor = weighing.close(3, ALONE, 1)
    assert factor is not None
    assert float(sum(shares) / 3 * factor) == pytest.approx((2 + 1.5 + 18) / 5.5, rel=1e-15)


def test_without_weights_nothing_is_done() -> None:
    weighing, (output, batch) = StepWeight(), output_of([4, 6, 8], None)
    assert weighing.add(output, batch) is output.loss
    assert weighing.close(1, ALONE, 1) is None


def test_a_step_in_which_nothing_counts_has_no_gradient() -> None:
    weighing = StepWeight()
    weighing.add(*output_of([1, 2], [0, 0]))
    assert weighing.close(1, ALONE, 1) == 1


def test_small_weights_are_not_lost_among_many() -> None:
    """Of float32 weights the sum is float64, whatever the split: 0.1 has no exact sum in float32."""
    losses, weights = torch.rand(4, 1000), torch.full((4, 1000), 0.1)
    factors = []
    for rows in (4, 1):
        weighing = StepWeight()
        for part in range(0, 4, rows):
            some = slice(part, part + rows)
            mean = (losses[some] * weights[some]).sum() / weights[some].sum()
            batch = Batch(torch.zeros(rows, 1001, dtype=torch.long))
            weighing.add(LossOutput(mean, weights[some].sum(), losses=losses[some], weights=weights[some]), batch)
        factor = weighing.close(4 // rows, ALONE, 1)
        assert factor is not None
        factors.append(float(factor))
    assert factors[0] == pytest.approx(factors[1], rel=1e-14)


def test_float16_unscales_before_it_clips(place: Path) -> None:
    """With a gradient scaler, fused AdamW and clipping: the norm of float32, and the loss of float32 at the end."""
    ends = {}
    for name, fused in (("wide", False), ("plain", False), ("fused", True)):
        run = build(
            DOCUMENTS,
            {"data.batch_size": 8, "trainer.devices": 1, "run.dir": str(place / name), "trainer.max_steps": 12},
            {"model.optimizer": {"class_path": "AdamW", "init_args": {"fused": fused, "lr": 1e-2}}},
        )
        if name != "wide":
            scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
            run.trainer.strategy.precision_plugin = MixedPrecision("16-mixed", "cpu", scaler)
        run.fit()
        ends[name] = curve(place / name)
    for name in ("plain", "fused"):
        assert ends[name]["optim/grad_norm"][0] == pytest.approx(ends["wide"]["optim/grad_norm"][0], rel=0.01)
        assert ends[name]["val/loss"] == pytest.approx(ends["wide"]["val/loss"], rel=0.01)


def test_metrics_do_not_share_sums_that_are_equal_by_chance() -> None:
    """One byte a token: after a first batch without padding, tokens and bytes are equal sums, and must stay apart."""
    module = GPTModule(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4, vocab_size=5))
    module.model = GPT(module.config, torch.Generator().manual_seed(0))
    module.context = Context(token_bytes=torch.tensor([1, 1, 1, 1, 0]))
    module._sources_of = lambda *splits: []  # type: ignore[method-assign]
    module.setup("validate")
    whole, ended = torch.tensor([[0, 1, 2, 3, 0]]), torch.tensor([[0, 1, 4, 2, 4]])
    outputs = [apply(CausalLM(), module.model, Batch(tokens)) for tokens in (whole, ended)]
    for output in outputs:
        module.measures.update(output, output, None)
    losses = torch.cat([output.losses.flatten() for output in outputs if output.losses is not None]).double()
    values = module.measures.own.compute()
    assert values["loss"].item() == pytest.approx(losses.mean().item(), rel=1e-12)
    assert values["perplexity"].item() == pytest.approx(losses.mean().exp().item(), rel=1e-12)


def test_a_step_without_a_counted_position_is_logged_as_such(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: CausalLM, learner: Learner, batch: Batch, draws: Draws) -> LossOutput:
        return whole(self, learner, replace(batch, weights=torch.zeros(batch.tokens[:, 1:].shape)), draws)

    whole = CausalLM.__call__
    monkeypatch.setattr(CausalLM, "__call__", nothing)
    fit(place / "nothing", split(8, 1), {"trainer.max_steps": 1, "trainer.limit_val_batches": 0})
    assert math.isnan(curve(place / "nothing")["train/loss"][0])
    assert curve(place / "nothing")["optim/grad_norm"] == [0.0]


@pytest.mark.parametrize(
    "data", [{"packing": "Pack", "document_mask": True}, *seldom({"packing": "Document"})], ids=str
)
def test_a_model_learns_where_texts_end(place: Path, data: dict[str, Any]) -> None:
    """Generated documents end by themselves; without the end among the targets they run to max_tokens."""
    texts = [f"{'abc'[number % 3] * (number % 5 + 1)}!" for number in range(60)]
    (place / "documents.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings = {"data": {**data, "batch_size": 2}, "trainer": {"max_steps": 60, "devices": 1}}
    run = build(DOCUMENTS, settings, {"run.dir": str(place / "run")})
    run.fit()
    tokenizer = run.datamodule.open_store().tokenizer
    engine = Engine(run.module.model.eval(), tokenizer, slots=1)
    (text,) = engine.generate([build_request(tokenizer, "a", {"max_tokens": 40, "temperature": 0.0})])
    assert text[0].finish_reason == "stop"

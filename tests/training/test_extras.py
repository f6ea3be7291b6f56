"""What an objective trains beside the decoder: drawn from the seed, trained in its role, averaged, saved, resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.errors import DataError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Learner, Needs
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.optim.groups import Role, read_learning_rates
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.modules.stock import meet_needs
from gpt_lightning.weights.loading import load_model
from tests.training.forked import write_corpus
from tests.training.runs import Crash, crash_at, tiny_run, weights_of
from tests.training.test_resume_exact import assert_equal, outcome


class Probed(CausalLM):
    """A causal loss, and that of a layer which guesses the token it stands on."""

    def build_extras(self, config: GPTConfig, context: Context) -> nn.ModuleDict:
        return nn.ModuleDict({"probe": nn.Linear(config.n_embd, config.data_sizes()[0])})

    def roles(self) -> Mapping[str, Role]:
        return {"probe.weight": "head"}

    def __call__(self, learner: Learner, batch: Batch, draws: Draws) -> LossOutput:
        output = super().__call__(learner, batch, draws)
        tokens = batch.tokens[:, :-1].long()
        scores = learner.extras["probe"](learner.model(tokens))
        probe = nn.functional.cross_entropy(scores.flatten(0, 1), tokens.flatten())
        return replace(output, loss=output.loss + probe, parts={"probe": probe.detach()})


SETTINGS: dict[str, Any] = {
    "model.ema_decay": 0.9,
    "model.optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.01, "head_lr": 0.03}},
}


def probed_run(folder: str) -> Run:
    run = tiny_run(SETTINGS, {"run.dir": folder})
    run.module.objective = Probed()
    return run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    return tmp_path


def test_extras_are_trained_saved_and_resumed(place: Path) -> None:
    run = probed_run("whole")
    run.fit()
    assert read_learning_rates(run.trainer.optimizers[0]).keys() >= {"head", "matrix", "vector"}
    assert {id(each) for each in run.module.extras.parameters()} <= {
        id(each) for group in run.trainer.optimizers[0].param_groups for each in group["params"]
    }
    weights = weights_of(Path("whole"))
    assert "extras.probe.weight" in weights
    torch.manual_seed(5)
    fresh = probed_run("fresh").module
    fresh.configure_model()
    again = probed_run("again").module
    again.configure_model()
    one, other = fresh.extras.state_dict(), again.extras.state_dict()
    assert torch.equal(one["probe.weight"], other["probe.weight"])
    assert not torch.equal(weights["extras.probe.weight"], one["probe.weight"])
    # Killed in the middle, and gone on with: the same to the bit, with the mean and the optimizer's state.
    with pytest.raises(Crash):
        crash_at(probed_run("parts"), 4).fit()
    probed_run("parts").fit("auto")
    assert_equal(outcome(Path("parts")), outcome(Path("whole")))
    # Whoever wants the decoder gets it.
    assert not any("probe" in name for name, _ in load_model("whole").model.named_parameters())


def test_columns_that_the_store_has_not_are_refused(place: Path) -> None:
    class Labelled(Probed):
        def needs(self, config: GPTConfig) -> Needs:
            return Needs(columns=("label",))

    data = tiny_run(SETTINGS, {"run.dir": "run"}).datamodule
    with pytest.raises(DataError, match="Labelled needs the column label, and the store has none of that name"):
        meet_needs(GPTConfig(), Labelled(), data.open_store(), 8)


def test_a_sharded_strategy_would_refuse_them(place: Path) -> None:
    named = [name for name, _ in probed_run("run").module.weight_copies()]
    assert "What the objective Probed trains" in named

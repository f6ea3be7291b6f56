"""A promised loss is shown for what it was measured with, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt_lightning.parsing.origins import collect_origins
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.runs.expectation import expectation_holds

HOLDS = [
    [],
    ["--run.name=mine", "--resume=auto", "--progress", "plain", "--seed_everything=7"],
    ["--trainer.max_steps=9", "--data.batch_size", "4"],  # as the file says
    ["--config=machine.yaml"],
    ["--data.source=my.txt", "--run.expected_val_loss=3.0"],
]
ENDS = [
    ["--data.source=my.txt"],
    ["--data.store=tokens"],
    ["--data.tokenizer=bytes"],
    ["--model.config.n_layer=2"],
    ["--model.optimizer.lr=1e-3"],
    ["--model.optimizer=AdamW"],
    ["--trainer.max_steps=10"],
    ["--run.max_tokens=1000"],
    ["--trainer.max_time=00:00:01:00"],
    ["--trainer.devices=2"],
    ["--preset=modern-nano"],
    ["--init_from=runs/x"],
    ["--data={block_size: 8}"],
    ["--config=longer.yaml"],
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    promise = "trainer: {max_steps: 9}\ndata:\n  batch_size: 4\nrun: {expected_val_loss: 5.2}\n"
    Path("promise.yaml").write_text(promise, encoding="utf-8")
    Path("machine.yaml").write_text("trainer: {accelerator: cpu}\n", encoding="utf-8")
    Path("longer.yaml").write_text("trainer:\n  max_steps: 90\n", encoding="utf-8")


@pytest.mark.parametrize(("args", "holds"), [*((args, True) for args in HOLDS), *((args, False) for args in ENDS)])
def test_what_it_holds_for(args: list[str], holds: bool) -> None:
    assert expectation_holds(collect_origins(["--config=promise.yaml", *args], ["--config"], {}, {})) == holds


def test_what_is_overruled_does_not_count() -> None:
    assert expectation_holds(collect_origins(["--config=longer.yaml", "--config=promise.yaml"], ["--config"], {}, {}))


def test_the_configuration_of_the_run_forgets_it() -> None:
    """So that no report compares with it, nor a run that goes on."""
    kept = TrainerCommandLine("fit", ["--config=promise.yaml", "--run.name=a"]).config
    assert kept.run.expected_val_loss == 5.2
    gone = TrainerCommandLine("fit", ["--config=promise.yaml", "--data.source=my.txt"]).config
    assert gone.run.expected_val_loss is None

"""Runs that cannot fit: refused where that is certain, told in one line where it shows later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gpt_lightning import cli
from gpt_lightning.errors import ConfigError, OutOfMemoryError, explain_memory
from gpt_lightning.training.fitting import memory_limit
from gpt_lightning.training.fitting.run import add_callbacks
from gpt_lightning.training.profiling.memory_estimate import StepSpec, estimate_memory
from tests.training.forked import write_corpus
from tests.training.runs import tiny_run
from tests.training.test_early_ends import _Stop, end_of, saved_steps


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)


def test_an_absurd_size_leaves_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """It used to be a traceback, with exit code 1, out of a folder that was made."""
    line = ["fit", "--data.source=corpus.txt", "--data.tokenizer=bytes", "--data.block_size=16", "--data.batch_size=4"]
    line += ["--trainer.accelerator=cpu", "--model.config.n_embd=8000000", "--model.config.n_head=2", "--run.dir=run"]
    assert cli.main(line) == 4
    told = capsys.readouterr().err
    assert "does not fit into memory" in told
    assert "--data.batch_size (now 4)" in told
    assert "Traceback" not in told
    assert not Path("run").exists()


def test_the_least_is_less_than_what_a_step_takes() -> None:
    """A bound from above would refuse what fits."""
    run = tiny_run({"data.batch_size": 64, "model.config.dropout": 0.0})
    module, data = run.module, run.datamodule
    spec = StepSpec(module.config, module.objective, module.optimizer_recipe, batch_size=64, block_size=data.block_size)
    assert 0.02 < memory_limit.least_memory(run) / estimate_memory(spec).peak < 1
    run.datamodule.close()


def test_what_fits_an_empty_device_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run({"run.dir": "run"})
    monkeypatch.setattr(memory_limit, "total_memory", lambda device: memory_limit.least_memory(run))
    memory_limit.check_memory(run)
    monkeypatch.setattr(memory_limit, "total_memory", lambda device: memory_limit.least_memory(run) - 1)
    with pytest.raises(OutOfMemoryError, match="does not fit") as told:
        run.fit()
    assert told.value.exit_code == 4


def test_memory_that_runs_out_later_is_one_line_and_the_step_is_saved() -> None:
    run = tiny_run({"run": {"dir": "run", "save_every": 100, "validate_every": 6}})
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has. And more. And more")
    add_callbacks(run.trainer, _Stop("on_before_optimizer_step", 3, error))
    with pytest.raises(
        OutOfMemoryError, match=r"Out of memory \(CUDA out of memory\. Tried to allocate 2\.00 GiB\)\. Lower"
    ):
        run.fit()
    assert saved_steps() == [3]
    assert end_of()[1].startswith("OutOfMemoryError: Out of memory (CUDA")


def test_torchs_own_words_are_known() -> None:
    """On this machine and of this version; whatever the size, none of these allocates anything."""
    for shape in ((1 << 61,), (1 << 46,), (1 << 40, 1 << 40)):
        with pytest.raises(RuntimeError) as found:
            torch.empty(shape)
        assert explain_memory(found.value, "Do.") is not None, found.value
    assert explain_memory(MemoryError(), "Do.") is not None
    assert explain_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "Do.") is None
    assert explain_memory(ConfigError("memory: out of memory"), "Do.") is None


def test_any_command_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(args: list[str]) -> int:
        torch.empty(1 << 61)
        return 0

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main([]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.gpu
def test_a_gpu_that_is_full_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """More activations than any one device has, of a model that fits."""
    line = ["fit", "--data.source=builtin:prose", "--data.tokenizer=bytes", "--data.block_size=1024"]
    line += [
        "--data.batch_size=512",
        "--model.config.n_layer=64",
        "--model.config.n_embd=2048",
        "--trainer.max_steps=2",
    ]
    assert cli.main([*line, "--model.config.n_head=16", "--trainer.accelerator=cuda", "--run.dir=run"]) == 4
    assert "Out of memory" in capsys.readouterr().err
    assert json.loads(Path("run/manifest.json").read_text())["starts"][0]["end"]["state"] == "failed"

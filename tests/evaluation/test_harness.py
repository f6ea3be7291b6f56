"""lm-eval on our model gives what its ``hf`` backend gives on the exported model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning import cli
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.data.tokenizers.resolve import resolve
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

WORDS = ["red", "green", "blue", "cat", "dog", "house", "runs", "sleeps", "天空", "是", "蓝色", "的"]
ROWS = [
    {"question": f"The {WORDS[n % 6]} {WORDS[3 + n % 5]} is", "choices": WORDS[n % 4 : n % 4 + 4], "label": n % 4}
    for n in range(12)
]
_SHARED = "dataset_path: json\ntest_split: train\ndataset_kwargs: {data_files: DATA}\n"
TASKS = {
    "choose": _SHARED + "task: choose\noutput_type: multiple_choice\ndoc_to_text: '{{question}}'\n"
    "doc_to_choice: '{{choices}}'\ndoc_to_target: label\nmetric_list: [{metric: acc}, {metric: acc_norm}]\n",
    "roll": _SHARED + "task: roll\noutput_type: loglikelihood_rolling\ndoc_to_text: ''\n"
    "doc_to_target: '{{question}} {{choices}} {{question}}'\n"
    "metric_list: [{metric: bits_per_byte}, {metric: word_perplexity}]\n",
    "write": _SHARED + "task: write\noutput_type: generate_until\ndoc_to_text: '{{question}}'\n"
    "doc_to_target: '{{choices[0]}}'\ngeneration_kwargs: {until: ['.'], max_gen_toks: 6, do_sample: false}\n"
    "metric_list: [{metric: exact_match}]\n",
}


def write_tasks(folder: Path) -> Path:
    folder.mkdir()
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    for name, text in TASKS.items():
        (folder / f"{name}.yaml").write_text(text.replace("DATA", str(data)), encoding="utf-8")
    return folder


def write_run(folder: Path) -> Path:
    tokenizer = resolve("bpe:320", [" ".join(WORDS) + " The is."] * 3)
    config = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=24, vocab_size=tokenizer.vocab_size)
    weights = {f"model.{n}": 3 * v for n, v in GPT(config, torch.Generator().manual_seed(0)).state_dict().items()}
    card = {"model": config.to_dict(), "tokenizer": tokenizer.describe()}
    write_checkpoint(folder / CHECKPOINTS_DIR, step=1, state={"state_dict": weights, "gpt_lightning": card})
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_numbers_of_the_hf_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    lm_eval = pytest.importorskip("lm_eval")
    tasks, run = write_tasks(tmp_path / "tasks"), write_run(tmp_path / "run")
    out = tmp_path / "out.json"
    line = ["evaluate", "lm-eval", str(run), *TASKS, "--include", str(tasks), "--output", str(out)]
    assert cli.main(line) == 0
    assert cli.main(["export", str(run), str(tmp_path / "exported")]) == 0

    manager = lm_eval.tasks.TaskManager(include_path=str(tasks), include_defaults=False)
    theirs: dict[str, Any] = lm_eval.simple_evaluate(
        model="hf", model_args={"pretrained": str(tmp_path / "exported"), "dtype": "float32"}, device="cpu",
        tasks=list(TASKS), task_manager=manager, bootstrap_iters=1000,
    )["results"]  # fmt: skip
    ours = json.loads(out.read_text())["results"]
    for task, metrics in {
        "choose": ("acc,none", "acc_norm,none"),
        "roll": ("bits_per_byte,none", "word_perplexity,none"),
        "write": ("exact_match,none",),
    }.items():
        for metric in metrics:
            assert ours[task][metric] == pytest.approx(theirs[task][metric], rel=1e-5), metric


def test_without_lm_eval_the_command_to_install_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert cli.main(["evaluate", "lm-eval", "run", "task"]) == 2
    assert "pip install 'gpt-lightning[lm-eval]'" in capsys.readouterr().err


def test_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "lm-eval", "run", "task", "--include", "nowhere"]) == 2
    assert "include is a folder of tasks: got 'nowhere'" in capsys.readouterr().err

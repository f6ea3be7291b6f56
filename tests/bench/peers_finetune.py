"""Fine-tuning on conversations by ``fit`` and by trl's SFTTrainer: one model, one set of records, one process.

Both train the answers alone, of the same 2,000 question-answer pairs, from the same base (theirs as ``export`` wrote
it), whole or with LoRA of rank 8 on all linear layers, about 1,000 tokens a step: ours packs them and keeps attention
inside each, theirs pads each row to the longest of its batch, as is its default. They take turns, whole runs of so many
steps; a step is timed from end to end, and what is counted are tokens of the conversations, no padding. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import transformers
import trl
from lightning.pytorch import Callback

from gpt_lightning.data.readers.builtin import iterate_prose
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import add_callbacks
from gpt_lightning.weights.command import export_checkpoint

_MODEL = {"n_layer": 4, "n_head": 4, "n_embd": 256, "bias": False, "norm": "rms", "mlp": "swiglu", "rope_theta": 1e4}
_PAIRS, _BLOCK, _ROWS, _DOCUMENTS, _UNSEEN = 2000, 256, 4, 16, 5
_QUIET = {"accelerator": "cpu", "limit_val_batches": 0}


class Clock:
    """Ends of steps."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def tick(self) -> None:
        """A step is done."""
        self.ends.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Of the steps behind the first few."""
        return [end - start for start, end in zip(self.ends[_UNSEEN:], self.ends[_UNSEEN + 1 :], strict=False)]


class OurClock(Callback):
    """Ticks in ``fit``."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, *given: Any) -> None:
        """As in ``Callback``."""
        self.clock.tick()


class TheirClock(transformers.TrainerCallback):
    """Ticks in their Trainer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *given: Any, **named: Any) -> None:
        """As in theirs."""
        self.clock.tick()


def write_pairs(place: Path) -> list[dict[str, str]]:
    """Neighbouring sentences of the built-in prose as question and answer."""
    text = " ".join(document for _, document in iterate_prose())
    sentences = [each.strip() for each in text.replace("\n", " ").split(". ") if 20 < len(each) < 300]
    step = len(sentences) // _PAIRS
    pairs = [{"prompt": sentences[n * step], "completion": sentences[n * step + 1]} for n in range(_PAIRS)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs), encoding="utf-8")
    return pairs


def make_base(place: Path) -> None:
    """A run of one step, and the same in Hugging Face's layout."""
    build(
        {"run.dir": str(place / "base"), "data.source": "builtin:pydoc", "data.tokenizer": "bpe:2048"},
        {"model.config": _MODEL, "data.block_size": _BLOCK, "trainer": {"max_steps": 1, **_QUIET}},
        {"run.sample_tokens": 0},
    ).fit()
    export_checkpoint(str(place / "base"), str(place / "exported"))


def run_ours(place: Path, steps: int, lora: bool, number: int) -> dict[str, float]:
    """Seconds and tokens of a step."""
    adaptation = {"class_path": "LoRA", "init_args": {"r": 8}} if lora else None
    clock = Clock()
    run = build(
        {"init_from": str(place / "base"), "run.dir": str(place / f"ours-{number}"), "run.sample_tokens": 0},
        {"data.source": str(place / "pairs.jsonl"), "data.layout": "Conversation", "data.packing": "Pack"},
        {"data.document_mask": True, "data.block_size": _BLOCK, "data.batch_size": _ROWS, "data.val_fraction": 0.0},
        {"model.objective": "SFT", "model.adaptation": adaptation, "trainer": {"max_steps": steps, **_QUIET}},
    )
    add_callbacks(run.trainer, OurClock(clock))
    run.fit()
    split = run.datamodule.open_store().split("train")
    windows = run.datamodule.windows_per_epoch()
    assert windows is not None
    return {"seconds": statistics.median(clock.seconds()), "tokens": _ROWS * split.num_tokens / windows}


def run_theirs(place: Path, pairs: list[dict[str, str]], steps: int, lora: bool, number: int) -> dict[str, float]:
    """Seconds and tokens of a step."""
    clock = Clock()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "exported")
    settings = trl.SFTConfig(
        output_dir=str(place / f"theirs-{number}"),
        per_device_train_batch_size=_DOCUMENTS,
        max_steps=steps,
        max_length=_BLOCK,
        learning_rate=1e-3,
        completion_only_loss=True,
        report_to="none",
        save_strategy="no",
        logging_steps=50,
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    adapter = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None
    trainer = trl.SFTTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(place / "exported", dtype=torch.float32),
        args=settings,
        train_dataset=datasets.Dataset.from_list(pairs),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[TheirClock(clock)],
    )
    trainer.train()
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    return {"seconds": statistics.median(clock.seconds()), "tokens": _DOCUMENTS * statistics.mean(lengths)}


def compare(steps: int, rounds: int) -> dict[str, Any]:
    """Tokens per second of both, whole and with LoRA, by turns."""
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "trl": trl.__version__}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        pairs = write_pairs(place)
        make_base(place)
        for name, lora in (("sft", False), ("lora", True)):
            turns = []
            for number in range(rounds):
                ours = run_ours(place, steps, lora, 2 * number + lora)
                theirs = run_theirs(place, pairs, steps, lora, 2 * number + lora)
                turns.append({"fit": ours, "trl": theirs})
            speeds = {
                who: statistics.median(turn[who]["tokens"] / turn[who]["seconds"] for turn in turns)
                for who in ("fit", "trl")
            }
            ratio = statistics.median(
                turn["fit"]["tokens"] / turn["fit"]["seconds"] / (turn["trl"]["tokens"] / turn["trl"]["seconds"])
                for turn in turns
            )
            found[name] = {"speeds": speeds, "ratio": ratio, "turns": turns}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    sys.stdout.write(json.dumps(compare(chosen.steps, chosen.rounds)) + "\n")

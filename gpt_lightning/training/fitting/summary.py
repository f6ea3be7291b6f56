"""What a run says when it ends: the loss reached beside the one expected, a sample, and what to type next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import torch

from gpt_lightning.errors import CheckpointError, DataError
from gpt_lightning.generation.decode import generate_text
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.training.engine.sharded_strategy import Sharded
from gpt_lightning.training.fitting.run import FitResult, Run
from gpt_lightning.training.runs.run_folder import SAMPLES_FILE

_BEGINNING = 16
"""Tokens of the training text, from which a prompt is taken."""


def describe_result(run: Run, result: FitResult, config_files: list[str]) -> str:
    """The closing report, several lines."""
    lines = ["", *_metric_lines(run, result)]
    labels = bool(run.module.objective.describe_use(run.module.context))
    if run.settings.sample_tokens and not labels and result.step != (result.resumed_step or 0):
        lines += ["", *_sample_lines(run, result)]
    lines += ["", f"Run folder: {result.folder}", "Next:", *_next_commands(run, result, config_files)]
    return "\n".join(lines) + "\n"


def _metric_lines(run: Run, result: FitResult) -> list[str]:
    total, end = run.plan.horizon.total_steps, result.ended
    if end is None and result.step == result.resumed_step:
        return [f"Nothing to do: {result.folder} had already reached step {result.step}."]
    if end is not None and result.step == (result.resumed_step or 0):
        return [f"Nothing was done: {result.folder} is at step {result.step} of {total}, and {end.reason}. {end.fix}"]
    done = f"Done: {result.step} steps, {run.plan.horizon.tokens_before(result.step):,} tokens."
    if end is not None:
        done = f"Ended early, at step {result.step} of {total}, which is saved: {end.reason}. {end.fix}".rstrip()
    if "val/loss" not in result.metrics:
        setting = "trainer.limit_val_batches" if run.datamodule.has_validation() else "data.val_fraction"
        return [done, f"Not validated ({setting} is 0)."]
    loss, expected = result.metrics["val/loss"], run.settings.expected_val_loss
    beside = "" if expected is None else f"   (expected {expected:.3f}, difference {loss - expected:+.3f})"
    lines = [done, f"Validation loss  {loss:.4f} {run.module.objective.unit}{beside}"]
    for name, (title, digits) in _SHOWN.items():
        if name in result.metrics:
            lines.append(f"{title:<17}{result.metrics[name]:.{digits}f}")
    return lines


_SHOWN = {
    "val/accuracy": ("Accuracy", 4),
    "val/f1_macro": ("F1 (macro)", 4),
    "val/calibration_error": ("Calibration", 4),
    "val/pearson": ("Pearson", 4),
    "val/margin": ("Margin", 4),
    "val/clm_loss": ("Causal loss", 4),
    "val/bits_per_byte": ("Bits per byte", 4),
    "val/perplexity": ("Perplexity", 2),
}
"""Measures of a validation that the summary shows where there are any, with their digits."""


def _sample_lines(run: Run, result: FitResult) -> list[str]:
    if isinstance(run.trainer.strategy, Sharded):
        return ["No sample: the weights are spread over processes that have parted."]
    try:
        text = sample_text(run)
        keep_sample(result.folder, step=result.step, prompt=run.settings.prompt, text=text)
        return ["Sample (temperature 0.8, top-k 50):", text]
    except (DataError, CheckpointError, OSError) as problem:
        # A vocabulary of characters may not know the prompt, or a run that skipped its bad steps has no finite logits;
        # no reason to fail a run that is done; nor is a disk that has just become full.
        return [f"No sample of run.prompt: {problem}"]


def keep_sample(folder: Path, *, step: int, prompt: str, text: str) -> None:
    """Add a sample to the run's ``samples.jsonl``, for its report."""
    with (folder / SAMPLES_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "prompt": prompt, "text": text}) + "\n")


def sample_text(run: Run) -> str:
    """``run.prompt`` continued by the model as it is now."""
    tokenizer = run.module.text_tokenizer
    pieces = generate_text(
        run.module.model,
        tokenizer,
        run.settings.prompt,
        max_tokens=run.settings.sample_tokens,
        sampling=Sampling(temperature=0.8, top_k=50),
        generator=torch.Generator(device=run.module.device).manual_seed(run.seed),
    )
    return run.settings.prompt + "".join(pieces)


def _next_commands(run: Run, result: FitResult, config_files: list[str]) -> list[str]:
    rate = run.module.optimizer_recipe.rates["matrix"]
    space = f"parameters.model.optimizer.lr={{distribution: log_grid, min: {rate / 4:g}, max: {rate * 4:g}}}"
    base = config_files[0] if len(config_files) == 1 else f"{result.folder}/config.yaml"
    commands: dict[str, list[object]] = {
        "monitor": ["monitor", result.folder.parent],
        "report": ["runs", "report", result.folder],
        **_use(run, result.folder),
        "sweep": ["sweep", "run", base, "--set", space, "--set", "budget.trials=5"],
    }
    return [f"  {name:<11}gpt-lightning {shlex.join(map(str, words))}" for name, words in commands.items()]


def _use(run: Run, folder: Path) -> dict[str, list[object]]:
    """The command for what a model was trained to do: label texts, talk, or write."""
    layout = run.datamodule.open_store().manifest.layout
    if run.module.objective.describe_use(run.module.context):
        return {"classify": ["evaluate", "classify", folder, "--calibrate", "true"]}
    if layout is not None and layout.chat_format:
        return {"chat": ["chat", folder]}
    prompt = _choose_prompt(run)
    return {"generate": ["generate", folder, *([f"--prompt={prompt}"] if prompt[:1] == "-" else ["--prompt", prompt])]}


def _choose_prompt(run: Run) -> str:
    """A prompt that the vocabulary knows: ``run.prompt``, or how the training text begins."""
    tokenizer, prompt = run.datamodule.open_store().tokenizer, run.settings.prompt.strip() or "The"
    try:
        tokenizer.encode(prompt)
        return prompt
    except DataError:
        words = tokenizer.decode([int(token) for token in run.datamodule.first_window()[:_BEGINNING]]).split()
        return words[0] if words else ""

"""Every name that a run logs, and what it means: one table, from which the layout, the docs and the tests are made.

``<group>``, ``<source>`` and the like stand for what differs from run to run. All points have one clock, the number of
optimizer steps done. Only ``by_tokens/...`` is stamped with training tokens instead; it is written as a run of its own
(the folder ``by_tokens`` inside the run folder), because a resume cuts an event file at one number for all its names.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["scalars", "texts", "histograms", "images"]

METRICS = {
    "train/loss": "mean loss since the last point, weighted by tokens, over all processes",
    "train/perplexity": "exp(train/loss), with CausalLM",
    "train/loss_max": "the largest mean loss of a process since the last point (only with several processes)",
    "train/part/<name>": "mean of a part that the objective reports beside its loss, over all processes",
    "val/loss": "mean loss over the whole validation split (nats per token)",
    "val/loss/<source>": "the same over one source of a data.mixture; val/loss is their mean by tokens",
    "val/part/<name>": "as train/part/<name>, over the whole validation split",
    "val/accuracy": "share of right labels, or of preferences the right way round",
    "val/margin": "by how much chosen answers are ahead of rejected ones",
    "val/kl": "how far a model has moved from its reference, nats per answer, with KTO",
    "val/f1_macro": "mean over labels of their F1",
    "val/f1_micro": "F1 over all labels together, with MultiLabel",
    "val/auroc": "mean over labels of the area under the ROC curve, each against the rest",
    "val/average_precision": "mean over labels of the average precision, each against the rest",
    "val/calibration_error": "mean distance between probability and share of right labels, 15 bins of equal width",
    "val/pearson": "correlation of predicted and known numbers, with Regress",
    "val/mse": "mean squared error of them",
    "val/clm_loss": "next-token loss on the same text, where the objective is another one than CausalLM",
    "val/perplexity": "exp(val/loss), with CausalLM",
    "val/bits_per_byte": "next-token loss in bits per byte of validation text, special tokens left out",
    "eval/<task>/<metric>": "scores of tasks, where evaluation.callbacks.TaskScores is among trainer.callbacks",
    "optim/lr/<group>": "learning rate of a parameter group in the step just done",
    "optim/grad_norm": "norm of all gradients before clipping, in the step just done",
    "optim/grad_norm_clipped": "the same after clipping (only with trainer.gradient_clip_val)",
    "optim/update_ratio/<group>": "norm of the last update over the norm of the weights, of a parameter group",
    "optim/skipped_steps": "steps left out so far because their loss or gradient was not finite",
    "optim/loss_scale": "factor on the loss that keeps float16 gradients from vanishing (only with precision 16-mixed)",
    "perf/tokens_per_second": "training tokens per second since the last point, validation and saving left out",
    "perf/step_seconds": "seconds of a step since the last point, validation and saving left out",
    "perf/mfu": "operations of the model per second over the matrix peak measured on this device; see bench",
    "perf/data_wait": "share of the time since the last point that this process waited for batches",
    "perf/eta_seconds": "seconds until the last step at the speed since the last point",
    "memory/process_gib": "resident memory of this process, GiB",
    "memory/cuda_allocated_gib": "memory in tensors on the CUDA device at most since the last point, GiB",
    "memory/cuda_reserved_gib": "memory that PyTorch holds on the CUDA device, GiB",
    "data/tokens": "training tokens consumed",
    "data/epoch": "passes over the training split (not with data.on_the_fly)",
    "activation/rms/<block>": "root mean square of the residual stream behind a block, on the text of monitor.text",
    "by_tokens/<name>": "train/loss and all of val/, over training tokens instead of steps",
}
"""Scalars."""
METRICS |= {f"test/{name.removeprefix('val/')}": f"as {name}, test split" for name in METRICS if name[:4] == "val/"}

TEXTS = {
    "run/start_<number>": "command, versions, host and git state of a start; number 1 is the first",
    "run/config": "the resolved configuration",
    "run/config_vs_defaults": "its settings that differ from the code's defaults",
    "run/config_vs_parent": "its settings that differ from the run it goes on from, branches off or begins with",
    "run/data": "what the training data are",
    "run/traces": "the longest operations of the steps named in monitor.trace_steps",
    "samples/<prompt>": "a prompt and how the model goes on, at each validation",
    "samples/worst_tokens": "the worst predicted tokens of the validation split with the text before them",
    "run/alerts": "what the rules of monitor.alerts said",
}
HISTOGRAMS = {
    "weights/<module>": "weights of a block, or of a module outside the blocks",
    "gradients/<module>": "their gradients in the step just done, after clipping",
    "activations/<block>": "the residual stream behind a block, on the text of monitor.text",
}
IMAGES = {
    "attention/heads": "who attends to whom in the text of monitor.text: rows are layers, columns heads",
    "losses/by_position": "mean validation loss of each position of a window",
    "losses/tokens": "loss of every token of the first validation windows, one row a window",
    "labels/confusion": "of the validation items of each label (rows), the share that was taken for each (columns)",
    "schedule/lr": "learning rate of each parameter group over the whole run",
}
NAMES: dict[Kind, dict[str, str]] = {
    "scalars": METRICS,
    "texts": TEXTS,
    "histograms": HISTOGRAMS,
    "images": IMAGES,
}


def is_known(kind: Kind, name: str) -> bool:
    """Whether a logged name stands in the table.

    >>> is_known("scalars", "optim/lr/matrix"), is_known("scalars", "optim/rate")
    (True, False)
    """
    return any(_pattern(entry).fullmatch(name) for entry in NAMES[kind])


def _pattern(entry: str) -> re.Pattern[str]:
    parts = re.split(r"<\w+>", entry)
    return re.compile(r".+".join(re.escape(part) for part in parts))

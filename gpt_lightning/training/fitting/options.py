"""The settings of fit, validate, test and predict by name, read in the sources: nothing slow is imported for them.

The parser of these commands (``command_line``) takes its texts from here, and a test compares its settings with these.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from gpt_lightning.model.presets import PRESETS
from gpt_lightning.parsing.signatures import Parameter, find_subclasses, read_parameters

PACKAGE = Path(__file__).parents[2]
REPLACED = {
    "val_check_interval": "--run.validate_every 100 (steps, tokens or a share of the run)",
    "check_val_every_n_epoch": "--run.validate_every 100 (steps, tokens or a share of the run)",
    "limit_train_batches": "--trainer.max_steps",
    "overfit_batches": "a small --data.source",
    "fast_dev_run": "--trainer.max_steps 2 --trainer.limit_val_batches 2 --run.dir SCRATCH_FOLDER",
    "reload_dataloaders_every_n_epochs": "nothing: the order of samples is a function of the seed",
    "barebones": "--trainer.logger false --run.sample_tokens 0",
    "gradient_clip_algorithm": "nothing: gradients are clipped by their norm",
    "num_sanity_val_steps": "nothing: the data are checked before training starts",
    "min_epochs": "--trainer.min_steps",
    "enable_checkpointing": "--run.save_every '100%' (a run always saves its last step)",
    "enable_model_summary": "nothing: the first line says how large the model is",
    "default_root_dir": "--run.dir",
    "use_distributed_sampler": "nothing: every process takes its share of the stream",
    "enable_autolog_hparams": "nothing: config.yaml in the run folder holds every setting",
    "model_registry": "nothing: a run folder is loaded by its path",
}
"""Trainer options that this platform answers in its own way, and what to write instead."""

_ALIASES = {
    "model.optimizer.lr": "learning_rate lr max_lr peak_lr",
    "model.optimizer.weight_decay": "weight_decay wd",
    "model.optimizer": "optimizer optim",
    "model.schedule": "scheduler lr_scheduler lr_schedule lr_scheduler_type lr_decay",
    "model.schedule.warmup": "warmup warmup_steps warmup_iters num_warmup_steps warmup_ratio",
    "model.compile": "torch_compile",
    "model.config.n_layer": "layers n_layers num_layers num_hidden_layers depth",
    "model.config.n_head": "heads n_heads num_heads num_attention_heads",
    "model.config.n_embd": "hidden_size d_model dim embed_dim n_embed width",
    "data.block_size": "context_length context_size context max_seq_len seq_len sequence_length max_length",
    "data.batch_size": "batch_size micro_batch_size per_device_train_batch_size device_batch_size bs",
    "data.global_batch_tokens": "total_batch_size global_batch_size",
    "data.source": "dataset data_path data_dir train_file input input_file file text text_file corpus",
    "trainer.max_steps": "steps num_steps max_iters iters iterations num_iterations train_steps",
    "trainer.max_epochs": "epochs num_epochs num_train_epochs n_epochs",
    "trainer.accumulate_grad_batches": "gradient_accumulation_steps grad_accum accumulation_steps",
    "trainer.gradient_clip_val": "grad_clip max_grad_norm clip clip_grad gradient_clip",
    "trainer.precision": "dtype fp16 bf16 amp mixed_precision",
    "trainer.accelerator": "device",
    "trainer.devices": "gpus num_gpus n_gpu",
    "run.dir": "output output_dir out out_dir save_dir run_dir checkpoint_dir",
    "run.name": "run_name experiment experiment_name",
    "run.validate_every": "eval_interval eval_steps eval_every val_interval validate_every",
    "run.save_every": "save_steps save_interval checkpoint_every save_every",
    "run.prompt": "sample_prompt",
    "monitor.trackers": "wandb report_to logger loggers",
    "resume": "resume_from_checkpoint ckpt_path continue restart",
    "init_from": "pretrained pretrained_model model_name_or_path finetune_from",
    "preset": "model_name model_size model_type arch architecture",
    "seed_everything": "seed random_seed",
    "config": "config_file yaml conf cfg",
}
ELSEWHERE = {alias: key for key, aliases in _ALIASES.items() for alias in aliases.split()}
"""What other programs call a setting -> its name here."""

OWN = {
    "config": "A YAML file of settings; of several, later ones win.",
    "print_config": "Show the resolved settings as a config file, and do nothing else.",
    "seed_everything": "Seed of weights, order of samples and dropout.",
    "preset": "A known architecture, of which entries of model.config change single fields: "
    + ", ".join(PRESETS)
    + ".",
    "allow_outside": "Classes that may run a program or send something to another machine although a file names them, "
    "such as Command,Webhook,WandB; all = any. Has no effect inside a file.",
    "progress": "How to show where training stands: lines, a table, or not. Null = a table on a terminal, few lines "
    "elsewhere.",
    "resume": "never: a new run. auto: go on where this run stopped, or start it. PATH: go on from a run folder or "
    "checkpoint.",
    "dry_run": "Check everything and train a few steps as doctor does; start no run.",
    "init_from": "Run folder, checkpoint, file of weights or Hugging Face folder to start from: its weights, and what "
    "is not set of model.config.",
    "checkpoint": "Run folder (its best checkpoint) or checkpoint; without --config the run's own is used.",
}
"""Options of the commands themselves -> help."""
_ONLY_FIT, _NOT_FIT = ("progress", "resume", "dry_run", "init_from"), ("checkpoint",)

NOT_FOR_FILES = ("checkpoint", "prompt", "beams", "length_penalty", "adapter", "prefer", "device")
"""Of ``generate``, what a file of prompts answered by a Trainer's devices does not need."""


def known_settings(command: str) -> dict[str, Parameter]:
    """Every setting of a command by its dotted key, without the arguments of classes that a setting may choose."""
    lightning = importlib.util.find_spec("lightning")
    places = list(lightning.submodule_search_locations or []) if lightning else []
    here = PACKAGE / "training"
    left_out = _NOT_FIT if command == "fit" else _ONLY_FIT
    found = {name: Parameter("", None, text) for name, text in OWN.items() if name not in left_out}
    parts = [
        ("model", here / "modules" / "module.py", "GPTModule"),
        ("model.config", PACKAGE / "model" / "config.py", "GPTConfig"),
        ("data", here / "loading" / "datamodule.py", "TokenDataModule"),
        ("data", PACKAGE / "data" / "prepare" / "prepare.py", "PrepareSettings"),
        ("run", here / "runs" / "settings.py", "RunSettings"),
        ("monitor", here / "watch" / "monitor.py", "Monitor"),
        *(("trainer", Path(place, "pytorch", "trainer", "trainer.py"), "Trainer") for place in places),
    ]
    if command == "predict":
        parts.append(("generate", PACKAGE / "generation" / "command.py", "generate_command"))
    for section, path, name in parts:
        for key, parameter in read_parameters(path, name).items():
            if not (section == "trainer" and key in REPLACED) and not (section == "generate" and key in NOT_FOR_FILES):
                found[f"{section}.{key}"] = parameter
    found.pop("model.config", None)
    return found


def class_settings(settings: Mapping[str, Parameter]) -> dict[str, dict[str, Mapping[str, Parameter]]]:
    """Settings that hold a class of this package -> its short name -> its arguments."""
    known = find_subclasses(PACKAGE)
    found: dict[str, dict[str, Mapping[str, Parameter]]] = {}
    own = {key: each for key, each in settings.items() if not key.startswith("trainer.")}  # those are Lightning's
    for key, parameter in own.items():
        for base in re.findall(r"\w+", parameter.hint):
            for name, path in known.get(base, {}).items():
                found.setdefault(key, {})[name] = read_parameters(path, name)
    return found

"""Help of fit, validate, test and predict: a first page with what people set first, and a page for each topic."""

from __future__ import annotations

from gpt_lightning.parsing.pages import entry, list_classes, tell
from gpt_lightning.parsing.signatures import Parameter
from gpt_lightning.training.fitting.options import OWN, class_settings, known_settings

EXAMPLES = {
    "fit": "gpt-lightning fit --config configs/quickstart.yaml --model.optimizer.lr 1e-3",
    "validate": "gpt-lightning validate --checkpoint runs/quickstart-1",
    "test": "gpt-lightning test --checkpoint runs/quickstart-1 --data.source my.txt --data.test_fraction 0.1",
    "predict": "gpt-lightning predict --checkpoint runs/quickstart-1\nExample: gpt-lightning predict --checkpoint "
    "runs/quickstart-1 --generate.input prompts.jsonl --generate.output texts.jsonl --trainer.devices 2",
}
_FIRST = {
    "data.source": "The text: a file, a folder, a glob, a URL, or a list of these.",
    "data.tokenizer": "bytes, chars, bpe:4096 (trained on the text), gpt2, or a saved tokenizer.",
    "data.block_size": "Tokens of one window: how far the model looks back.",
    "data.batch_size": "Windows in a micro-batch on each device.",
    "model.config.n_layer": "Number of blocks.",
    "model.config.n_head": "Attention heads of a block.",
    "model.config.n_embd": "Width of the model.",
    "model.optimizer.lr": "Peak learning rate.",
    "model.schedule": "How the learning rate changes: Cosine, WSD, Linear, ...",
    "trainer.max_steps": "Length of the run in optimizer steps (run.max_tokens: in tokens).",
    "trainer.accelerator": "cpu, cuda, mps; auto = the best there is.",
    "trainer.devices": "How many of them.",
    "trainer.precision": "32-true, bf16-mixed, 16-mixed, ...; null = 32-true.",
    "run.name": "Runs are kept in runs/NAME-1, runs/NAME-2, ...; null = the name of the config file.",
    "run.dir": "Another folder for this run.",
    "run.validate_every": "How often to validate: steps, tokens or a share of the run.",
}
"""What people set first -> what to say of it there."""
_OPTIM = (
    *("model.optimizer", "model.schedule", "model.parametrization", "model.nonfinite", "model.ema_decay"),
    *("trainer.gradient_clip_val", "trainer.accumulate_grad_batches", "data.global_batch_tokens", "data.batch_ramp"),
)
TOPICS = ("data", "model", "optim", "trainer", "run", "monitor", "all")


def help_page(command: str, topic: str = "") -> str:
    """A page of help.

    Args:
        command: fit, validate, test or predict.
        topic: One of ``TOPICS``; "" = the first page.
    """
    settings = known_settings(command)
    classes = class_settings(settings)
    settings["model.optimizer.lr"] = classes["model.optimizer"]["AdamW"]["lr"]
    lines = [f"usage: gpt-lightning {command} [--config FILE ...] [--SETTING VALUE ...]", ""]
    if topic:
        keys = _OPTIM if topic == "optim" else [key for key in settings if key.startswith(f"{topic}.")]
        for key in keys:
            lines += entry(key, tell(settings[key]))
            lines += list_classes(classes.get(key, {}))
        return "\n".join(lines) + "\n"
    lines += [f"Example: {EXAMPLES[command]}", ""]
    for key in (key for key in OWN if key in settings):
        lines += entry(key, OWN[key])
    lines.append("")
    for key, text in _FIRST.items():
        lines += entry(key, tell(Parameter("", settings[key].default, text)))
    return "\n".join([*lines, "", *_MORE.format(command=command, topics="|".join(TOPICS)).splitlines(), ""])


_MORE = """\
More: gpt-lightning {command} --help {topics}
Options of a class: --model.optimizer.help Muon, --model.schedule.help WSD
Every setting is also an entry of a YAML file and an environment variable
(GPT_LIGHTNING_TRAINER__MAX_STEPS=500)."""

"""``gpt-lightning evaluate tasks`` and ``evaluate list``: benchmarks on files that the user has."""

from __future__ import annotations

import sys
from pathlib import Path

from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.kinds.task_files import read_tasks, shipped_tasks
from gpt_lightning.evaluation.kinds.tasks import Asking
from gpt_lightning.evaluation.outcomes.reporting import Outputs
from gpt_lightning.evaluation.scoring.models import open_model, step_of_card, with_weights
from gpt_lightning.parsing.strict_yaml import read_yaml


def tasks_command(
    model: str,
    tasks: list[str],
    data: str | None = None,
    shots: int = 0,
    seed: int = 0,
    limit: int | None = None,
    begin: str = "eot",
    max_tokens: int = 4096,
    weights: str = "float32",
    prefer: str = "best",
    device: str = "auto",
    output: str | None = None,
    report: str | None = None,
    tensorboard: str | None = None,
) -> None:
    """Measure a model on benchmarks: choices, labels, cloze, generation, corpora.

    A task is a YAML file, or the name of one that comes with the package (gpt-lightning evaluate list). Its data are
    files on this machine; nothing is downloaded.

    Example: gpt-lightning evaluate tasks runs/quickstart-1 tnews eprstmt --data FewCLUE/datasets --shots 4
    Example: gpt-lightning evaluate tasks runs/quickstart-1 my_task.yaml --output scores.json

    Args:
        model: Run folder, checkpoint folder or exported folder.
        tasks: Paths of YAML files, or names.
        data: Folder of the data; null = that of each task's YAML file.
        shots: Solved examples before each question.
        seed: Which examples are shown.
        limit: Ask only so many questions of each task.
        begin: eot: end-of-text before each prompt, as in training; none: only before an empty one.
        max_tokens: Tokens of a forward pass; changes time and memory only.
        weights: float32 = as they are; bfloat16, float16 or int8 = as generate --weights decodes with them.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
        output: JSON file to write, for gpt-lightning evaluate compare; of several tasks a folder.
        report: Page to write, .html or .md.
        tensorboard: Folder to write events to, as eval/<task>/<metric>.
    """
    outputs = Outputs(output, report, tensorboard)
    outputs.check(several=len(tasks) > 1)
    if not tasks:
        raise ConfigError("No task is named", got=[], fix="See gpt-lightning evaluate list.")
    folder = None if data is None else Path(data).expanduser()
    asking = Asking(folder, shots, seed, limit, begin, max_tokens)
    chosen = read_tasks(tasks)
    for task in chosen:
        task.check(asking)
    loaded = open_model(model, prefer=prefer, device=device, weights=weights)
    outputs.write([with_weights(task.run(loaded, asking), weights) for task in chosen], step_of_card(loaded))


def list_command() -> None:
    """List the benchmarks that come with the package, with the files each of them reads.

    Example: gpt-lightning evaluate list
    """
    for name, path in shipped_tasks().items():
        task = read_yaml(path)  # each through its parser would take seconds
        about, data, source = (task[key] for key in ("description", "data", "data_from"))
        sys.stdout.write(f"{name:<12} {about}\n{'':<12} reads {data}: {source}\n")

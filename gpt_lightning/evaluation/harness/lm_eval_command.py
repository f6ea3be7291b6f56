"""``gpt-lightning evaluate lm-eval``: the tasks of lm-evaluation-harness."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.harness.harness import import_harness, run_harness
from gpt_lightning.evaluation.outcomes.reporting import align, format_score
from gpt_lightning.evaluation.outcomes.results import check_output
from gpt_lightning.evaluation.scoring.models import open_model
from gpt_lightning.files.atomic import write_text_durably


def lm_eval_command(
    model: str,
    tasks: list[str],
    include: str | None = None,
    shots: int = 0,
    limit: int | None = None,
    max_tokens: int = 4096,
    weights: str = "float32",
    prefer: str = "best",
    device: str = "auto",
    output: str | None = None,
) -> None:
    """Run tasks of EleutherAI's lm-evaluation-harness (pip install 'gpt-lightning[lm-eval]').

    Its own tasks fetch their data from the Hugging Face hub. With --include only the tasks of that folder are known,
    which may read local files (dataset_path: json), and no network is needed.

    Example: gpt-lightning evaluate lm-eval runs/quickstart-1 my_task --include my_tasks/ --output scores.json

    Args:
        model: Run folder, checkpoint folder or exported folder.
        tasks: Names of tasks.
        include: Folder of tasks of your own.
        shots: Solved examples before each question; 0 = as the task says.
        limit: Ask only so many questions of each task.
        max_tokens: Tokens of a forward pass; changes time and memory only.
        weights: float32 = as they are; bfloat16, float16 or int8 = as generate --weights decodes with them.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
        output: JSON file to write.
    """
    if output is not None:
        check_output(Path(output))
    if include is not None and not Path(include).is_dir():
        raise ConfigError("include is a folder of tasks", got=include, allowed="a folder that exists")
    import_harness("lm_eval")
    loaded = open_model(model, prefer=prefer, device=device, weights=weights)
    folder = None if include is None else Path(include)
    report = run_harness(loaded, tasks, include=folder, shots=shots, limit=limit, max_tokens=max_tokens)
    results: dict[str, dict[str, Any]] = report["results"]
    rows = [["task", "metric", "value", "+-"]]
    for task, values in results.items():
        for name, value in values.items():
            if isinstance(value, float) and "_stderr," not in name:
                error = values.get(name.replace(",", "_stderr,"))
                shown = format_score(error) if isinstance(error, float) else ""
                rows.append([task, name.removesuffix(",none"), format_score(value), shown])
    sys.stdout.write("\n".join([f"lm-eval, {loaded.path}", *align(rows)]) + "\n")
    if output is not None:
        kept = {"model": str(loaded.path), "results": results, "versions": report.get("versions", {})}
        write_text_durably(Path(output), json.dumps(kept, ensure_ascii=False, indent=1, default=str) + "\n")
        sys.stdout.write(f"wrote {output}\n")

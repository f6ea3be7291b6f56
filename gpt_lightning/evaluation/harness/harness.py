"""Our models as one of EleutherAI's lm-evaluation-harness, whose tasks then run on them as on any other.

Everything that scores goes through ``continuations``; everything that writes through the engine. The numbers are those
of the harness' ``hf`` backend on the exported model (tests, slow).

``gpt-lightning evaluate lm-eval`` is at the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.reporting import align, format_score
from gpt_lightning.evaluation.outcomes.results import check_output
from gpt_lightning.evaluation.scoring.continuations import score_continuations
from gpt_lightning.evaluation.scoring.models import open_model
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.weights.loading import LoadedModel

_CHUNK, _SLOTS, _MOST_TOKENS = 512, 16, 256
_KNOWN = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"})


def import_harness(module: str) -> Any:
    """A module of lm-eval.

    Raises:
        ConfigError: It is not installed; names the pip command.
    """
    return import_extra(module, "lm-eval", "evaluate lm-eval needs", ConfigError)


def build_harness_model(loaded: LoadedModel, max_tokens: int = 4096) -> Any:
    """A model as the harness wants it, of its class ``TemplateLM``.

    Args:
        loaded: Model and tokenizer.
        max_tokens: Of a forward pass.
    """
    base: Any = import_harness("lm_eval.api.model").TemplateLM
    utils = import_harness("lm_eval.utils")

    class HarnessModel(base):  # type: ignore[misc]
        """Bridges the harness' requests to ours."""

        @property
        def eot_token_id(self) -> int:
            return loaded.tokenizer.eot_id

        @property
        def prefix_token_id(self) -> int:
            return loaded.tokenizer.begin_id

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
            return [int(token) for token in loaded.tokenizer.encode(string)]

        def _loglikelihood_tokens(
            self, requests: Any, disable_tqdm: bool = False, **_: Any
        ) -> list[tuple[float, bool]]:
            pairs = [(context, continuation) for _, context, continuation in requests]
            results = []
            for start in range(0, len(pairs), _CHUNK):
                found = score_continuations(loaded.model, pairs[start : start + _CHUNK], max_tokens=max_tokens)
                results += [(-each.nats, each.is_greedy) for each in found]
            return results

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            results = []
            for request in requests:
                ids = self.tok_encode(request.args[0])
                windows = utils.get_rolling_token_windows(
                    token_list=ids, prefix_token=self.eot_token_id, max_seq_len=loaded.model.block_size, context_len=1
                )
                pairs = [utils.make_disjoint_window(window) for window in windows]
                results.append(-sum(each.nats for each in score_continuations(loaded.model, pairs)))
            return results

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            engine = Engine(loaded.model, loaded.tokenizer, slots=_SLOTS)
            wanted = [_as_request(loaded, *request.args) for request in requests]
            return [completions[0].text for completions in engine.generate(wanted)]

    return HarnessModel()


def _as_request(loaded: LoadedModel, context: str, options: dict[str, Any]) -> Request:
    unknown = sorted(set(options) - _KNOWN)
    if unknown:
        raise ConfigError(
            "A task of the harness asks for a way of writing that is not known here",
            got=unknown,
            allowed=", ".join(sorted(_KNOWN)),
            fix="Take it out of the task's generation_kwargs.",
        )
    until = options.get("until") or []
    most = int(options.get("max_gen_toks", _MOST_TOKENS))
    draws = bool(options.get("do_sample", False))
    sampling = Sampling(
        temperature=float(options.get("temperature", 1.0)) if draws else 0.0,
        top_p=options.get("top_p") if draws else None,
        top_k=options.get("top_k") if draws else None,
    )
    # As the hf backend: the prompt keeps the end that leaves room for the answer.
    ids = [int(token) for token in loaded.tokenizer.encode(context)] or [loaded.tokenizer.begin_id]
    room = loaded.model.block_size - most
    if room < 1:
        raise DataError(
            "A task's answers are longer than the model's positions",
            got=most,
            allowed=f"below block_size={loaded.model.block_size}",
            fix="Lower max_gen_toks in the task.",
        )
    stop = (until,) if isinstance(until, str) else tuple(until)
    return Request(ids[-room:], max_tokens=most, sampling=sampling, stop=stop)


def run_harness(
    loaded: LoadedModel, tasks: Sequence[str], *, include: Path | None, shots: int, limit: int | None, max_tokens: int
) -> dict[str, Any]:
    """Run tasks of the harness.

    Args:
        loaded: Model and tokenizer.
        tasks: Names.
        include: Folder of further tasks; then only those are known, and no network is needed.
        shots: Solved examples before each question.
        limit: Only so many questions of each task.
        max_tokens: Of a forward pass.

    Returns:
        The harness' own report.

    Raises:
        ConfigError: lm-eval is not installed, or does not know a task.
    """
    simple = import_harness("lm_eval").simple_evaluate
    manager = import_harness("lm_eval.tasks").TaskManager(
        include_path=None if include is None else str(include), include_defaults=include is None
    )
    known = set(manager.all_tasks)
    unknown = [name for name in tasks if name not in known]
    if unknown:
        raise ConfigError(
            "lm-eval knows no such task",
            got=unknown[0],
            allowed=", ".join(sorted(known)[:12]) + (", ..." if len(known) > 12 else ""),
            fix="Name the folder of your own tasks with --include.",
        )
    report: dict[str, Any] = simple(
        model=build_harness_model(loaded, max_tokens), tasks=list(tasks), num_fewshot=shots or None, limit=limit,
        task_manager=manager, bootstrap_iters=1000, verbosity=None,
    )  # fmt: skip
    return report


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

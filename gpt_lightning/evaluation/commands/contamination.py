"""``gpt-lightning evaluate contamination``: a benchmark against the training store."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gpt_lightning.data.open import open_existing
from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.data.readers.readers import Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.task_files import find_task, read_task, shipped_tasks
from gpt_lightning.evaluation.kinds.tasks import Asking
from gpt_lightning.evaluation.outcomes.reporting import align, format_score
from gpt_lightning.evaluation.outcomes.results import Evaluation, check_output, digest, read_evaluation
from gpt_lightning.evaluation.texts.contamination import Checked, check_store
from gpt_lightning.files.atomic import write_text_durably

_SHOWN = 10


def contamination_command(
    store: str,
    benchmark: list[str],
    n: int = 13,
    unit: str = "auto",
    data: str | None = None,
    split: str = "train",
    scores: str | None = None,
    document_per: str = "file",
    text_field: str = "text",
    tokenizer: str = PrepareSettings.tokenizer,
    output: str | None = None,
    dtype: str | None = None,
) -> None:
    """Look for a benchmark in the training text: which items have a run of n units that stands there too?

    The whole store is read; memory is that of the benchmark. With --scores, the scores of the items that are clean and
    of those that are not.

    Example: gpt-lightning evaluate contamination tokens lambada --data benchmarks --scores lambada.json
    Example: gpt-lightning evaluate contamination tokens test.jsonl --n 8 --unit token

    Args:
        store: Folder or URL of the store, or token files of another program.
        benchmark: Tasks (names, YAML files), or files of texts.
        n: Length of a run; items that are shorter cannot be judged.
        unit: word, character (Chinese) or token; auto = by the text.
        data: Folder of the tasks' data; null = that of the YAML file.
        split: Of the store: train, val or test.
        scores: JSON file of an evaluation of the same items.
        document_per: What an item is in plain text: file, line or paragraph.
        text_field: Field of a record that holds its text.
        tokenizer: What made the ids of token files; a store says it itself.
        output: JSON file to write, an entry for each item.
        dtype: As data.dtype of the run, of token files without a header.
    """
    if output is not None:
        check_output(Path(output))
    evaluation = None if scores is None else read_evaluation(Path(scores))
    items = _collect(benchmark, data, Reading(document_per, text_field, "utf-8"))
    found, unit = check_store(open_existing(store, tokenizer, 0.0, dtype), items, n=n, unit=unit, split=split)
    sys.stdout.write(_draw(found, f"runs of {n} {unit}s in {split} of {store}"))
    if evaluation is not None:
        sys.stdout.write(_draw_scores(evaluation, found))
    if output is not None:
        record = {
            "store": store, "split": split, "n": n, "unit": unit,
            "items": [{"name": each.name, "key": each.key, **asdict(each.overlap)} for each in found],
        }  # fmt: skip
        write_text_durably(Path(output), json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        sys.stdout.write(f"wrote {output}\n")


def _collect(benchmark: Sequence[str], data: str | None, reading: Reading) -> list[tuple[str, str, str]]:
    """Name, key and text of every item."""
    items: list[tuple[str, str, str]] = []
    asking = Asking(None if data is None else Path(data).expanduser())
    files = []
    for name in benchmark:
        if name in shipped_tasks() or name.endswith((".yaml", ".yml")):
            items += read_task(find_task(name)).list_texts(asking)
        else:
            files.append(name)
    if files:
        documents = [document for reader in open_sources(files, reading) for document in reader.iterate_documents()]
        items += [(document.name, digest(document.text), document.text) for document in documents]
    if not items:
        raise ConfigError("No benchmark is named", got=list(benchmark), fix="Name a task or a file.")
    return items


def _draw(found: Sequence[Checked], what: str) -> str:
    judged = [each for each in found if each.overlap.ngrams]
    dirty = sorted((each for each in judged if each.overlap.seen), key=lambda each: -_share(each))
    share = 100 * len(dirty) / len(judged) if judged else math.nan
    lines = [
        f"{len(found):,} items, {what}",
        f"dirty      {len(dirty):,} ({share:.1f} % of those that can be judged)",
        f"clean      {len(judged) - len(dirty):,}",
        f"too short  {len(found) - len(judged):,}",
    ]
    if dirty:
        rows = [["item", "share of its runs", "first document"]]
        rows += [[e.name, f"{100 * _share(e):.1f} %", f"{e.overlap.document + 1:,}"] for e in dirty[:_SHOWN]]
        lines += ["", *align(rows)]
    return "\n".join(lines) + "\n"


def _share(each: Checked) -> float:
    return each.overlap.seen / each.overlap.ngrams


def _draw_scores(evaluation: Evaluation, found: Sequence[Checked]) -> str:
    state = {each.key: "dirty" if each.overlap.seen else "clean" for each in found if each.overlap.ngrams}
    known = {each.key for each in found}
    missing = sum(item.key not in known for item in evaluation.items)
    if missing:
        raise DataError(
            f"{missing:,} of the {len(evaluation.items):,} items of {evaluation.name} are not in this benchmark",
            fix="Pass the scores of the same files.",
        )
    groups: dict[str, Any] = {"all": evaluation}
    for name in ("clean", "dirty"):
        items = [item for item in evaluation.items if state.get(item.key) == name]
        groups[name] = replace(evaluation, items=items)
    rows = [["metric", *(f"{name} ({len(group.items):,})" for name, group in groups.items())]]
    for metric in evaluation.scores:
        rows.append([metric, *(format_score(group.scores[metric]) for group in groups.values())])
    return "\n".join(["", *align(rows)]) + "\n"

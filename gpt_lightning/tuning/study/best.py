"""The best trial as a configuration, the best ones once more with other seeds, and all of them as a table."""

from __future__ import annotations

import csv
import io
import json
import statistics
from itertools import zip_longest
from pathlib import Path
from typing import Any

from optuna.trial import TrialState, create_trial

from gpt_lightning._version import __version__
from gpt_lightning.errors import RunFolderError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.entries import Entry, feasible
from gpt_lightning.tuning.study.study import SPACE
from gpt_lightning.tuning.study.sweep import Sweep
from gpt_lightning.tuning.trial.mailbox import read_trial_spec


def trial_folder(sweep: Sweep, entry: Entry) -> Path:
    """Where a trial's run lies; that of an imported one is in the old sweep."""
    imported = entry.fact("imported")
    return Path(imported) if imported else sweep.folder.trial(entry.first)


def write_best(sweep: Sweep, output: Path, number: int | None = None) -> Path:
    """Write the complete configuration of the best trial, or of a given one, with where it comes from.

    Raises:
        RunFolderError: There is no such trial.
    """
    ranked = sweep.ranked()
    found = [entry for entry in sweep.entries() if entry.first == number] if number is not None else ranked[:1]
    if not found:
        known = ", ".join(str(entry.first) for entry in ranked[:8])
        raise RunFolderError(
            f"{sweep.folder.path} has no {'finished trial' if number is None else f'trial {number}'} yet",
            fix=f"Finished: {known}." if known else f"See gpt-lightning sweep status {sweep.folder.path}.",
        )
    entry, folder = found[0], trial_folder(sweep, found[0])
    values = ", ".join(
        f"{metric.name} {value:.6g}" for metric, value in zip(sweep.spec.metrics, entry.last.values or [], strict=False)
    )
    threads = read_trial_spec(folder)["threads"]
    setting = f"OMP_NUM_THREADS={threads} " if threads else ""
    header = [
        f"# Trial {entry.first} of sweep {sweep.spec.name}: {values or entry.state} ({len(ranked)} trials finished).",
        f"# Chosen:   {json.dumps(entry.values)}",
        f"# Again:    {setting}gpt-lightning fit --config {output}",
        f"# From:     {folder}, space {sweep.study.user_attrs[SPACE]['hash']}, gpt_lightning {__version__}"
        f"{_commit(folder)}",
    ]
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text_durably(output, "\n".join(header) + "\n" + text)
    return output


def _commit(folder: Path) -> str:
    try:
        git = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["starts"][-1]["git"]
    except (OSError, ValueError, KeyError):
        return ""
    return f", commit {git['commit'][:12]}{' with changes' if git['changed'] else ''}" if git else ""


def add_repeats(sweep: Sweep) -> bool:
    """Let the best trials wait once more with each seed of ``repeat_best``; whether any was added."""
    wish, added = sweep.spec.repeat_best, False
    with sweep.folder.locked():
        entries = sweep.entries()
        there = {(entry.repeats, entry.fact("seed")) for entry in entries if entry.repeats is not None}
        best: dict[str, Entry] = {}
        for entry in sweep.ranked():
            best.setdefault(repr(sorted(entry.values.items())), entry)  # a sampler may propose the winner again
        for entry in list(best.values())[: wish.top_k]:
            for seed in wish.seeds:
                if (entry.first, seed) not in there:
                    copy = create_trial(
                        state=TrialState.WAITING,
                        params=entry.last.params,
                        distributions=entry.last.distributions,
                        user_attrs={"repeats": entry.first, "seed": seed},
                    )
                    sweep.store(lambda c=copy: sweep.study.add_trial(c), "adding a trial")  # type: ignore[misc]
                    added = True
    return added


def noise(sweep: Sweep, entries: list[Entry]) -> dict[int, tuple[float, float, int]]:
    """Trial -> mean, standard deviation and number of values over its seeds, the trial itself included."""
    found = {}
    for entry in sweep.ranked():
        mine = [each for each in entries if each.repeats == entry.first and each.state == "complete"]
        values = [each.last.values[0] for each in [entry, *mine]]
        if mine:
            found[entry.first] = (statistics.fmean(values), statistics.stdev(values), len(values))
    return found


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """A flat row for each trial."""
    found = []
    for entry in sweep.entries():
        last = entry.last
        told = last.values if entry.state == "complete" else None  # of one that diverged the sampler is told a value
        values = dict(zip_longest((metric.name for metric in sweep.spec.metrics), told or []))
        found.append(
            {
                "trial": entry.first,
                "state": entry.state,
                "reason": entry.reason,
                **values,
                "feasible": feasible(entry),
                **{key: entry.values.get(key) for key in sweep.spec.parameters},
                **{name: entry.fact(name) for name in ("steps", "executed_steps", "reused_steps", "tokens", "seconds")},
                "attempts": entry.fact(names.ATTEMPTS, 0),
                "seed": entry.fact("seed"),
                "repeats": entry.repeats,
                "differs": "; ".join(entry.fact(names.DIFFERS, [])),
                "folder": str(trial_folder(sweep, entry)),
            }
        )
    return found


def as_table(found: list[dict[str, Any]], kind: str) -> str:
    """Rows as ``csv`` or ``jsonl``."""
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in found)
    text = io.StringIO()
    if found:
        writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    return text.getvalue()

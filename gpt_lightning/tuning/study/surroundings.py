"""What may change between the trials of a sweep without a word in its file, compared with the first trial.

An environment variable, the text, a package, the code, the machine: a trial that ran under other conditions than the
first one has a value that cannot be compared without a thought, so the difference stands beside it wherever trials are
listed. Settings that the sweep varies, and what hangs on them, are no difference.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.errors import UserError
from gpt_lightning.files.atomic import write_json_durably
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.training.runs.run_folder import CONFIG_FILE, read_starts
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.sweep import Sweep

log = logging.getLogger("gpt_lightning")

FIRST_FILE = "surroundings.json"
"""In a sweep's folder: those of its first trial."""
_FACTS = ("python", "platform", "gpt_lightning", "packages", "git", "data_fingerprint")
_OWN = ("seed_everything", "run.dir", "run.name")


def differences(sweep: Sweep, folder: Path) -> list[str]:
    """What was other than in the first trial that has ended, a line each; the first one is written down.

    Args:
        sweep: The sweep.
        folder: Of a trial that has ended.
    """
    try:
        mine = read_surroundings(sweep.spec, folder)
        path = sweep.folder.path / FIRST_FILE
        with sweep.folder.locked():
            if not path.exists():
                write_json_durably(path, mine)
        first = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, UserError) as problem:
        log.warning("%s: its surroundings cannot be compared: %s", folder, problem)
        return []
    names = sorted({*first, *mine}) if mine else []
    return [f"{name}: {first.get(name)} -> {mine.get(name)}" for name in names if first.get(name) != mine.get(name)]


def read_surroundings(spec: SweepSpec, folder: Path) -> dict[str, Any]:
    """Settings and facts of a trial that are to be those of every trial, by dotted name; empty before it began."""
    starts = read_starts(folder)
    if not starts or not (folder / CONFIG_FILE).is_file():
        return {}
    settings: dict[str, Any] = {}
    _flatten(read_yaml(folder / CONFIG_FILE), "", settings)
    facts: dict[str, Any] = {}
    _flatten({name: starts[-1].get(name) for name in _FACTS}, "", facts)
    varied = [key.replace(".init_args.", ".") for key in (*spec.parameters, *spec.derive)]
    kept = {key: value for key, value in settings.items() if not _is_varied(key, varied)}
    return json.loads(json.dumps({**kept, **facts}, default=str))  # type: ignore[no-any-return]


def _is_varied(key: str, varied: list[str]) -> bool:
    plain = key.replace(".init_args.", ".")
    return plain in _OWN or any(plain == each or plain.startswith(f"{each}.") for each in varied)


def _flatten(tree: Any, place: str, found: dict[str, Any]) -> None:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            _flatten(value, f"{place}.{key}".lstrip("."), found)
    else:
        found[place] = tree

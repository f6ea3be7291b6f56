"""What users see and keep, as text and checksums: stores, exports, help, configurations, logged names, files of a run.

Nothing here depends on a processor: the exported weights are those of ``old_run``. A change that is meant to change one
of these is recorded anew (say so in the commit):

    python -m tests.golden.snapshots
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from gpt_lightning.cli import main
from gpt_lightning.commands import COMMANDS
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.golden.curves import ROOT, run_curve, write_corpora
from tests.training.forked import run_child

RECORDS = Path(__file__).with_name("snapshots.json")
OLD_RUN = Path(__file__).with_name("old_run")

CORPORA: dict[str, dict[str, object]] = {
    "text": {"source": "synthetic.txt"},
    "text, words of its own": {"source": "synthetic.txt", "tokenizer": "bpe:300"},
    "characters": {"source": "synthetic.txt", "tokenizer": "chars"},
    "paragraphs": {"source": "paragraphs.txt", "document_per": "paragraph"},
    "lines": {"source": "synthetic.txt", "document_per": "line"},
    "jsonl": {"source": "documents.jsonl"},
    "jsonl, three splits": {"source": "documents.jsonl", "val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 3},
    "csv": {"source": "table.csv"},
    "two files": {"source": ["synthetic.txt", "other.txt"]},
    "cleaned": {"source": "paragraphs.txt", "document_per": "paragraph", "drop_duplicates": True, "min_characters": 40},
    "Chinese": {"source": "chinese.txt", "document_per": "line", "tokenizer": "bpe:300:chinese"},
    "cut short": {"source": "documents.jsonl", "max_tokens": 3000},
}
"""Twelve ways from text to a store."""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_more_corpora(place: Path) -> None:
    text = (place / "synthetic.txt").read_text(encoding="utf-8").splitlines()
    (place / "paragraphs.txt").write_text("\n\n".join([*text[:90], *text[:30]]), encoding="utf-8")
    (place / "table.csv").write_text(
        "text,n\n" + "".join(f'"{line}, ""so""",1\n' for line in text[:99]), encoding="utf-8"
    )
    (place / "chinese.txt").write_text(
        "".join(f"第{n}句：今天天气很好，我们去公园。\n" for n in range(200)), encoding="utf-8"
    )


def stores(place: Path) -> dict[str, str]:
    """SHA-256 of the token files of each corpus."""
    found = {}
    for name, settings in CORPORA.items():
        folder = place / "stores" / re.sub(r"\W", "_", name)
        find_or_prepare(PrepareSettings(**{"tokenizer": "bytes", **settings}), store=folder)  # type: ignore[arg-type]
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".bin", ".idx", ".npy"))
        found[name] = _digest(b"".join(path.name.encode() + path.read_bytes() for path in files))
    return found


def _run(*args: str) -> str:
    """What a command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(list(args)) == 0, f"{args}: {out.getvalue()[-2000:]}"
    return out.getvalue()


def exports(place: Path) -> dict[str, str]:
    """SHA-256 of the files of the exported old run."""
    _run("export", str(OLD_RUN), str(place / "exported"))
    files = [path for path in sorted((place / "exported").rglob("*")) if path.is_file() and path.suffix != ".md"]
    return {path.name: _digest(path.read_bytes()) for path in files}


def helps(_: Path) -> dict[str, str]:
    """SHA-256 of every help page (full texts would double the file at each change of a default)."""
    return {name: _digest(_run(*name.split(), "--help").encode()) for name in sorted(COMMANDS)}


def configurations(place: Path) -> dict[str, str]:
    """What each shipped configuration comes to."""
    found = {}
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        text = _run("fit", "--config", str(path), "--print_config")
        found[path.name] = _digest(text.replace(str(ROOT), "").replace(str(place), "").encode())
    return found


def run_folder(place: Path) -> dict[str, list[str]]:
    """The names that a run logs, and the files that it leaves."""
    run_curve("ema", place)
    folder = place / "ema"
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {name for line in read_metrics(folder) for name in line}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        "files": sorted({re.sub(r"tfevents\..*", "tfevents", name) for name in files}),
        "metrics": sorted(names),
        "tensorboard": sorted(
            f"{kind}: {tag}" for kind, tags in events.Tags().items() if tags and tags is not True for tag in tags
        ),
    }


SNAPSHOTS: dict[str, Callable[[Path], object]] = {
    "stores": stores,
    "exports": exports,
    "help": helps,
    "configurations": configurations,
    "run folder": run_folder,
}


def take(name: str, place: Path) -> object:
    """One snapshot, made in ``place``, which becomes the current folder."""
    os.chdir(place)
    os.environ["COLUMNS"] = "100"
    write_corpora(place)
    _write_more_corpora(place)
    return SNAPSHOTS[name](place)


def write_snapshot(name: str, place: Path) -> None:
    """``take``, into ``found.json``."""
    (place / "found.json").write_text(json.dumps(take(name, place)), encoding="utf-8")


def read_snapshot(name: str, place: Path) -> object:
    """``take`` in a process of its own: help names the classes that happen to be imported."""
    assert run_child(place, write_snapshot, name, place) == 0
    return json.loads((place / "found.json").read_text(encoding="utf-8"))


def record() -> None:
    """Write ``snapshots.json``."""
    found: dict[str, object] = {"python": sys.version_info[:2]}
    for name in SNAPSHOTS:
        with tempfile.TemporaryDirectory() as place:
            found[name] = read_snapshot(name, Path(place))
    RECORDS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()

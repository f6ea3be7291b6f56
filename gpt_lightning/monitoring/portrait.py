"""What a report says of one run beside its curves: samples, settings, data, environment, checkpoints, alerts.

Texts that the run wrote for TensorBoard (samples at each validation ...) are read by TensorBoard's own reader.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.durable import read_manifest
from gpt_lightning.errors import CheckpointError
from gpt_lightning.monitoring.records import RunRecord, is_run
from gpt_lightning.parsing.strict_yaml import dump_yaml, flatten
from gpt_lightning.reports.numbers import format_bytes, format_seconds
from gpt_lightning.reports.page import Blocks
from gpt_lightning.training.runs.run_folder import ALERTS_FILE, SAMPLES_FILE

_MOST_SAMPLES, _MOST_ALERTS = 12, 200


def add_portrait(page: Blocks, run: RunRecord, level: int = 2) -> None:
    """Add all parts that the run has something for."""
    texts = read_texts(run.folder)
    alerts = _read_lines(run.folder / ALERTS_FILE)
    if alerts:
        page.heading("Alerts", level)
        _add_alerts(page, alerts)
    page.heading("Samples", level)
    _add_samples(page, run, texts)
    page.heading("Configuration", level)
    _add_configuration(page, run)
    page.heading("Data", level)
    _add_data(page, run)
    page.heading("Starts and environment", level)
    _add_environment(page, run)
    page.heading("Checkpoints", level)
    _add_checkpoints(page, run)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """JSON objects of a file of lines; what a kill cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            found.append(content)
    return found


def _add_alerts(page: Blocks, alerts: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(key for alert in alerts for key in alert))
    rows = [[_cell(alert.get(name)) for name in names] for alert in alerts[-_MOST_ALERTS:]]
    page.table(names, rows)


def _cell(value: Any) -> object:
    return value if value is None or isinstance(value, (str, int, float)) else json.dumps(value)


def _add_samples(page: Blocks, run: RunRecord, texts: Mapping[str, list[tuple[int, str]]]) -> None:
    samples = _read_lines(run.folder / SAMPLES_FILE)
    shown = {name: found for name, found in texts.items() if name.startswith("samples/")}
    if not samples and not shown:
        page.text("The run has written none.")
    for sample in samples[-3:]:
        page.text(f"At step {sample.get('step')}, from the prompt {sample.get('prompt')!r}:")
        page.code(str(sample.get("text")))
    for name, found in shown.items():
        folded = page.collapsible(f"{name}, at {len(found)} steps")
        for step, text in _spread(found, _MOST_SAMPLES):
            folded.text(f"Step {step:,}")
            folded.code(text)


def _spread(found: list[tuple[int, str]], most: int) -> list[tuple[int, str]]:
    """First, last, and evenly many between them."""
    if len(found) <= most:
        return found
    return [found[index * (len(found) - 1) // (most - 1)] for index in range(most)]


def _add_configuration(page: Blocks, run: RunRecord) -> None:
    if not run.config:
        page.text("There is no config.yaml that can be read.")
        return
    flat = flatten(run.config)
    base = default_settings(run.config)
    changed = [
        [key, _text(base.get(key, "(none)")), _text(value)]
        for key, value in flat.items()
        if base.get(key, "(none)") != value
    ]
    page.text("Settings that differ from the defaults of the code, those that the data decide included:")
    page.table(["setting", "default", "here"], changed)
    parent = find_parent(run)
    if parent is not None:
        before = flatten(parent.config)
        rows = [
            [key, _text(before.get(key, "(none)")), _text(flat.get(key, "(none)"))]
            for key in sorted(before.keys() | flat.keys())
            if before.get(key, "(none)") != flat.get(key, "(none)")
        ]
        page.text(f"Against the run it branched off from, `{parent.folder}`:")
        page.table(["setting", "there", "here"], rows)
    page.text("Train the same again:")
    page.code(f"gpt-lightning fit --config {shlex.quote(str(run.folder / 'config.yaml'))}")
    page.collapsible("The whole configuration").code(dump_yaml(run.config))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def default_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flat configuration had nothing been set; below a class that ``config`` chose, the defaults of that class.

    Takes seconds, since Lightning tells what its options are.
    """
    from gpt_lightning.errors import ConfigError
    from gpt_lightning.training.fitting.build import plain_settings, with_default_classes
    from gpt_lightning.training.fitting.command_line import TrainerCommandLine

    chosen = [f"--{key}={value}" for key, value in _chosen_classes(config)]
    try:
        line = TrainerCommandLine("fit", chosen)
    except (ConfigError, SystemExit):
        line = TrainerCommandLine("fit", [])  # a class of the user's own, of which there is no import path here
    return flatten(with_default_classes(line, plain_settings(line, line.config)))


def _chosen_classes(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if isinstance(value.get("class_path"), str):
                yield f"{prefix}{key}", value["class_path"]
            yield from _chosen_classes(value, f"{prefix}{key}.")


def find_parent(run: RunRecord) -> RunRecord | None:
    """The run whose checkpoint this one began with, when it is another one and still there."""
    source = run.starts[0].get("resumed_from") if run.starts else None
    if not source:
        return None
    home = Path(source).parent.parent
    return RunRecord(home) if is_run(home) and home.resolve() != run.folder.resolve() else None


def _add_data(page: Blocks, run: RunRecord) -> None:
    data = run.config.get("data") or {}
    start = run.starts[-1] if run.starts else {}
    facts = {
        "source": data.get("source") or data.get("mixture"),
        "store": data.get("store"),
        "tokenizer": data.get("tokenizer"),
        "block size": data.get("block_size"),
        "fingerprint": start.get("data_fingerprint"),
    }
    page.facts([(name, _cell(value)) for name, value in facts.items() if value is not None])
    if start.get("data"):
        page.code(start["data"])


def _add_environment(page: Blocks, run: RunRecord) -> None:
    rows = []
    for number, start in enumerate(run.starts, 1):
        end = start.get("end") or {}
        how = end.get("state") or (run.status.state if number == len(run.starts) else "crashed")
        took = format_seconds(end["seconds"]) if end else None
        rows.append([number, start["time"], how, end.get("step"), took, end.get("reason") or None])
    page.table(["start", "time", "end", "step", "took", "why"], rows)
    if not run.starts:
        return
    last = run.starts[-1]
    git = last.get("git") or {}
    commit = f"{git['commit']}{', with changes' if git.get('changed') else ''}" if git else None
    packages = ", ".join(f"{name} {version}" for name, version in (last.get("packages") or {}).items() if version)
    facts = [
        ("command", shlex.join(last.get("command") or [])),
        ("seed", last.get("seed")),
        ("host", last.get("host")),
        ("platform", last.get("platform")),
        ("Python", last.get("python")),
        ("gpt_lightning", last.get("gpt_lightning")),
        ("packages", packages),
        ("commit", commit),
    ]
    page.facts([(name, str(value)) for name, value in facts if value])


def _add_checkpoints(page: Blocks, run: RunRecord) -> None:
    rows: list[list[object]] = []
    for step, path, size in run.checkpoints:
        try:
            read_manifest(path)
            state = "complete"
        except CheckpointError:
            state = "damaged"
        rows.append([step, str(path), format_bytes(size), state, "best" if path.name == run.best_checkpoint else None])
    if rows:
        page.table(["step", "folder", "size", "manifest", ""], rows)
    else:
        page.text("There is none.")


_EVENTS = "events.out.tfevents.*"


def read_texts(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Texts of a run by name, each with its steps; empty where nothing was written, or TensorBoard is not there."""
    if not any(folder.glob(_EVENTS)):
        return {}
    try:
        from tensorboard.backend.event_processing.event_accumulator import (
            EventAccumulator,
        )
    except ImportError:
        return {}
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 1, "images": 1, "histograms": 1})
    reader.Reload()
    found: dict[str, list[tuple[int, str]]] = {}
    for tag in reader.Tags()["tensors"]:
        if reader.SummaryMetadata(tag).plugin_data.plugin_name != "text":
            continue
        texts = found.setdefault(tag.removesuffix("/text_summary"), [])
        for event in reader.Tensors(tag):
            lines = [value.decode("utf-8", "replace") for value in event.tensor_proto.string_val]
            texts.append((int(event.step), "\n".join(lines)))
    return found

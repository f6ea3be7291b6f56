"""Whether a run may go on from a checkpoint: same settings, same data, or a clear list of what differs.

Everything is compared; what cannot change the trajectory is listed in ``FREE`` and left out. An unknown setting is
therefore compared, and the worst that a forgotten entry costs is a question, never a silently different run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.durable import read_manifest
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.parsing.renamed import rename_all
from gpt_lightning.parsing.strict_yaml import flatten

FREE = (
    "run",
    "monitor",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.logger",
    "trainer.profiler",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.max_time",
    "trainer.max_epochs",
    "trainer.limit_val_batches",
    "trainer.limit_test_batches",
    "trainer.limit_predict_batches",
    "trainer.detect_anomaly",
    # Compared as part of the global batch. The micro-batch itself is not free: rounding and dropout depend on it.
    "trainer.accumulate_grad_batches",
    "data.global_batch_tokens",
    "data.eval_batch_size",
    "data.predict_split",
    # Compared as the fingerprint of their content.
    "data.source",
    "data.store",
    "data.keep_store",
)
"""Settings (with everything below them) that do not change the sequence of weights."""

WATCHING = frozenset(
    (
        "EarlyStopping",
        "Timer",
        "LearningRateMonitor",
        "DeviceStatsMonitor",
        "ThroughputMonitor",
        "ModelSummary",
        "RichModelSummary",
        "RichProgressBar",
        "TQDMProgressBar",
        "OnExceptionCheckpoint",
        "ModelCheckpoint",
    )
)
"""Lightning's callbacks that change no weights. Of others than these and ours nobody knows, so they are compared."""

_ABSENT = "(not set)"


def differences(
    saved: Mapping[str, Any],
    present: Mapping[str, Any],
    allowed: list[str],
    defaults: Callable[[], Mapping[str, Any]] = dict,
) -> list[str]:
    """Lines ``key: saved -> present`` of every setting that differs and is neither free nor allowed.

    A setting that came after the checkpoint was written had the value that is its default: ``defaults`` is asked for
    the settings that nobody chose, where one is missing.
    """
    old, new = _without_watching(flatten(saved)), _without_watching(flatten(present))
    if new.keys() - old.keys():
        later = flatten(defaults())
        old = {**{key: later[key] for key in new.keys() - old.keys() if key in later}, **old}
    free = (*FREE, *allowed)
    lines = []
    for key in sorted(old.keys() | new.keys()):
        if any(key == entry or key.startswith(f"{entry}.") for entry in free):
            continue
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if not _equal(before, after):
            lines.append(f"{key}: {before!r} -> {after!r}")
    return lines


def _without_watching(flat: dict[str, Any]) -> dict[str, Any]:
    callbacks = flat.get("trainer.callbacks")
    entries = callbacks if isinstance(callbacks, list) else [callbacks]
    acting = [entry for entry in entries if isinstance(entry, Mapping) and not _is_watching(str(entry["class_path"]))]
    return {**flat, "trainer.callbacks": acting}


def _is_watching(class_path: str) -> bool:
    module, _, name = class_path.rpartition(".")
    ours = module.startswith("gpt_lightning.evaluation")
    return ours or (module.startswith("lightning.pytorch.callbacks") and name in WATCHING)


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, float) and isinstance(after, float) and math.isnan(before) and math.isnan(after):
        return True
    return bool(before == after)


def check_resumable(
    checkpoint: Path,
    card: Mapping[str, Any],
    allowed: list[str],
    defaults: Callable[[], Mapping[str, Any]] = dict,
) -> int:
    """Compare a checkpoint's facts with those of the run that wants to continue; return its optimizer step.

    Args:
        checkpoint: A verified checkpoint folder.
        card: What this run would write into its own checkpoints.
        allowed: Settings the user lets differ.
        defaults: As in ``differences``.

    Raises:
        CheckpointError: Settings, architecture, data or global batch differ; all differences in the message.
    """
    manifest = read_manifest(checkpoint)
    facts = manifest["facts"]
    lines = differences(_with_later_fields(facts.get("config", {})), card["config"], allowed, defaults)
    for key in ("data_fingerprint", "global_batch_size"):
        if facts.get(key) != card[key] and key not in allowed:
            lines.append(f"{key}: {facts.get(key)!r} -> {card[key]!r}")
    if lines:
        names = [line.split(":")[0] for line in lines]
        accept = f"accept the change with --run.allow_changes '[{','.join(names)}]'"
        if any(name.startswith("model.config.") for name in names):
            accept = "drop them: weights of one architecture do not fit another"
        raise CheckpointError(
            f"{checkpoint} was trained with other settings, so the run would not continue as it began: "
            + "; ".join(lines),
            fix=f"Restore them, start a new run from these weights with --init_from {checkpoint}, or {accept}.",
        )
    return int(manifest["step"])


def list_changes(checkpoint: Path, card: Mapping[str, Any]) -> list[str]:
    """What is allowed to differ and may still change a result: lines ``name: saved -> present``.

    Versions, device, threads and processes decide the last bits of a sum; on another part of the validation split the
    best loss is another. Empty for a checkpoint of a version that did not note its environment.
    """
    facts = read_manifest(checkpoint)["facts"]
    part = "trainer.limit_val_batches"
    saved = {**facts.get("environment", card["environment"]), part: flatten(facts.get("config", {})).get(part)}
    present = {**card["environment"], part: flatten(card["config"]).get(part)}
    changed = [name for name in sorted(saved.keys() | present.keys()) if saved.get(name) != present.get(name)]
    return [f"{name}: {saved.get(name, _ABSENT)!r} -> {present.get(name, _ABSENT)!r}" for name in changed]


def _with_later_fields(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A checkpoint's settings as today's version would write them.

    Fields of the architecture that came later had the values that are their defaults; classes have moved.
    """
    config = rename_all(config)
    model = config.get("model") or {}
    if not model.get("config"):
        return config
    return {**config, "model": {**model, "config": {**GPTConfig().to_dict(), **model["config"]}}}

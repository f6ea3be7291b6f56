"""What is done in a run's folder before it trains, by the first process alone, and under the lock.

What is refused is refused before anything is written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_lightning.checkpoints.best import point_to_best
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR, discard_after, sweep
from gpt_lightning.checkpoints.durable import read_manifest, step_of
from gpt_lightning.data.commands.stores import summarize
from gpt_lightning.data.tokenizers.resolve import is_learned, is_tokenizer_file
from gpt_lightning.errors import CheckpointError, UserError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.tracking.notifications import cut_alerts
from gpt_lightning.training.modules.adapting import refuse_baseless
from gpt_lightning.training.parts import RunParts
from gpt_lightning.training.runs.resume import check_resumable, list_changes
from gpt_lightning.training.runs.run_folder import CONFIG_FILE, command_line, cut_metrics, read_starts, write_manifest
from gpt_lightning.training.runs.start import (
    Decision,
    Start,
    began_with,
    check_same_beginning,
    find_checkpoint,
    home_of,
)
from gpt_lightning.weights.adapted import find_base, keep_base, names_base
from gpt_lightning.weights.checking import hash_weights
from gpt_lightning.weights.starting import TOKENIZER_FILE

if TYPE_CHECKING:
    from gpt_lightning.training.reuse.reuse import PrefixReuse

log = logging.getLogger("gpt_lightning")


def prepare_folder(run: RunParts, start: Start, sharing: PrefixReuse | None) -> Decision:
    """Check the checkpoint, cut the curves back to it, write config and manifest.

    Args:
        run: Not started yet.
        start: The folder, which is locked.
        sharing: The run's dealings with other runs; None = there are none.

    Raises:
        UserError: What the run would go on from is damaged, gone, or of another run.
    """
    shelf = start.folder / CHECKPOINTS_DIR
    found = find_checkpoint(start)
    for reason in found.skipped:
        log.warning("passed over: %s", reason)
    source = start.source or home_of(found.path, unless=start.folder)
    step = _check_checkpoint(run, found.path, source, start.folder)
    began, weights = _choose_beginning(run, start, found.path, source)
    sweep(shelf)
    if start.continues:
        discard_after(shelf, -1 if step is None else step)
        _mend_pointer(shelf)
    if start.continues or source:
        cut_metrics(start.folder, -1 if step is None else step, source)
        cut_alerts(start.folder, -1 if step is None else step)
    checkpoint, prefix = found.path, None
    if sharing is not None:
        prefix = sharing.choose(start.folder, step, [past.get("trajectory") for past in read_starts(start.folder)])
        checkpoint = found.path if prefix is None else prefix.checkpoint
    facts: dict[str, Any] = {
        "resumed_step": None if checkpoint is None else step_of(checkpoint),
        "resumed_from": None if checkpoint is None else str(checkpoint),
        "began_with": began,
        "changed": [] if found.path is None else list_changes(found.path, run.module.card),
        "data_fingerprint": run.module.card["data_fingerprint"],
        "data": _describe_data(run),
        "loss_unit": run.module.objective.unit,
        "total_steps": run.plan.horizon.total_steps,
        "parameters": run.module.config.num_parameters,
        "trajectory": None if sharing is None else sharing.trajectory.base,
        "reused_steps": 0 if sharing is None else sharing.reused_steps(prefix),
    }
    if run.module.base is not None:
        source = Path(run.module.base["path"])
        keep_base(source, start.folder, run.begin_with(source))
    _keep_vocabulary(run, start.folder)
    # Before the configuration: what makes a folder a run must not be there without what it began with.
    write_manifest(start.folder, command=command_line(), seed=run.seed, facts=facts)
    write_text_durably(start.folder / CONFIG_FILE, dump_yaml(run.config))
    if found.path is not None:
        log.info("going on from step %d in %s", step, start.folder)
    for line in facts["changed"]:
        log.warning("not as the run began: %s", line)
    return Decision.of(start.folder, checkpoint, weights)


def _mend_pointer(shelf: Path) -> None:
    """Where the last start ended before it could point to what it had saved."""
    try:
        point_to_best(shelf)
    except UserError as problem:
        log.warning("%s", problem)


def _check_checkpoint(run: RunParts, checkpoint: Path | None, source: Path | None, folder: Path) -> int | None:
    """The step to go on from."""
    if checkpoint is None:
        return None
    step = check_resumable(checkpoint, run.module.card, run.settings.allow_changes, run.defaults)
    if source and step >= run.plan.horizon.total_steps:
        raise CheckpointError(
            f"{checkpoint} has reached the end of this run already, so nothing is left to do in {folder}",
            got=f"step {step} of {run.plan.horizon.total_steps}",
            fix=f"Use {source} itself, or train longer with --trainer.max_steps {2 * step} "
            "--run.allow_changes '[trainer.max_steps]'.",
        )
    return step


def _choose_beginning(
    run: RunParts, start: Start, checkpoint: Path | None, source: Path | None
) -> tuple[Mapping[str, str], Path | None]:
    """What the run began with, for its manifest; and the weights to read again, where that was not typed again."""
    known = began_with(start.folder) if start.continues else {}
    if checkpoint is not None:
        base = _find_base(run, checkpoint)
        return known or ({} if source is None else {"checkpoint": str(checkpoint.resolve())}), base
    typed = run.initial_path
    path = Path(known["weights"]) if typed is None and "weights" in known else typed
    if path is None:
        if run.module.adaptation is not None:
            raise refuse_baseless(type(run.module.adaptation).__name__)
        return {}, None
    weights = run.begin_with(path)
    found = {"weights": str(path.resolve()), "sha256": hash_weights(weights)}
    return check_same_beginning(start.folder, known, found), path if typed is None else None


def _find_base(run: RunParts, checkpoint: Path) -> Path | None:
    """The weights beside which a checkpoint was trained; None where it holds all."""
    facts = read_manifest(checkpoint)["facts"]
    if not names_base(facts):
        return None
    base = find_base(checkpoint, facts)
    run.begin_with(base)
    return base.resolve()


def _keep_vocabulary(run: RunParts, folder: Path) -> None:
    """Write a vocabulary that was learned, or came as a file, beside the weights: other texts need it to go on."""
    spec = str(run.config["data"]["tokenizer"])
    target = folder / TOKENIZER_FILE
    if (is_learned(spec) or is_tokenizer_file(spec)) and not target.exists():
        write_text_durably(target, json.dumps(run.datamodule.open_store().tokenizer.describe()) + "\n")


def _describe_data(run: RunParts) -> str:
    store = run.datamodule.open_store()
    return "prepared on the fly" if run.datamodule.on_the_fly else summarize(store.manifest)

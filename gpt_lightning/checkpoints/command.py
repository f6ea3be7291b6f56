"""``gpt-lightning export``: a checkpoint in another form."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from gpt_lightning.checkpoints.durable import read_manifest, step_of
from gpt_lightning.checkpoints.folder import read_checkpoint, storing, write_checkpoint, write_tensors
from gpt_lightning.checkpoints.shelf import SHELF, locate
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.parsing.command import run_command

_CONFIG_FILE = "config.yaml"
_FILES = (".pt", ".pth")


def export_command(name: str, args: Sequence[str]) -> None:
    """Parse and run; ``--consolidate`` alone and ``-o`` are understood.

    Args:
        name: export.
        args: What follows it.
    """
    spelled = {"--consolidate": "--consolidate=true", "-o": "--output"}
    run_command(export_checkpoint, [spelled.get(arg, arg) for arg in args], f"gpt-lightning {name}")


def export_checkpoint(checkpoint: str, output: str, consolidate: bool = False, prefer: str = "best") -> None:
    """Write a checkpoint in pieces, as fsdp2 and tp save them, as one that everything reads.

    Example: gpt-lightning export runs/large-1 --consolidate -o runs/large-1-whole

    Args:
        checkpoint: Run folder or checkpoint folder.
        output: A new folder, which can be used like a run folder; or a file NAME.pt with the weights alone.
        consolidate: Put tensors in pieces together; the only form there is yet, so it has to be said.
        prefer: Which checkpoint of a run folder: best or last.
    """
    if not consolidate:
        raise ConfigError("export needs to be told the form", allowed="--consolidate", fix="Add --consolidate.")
    if prefer not in ("best", "last"):
        raise ConfigError("prefer names a checkpoint of the run", got=prefer, allowed="best, last", fix="Use best.")
    source, target = locate(checkpoint, prefer=prefer), Path(output)
    if target.exists():
        raise CheckpointError(f"{target} exists", fix="Name a new folder or file: -o NAME.")
    above = next(folder for folder in target.absolute().parents if folder.exists())
    if not above.is_dir():
        raise CheckpointError(f"{above} is a file", got=output, fix="Name a new folder or file: -o NAME.")
    if target.suffix in _FILES:
        _write_weights(source, target)
    else:
        target = _write_folder(source, target)
    sys.stdout.write(f"{target}\n")


def _write_weights(source: Path, target: Path) -> None:
    step = step_of(source)
    assert step is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    with storing(target.parent, step):
        write_tensors(target, {"state_dict": read_checkpoint(source)["state_dict"]})


def _write_folder(source: Path, folder: Path) -> Path:
    manifest, state = read_manifest(source), read_checkpoint(source)
    step = int(manifest["step"])
    write_checkpoint(folder / SHELF, step=step, state=state, facts=manifest["facts"])
    config = source.parent.parent / _CONFIG_FILE
    if config.exists():
        shutil.copy(config, folder / _CONFIG_FILE)  # so that validate finds the data and the settings
    return folder

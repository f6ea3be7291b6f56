"""Checkpoints that hold only what was trained, and the base that they name by its hash.

    runs/lora-1/
        base/step-000000550/       what the run began with: hard links where the disk has them, so no room is taken
        checkpoints/step-.../      state_dict: what is trained; manifest: facts.base = {sha256, path}

The base is looked for beside the checkpoint, then where it was; whatever is found there has to have the hash.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gpt_lightning.adapters.layers import adapted_parts, find_switch, merge_adapter
from gpt_lightning.adapters.loading import build_adaptation, load_adapter
from gpt_lightning.checkpoints.checkpoint_dir import locate
from gpt_lightning.checkpoints.durable import read_manifest, step_of
from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.files.processes import own_mark
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.checking import check_finite, decoder_weights, hash_weights
from gpt_lightning.weights.families import choose_family
from gpt_lightning.weights.peft_format import is_peft, read_peft

BASE_DIR = "base"


def names_base(card: Mapping[str, Any]) -> bool:
    """Whether a checkpoint of this card (or these facts) is of an adapted run: useless without its base."""
    return "base" in card


def find_base(checkpoint: Path, card: Mapping[str, Any]) -> Path:
    """Where the base of a checkpoint lies.

    Raises:
        CheckpointError: Neither beside it nor where it was.
    """
    kept = checkpoint.parent.parent / BASE_DIR
    inside = sorted(kept.iterdir()) if kept.is_dir() else []
    places = [*(path for path in inside if not path.name.startswith(".")), Path(str(card["base"]["path"]))]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise CheckpointError(
            f"{checkpoint} holds an adapter, and its base is gone",
            got=f"neither {kept} nor {card['base']['path']}",
            allowed=f"weights of SHA-256 {card['base']['sha256'][:12]}",
            fix=f"Put a copy of them into {kept}.",
        )
    return found


def keep_base(source: Path, folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Let a run keep what it began with, whatever becomes of it where it was; nothing where it is kept already.

    Args:
        source: A checkpoint folder, a folder in Hugging Face's layout, or a file of weights.
        folder: Of the run.
        weights: What was read there. Of a checkpoint that is an adapter itself they are kept instead of it: merged
            again on another processor they would have other bits, and so another hash.
    """
    kept = folder / BASE_DIR
    target = kept / source.resolve().name
    if target.exists():
        return
    kept.mkdir(exist_ok=True)
    step = step_of(source.resolve())
    if step is not None and names_base(read_manifest(source)["facts"]):
        card = read_checkpoint(source)["gpt_lightning"]
        own = {name: value for name, value in card.items() if name not in ("base", "adaptation")}
        state = {"state_dict": {f"model.{name}": value for name, value in weights.items()}, "gpt_lightning": own}
        write_checkpoint(kept, step=step, state=state, facts={"model": own["model"]})
        return
    temporary = kept / f".writing-{target.name}@{own_mark()}"
    shutil.rmtree(temporary, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source.resolve(), temporary, copy_function=_link)
    else:
        _link(str(source.resolve()), str(temporary))
    os.rename(temporary, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def check_base(found: str, card: Mapping[str, Any], place: Path | str, source: Path | str) -> None:
    """Refuse another base.

    Args:
        found: SHA-256 of the base that is there.
        card: Of the checkpoint.
        place: Where the base was found.
        source: The checkpoint.

    Raises:
        CheckpointError: The hashes differ.
    """
    wanted = card["base"]["sha256"]
    if found != wanted:
        raise CheckpointError(
            f"{source} was trained on another base than {place}",
            got=f"SHA-256 {found[:12]}",
            allowed=f"{wanted[:12]}, which was {card['base']['path']}",
            fix="Use the base that it names.",
        )


def attach_trained(
    model: GPT,
    base_hash: str,
    card: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    checkpoint: Path,
    merge: bool = True,
) -> GPT:
    """The adapted model of a checkpoint, on its base.

    Args:
        model: The base.
        base_hash: Of its weights.
        card: Of the checkpoint.
        state_dict: Likewise.
        checkpoint: Where it lies.
        merge: Whether an adapter that is a change of weights is merged, so that every command sees a plain model.

    Raises:
        CheckpointError: Another base, or other settings.
    """
    check_base(base_hash, card, "the one found", checkpoint)
    trained = decoder_weights(state_dict)
    check_finite(trained, checkpoint)
    load_adapter(model, build_adaptation(card["adaptation"]), trained, checkpoint)
    return merge_if_possible(model) if merge else model


def attach_adapters(model: GPT, paths: Sequence[str | Path], base: Path | str) -> None:
    """Attach adapters beside each other, each under the name of its folder; the first is in use.

    Args:
        model: What they were trained on.
        paths: Run folders or checkpoints.
        base: Where the model was found, for messages.

    Raises:
        CheckpointError: No adapter, or of another base.
        ConfigError: Two of one name.
    """
    if not paths:
        return
    found = hash_weights(model.state_dict())
    names = [_attach(model, Path(path), found, base) for path in paths]
    switch = find_switch(model)
    if switch is not None:
        switch.active = names[0]


def _attach(model: GPT, path: Path, base_hash: str, base: Path | str) -> str:
    if is_peft(path):
        name = path.resolve().name.replace(".", "-")
        load_adapter(model, *read_peft(path, model, choose_family(model.config).model_type), path, name)
        return name
    checkpoint = locate(path)
    state = read_checkpoint(checkpoint)
    card = state.get("gpt_lightning") or {}
    if not names_base(card):
        raise CheckpointError(
            f"{path} holds a whole model and no adapter", fix="Give it to the command instead of the model."
        )
    check_base(base_hash, card, base, path)
    adaptation = build_adaptation(card["adaptation"]).on_whole_weights
    if adaptation.trains_base:
        raise CheckpointError(
            f"{path} is no adapter: {type(adaptation).__name__} trained weights of the base",
            fix="Give it to the command instead of the model.",
        )
    trained = decoder_weights(state["state_dict"])
    check_finite(trained, checkpoint)
    home = path if step_of(path) is None else path.resolve().parent.parent
    name = home.resolve().name.replace(".", "-")
    load_adapter(model, adaptation, trained, path, name)
    return name


def merge_if_possible(model: GPT) -> GPT:
    """The model with its adapter merged where that is exact, and as it is otherwise."""
    switch = find_switch(model)
    if switch is not None and switch.active is not None:
        try:
            merge_adapter(model, switch.active)
        except ConfigError:
            return model
    return model


def plain_weights(model: GPT, source: Path | str) -> dict[str, Tensor]:
    """Weights of a model without adapters.

    Raises:
        CheckpointError: It has some that could not be merged.
    """
    found = [name for name, _ in adapted_parts(model)]
    if found:
        raise CheckpointError(
            f"{source} has an adapter that is no change of weights, so that no plain model computes the same",
            got=found[0],
            allowed="LoRA, RsLoRA, PiSSA, DoRA, AdaLoRA, IA3",
            fix="Use the run itself (generate, evaluate, chat read it), or train one of those.",
        )
    return model.state_dict()

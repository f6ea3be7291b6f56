"""``gpt-lightning import`` and ``export``: models from other projects, and to them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR, locate
from gpt_lightning.checkpoints.consolidating import consolidate as write_consolidated
from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.data.tokenizers.kinds import write_tokenizer
from gpt_lightning.data.tokenizers.resolve import is_learned, resolve
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.weights.adapted import find_base, names_base
from gpt_lightning.weights.checking import check_finite, check_fit
from gpt_lightning.weights.exporting import new_folder, parse_size, prepare_export, write_export
from gpt_lightning.weights.families import choose_family
from gpt_lightning.weights.foreign import ForeignModel, as_parameters, read_foreign
from gpt_lightning.weights.hub import is_foreign
from gpt_lightning.weights.loading import LoadedModel, describe_foreign, load_model
from gpt_lightning.weights.model_card import find_scores, read_scores, write_card
from gpt_lightning.weights.onnx_graphs import verify_graphs, write_graphs
from gpt_lightning.weights.peft_format import write_peft
from gpt_lightning.weights.starting import TOKENIZER_FILE, open_adapted
from gpt_lightning.weights.verifying import verify_export

FORMATS = ("transformers", "onnx")


def import_model(
    source: str, out: str, tokenizer: str | None = None, vocab_size: int | None = None, block_size: int | None = None
) -> None:
    """Turn a model of another project into a folder that every command reads.

    GPT-2, Llama and Qwen3 in Hugging Face's layout (config.json, safetensors or .bin, tokenizer.json). fit --init_from,
    generate and export also read such a folder as it is.

    Example: gpt-lightning import path/to/gpt2 --out runs/gpt2

    Args:
        source: Folder, or OWNER/NAME on the Hugging Face hub.
        out: A new folder.
        tokenizer: Instead of the folder's own: gpt2 or another tiktoken encoding, bytes, or a saved tokenizer.
        vocab_size: Token ids to have. Fewer: the last rows go; more: new rows are the mean of the old ones. null = as
            many as the tokenizer has.
        block_size: Positions to have. Fewer: the last go; more: learned ones are repeated from the first on. null = as
            many as there are.
    """
    for name, value in (("vocab_size", vocab_size), ("block_size", block_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is a count", got=value, allowed=">= 1", fix="Leave it out to keep the size.")
    if tokenizer is not None and is_learned(tokenizer):
        raise ConfigError(
            "A tokenizer that is learned is not the model's", got=tokenizer, allowed="gpt2, bytes, a file"
        )
    target = Path(out)
    with new_folder(target) as folder:
        chosen = None if tokenizer is None else resolve(tokenizer)
        found = read_foreign(source, tokenizer=chosen, vocab_size=vocab_size, block_size=block_size)
        _write_imported(found, folder, target)
    for note in found.notes:
        sys.stderr.write(f"note: {note}\n")
    sys.stdout.write(
        f"{target}: {found.config.num_parameters:,} parameters, tokenizer {found.tokenizer.name}\n"
        f"Next: gpt-lightning generate {target} --prompt The\n"
        f"      gpt-lightning fit --init_from {target} --data.source path/to/text.txt\n"
    )


def _write_imported(found: ForeignModel, folder: Path, target: Path) -> None:
    weights = as_parameters(found.weights)
    model = GPT(found.config)
    check_fit(weights, model, found.path)
    check_finite(weights, found.path)
    card = describe_foreign(found)
    state = {"state_dict": {f"model.{name}": tensor for name, tensor in weights.items()}, "gpt_lightning": card}
    facts = {name: value for name, value in card.items() if name != "tokenizer"}
    write_checkpoint(folder / CHECKPOINTS_DIR, step=0, state=state, facts=facts)
    write_tokenizer(found.tokenizer, folder / TOKENIZER_FILE)
    settings = {"model": {"config": found.config.to_dict()}, "data": {"tokenizer": str(target / TOKENIZER_FILE)}}
    (folder / "config.yaml").write_text(dump_yaml(settings), encoding="utf-8")


def export_checkpoint(
    checkpoint: str,
    output: str,
    verify: bool = False,
    dtype: str = "float32",
    max_shard_size: str = "5GB",
    license: str | None = None,
    scores: str | None = None,
    consolidate: bool = False,
    adapter_only: bool = False,
    prefer: str = "best",
    format: str = "transformers",
) -> None:
    """Write a model as other libraries load it, or (--consolidate) as one checkpoint of ours.

    The folder loads in transformers (AutoModelForCausalLM, AutoTokenizer) and vLLM: as GPT2LMHeadModel,
    LlamaForCausalLM or Qwen3ForCausalLM; that of a model which labels texts in AutoModelForSequenceClassification.
    What these cannot express is refused with the reasons.

    Example: gpt-lightning export runs/small-1 exported --verify
    Example: gpt-lightning export runs/small-1 graphs --format onnx --verify

    Args:
        checkpoint: Run folder or checkpoint folder.
        output: A new folder; with --consolidate also a file NAME.pt for the weights alone.
        verify: Load the folder again, with transformers where it is installed, and compare logits and token ids.
        dtype: Number format of the weights: float32, bfloat16 or float16.
        max_shard_size: Most bytes of one file of weights.
        license: Licence that the model card states, e.g. apache-2.0.
        scores: JSON file of results for the model card, beside the run's own validation loss.
        consolidate: Instead put a checkpoint in pieces, as fsdp2 and tp save them, together as one of our own.
        adapter_only: Instead write the adapter of an adapted run, in the format of peft, for its base as export
            writes that.
        prefer: Which checkpoint of a run folder: best or last.
        format: transformers (safetensors and tokenizer.json), or onnx: graphs for onnxruntime in float32, with and
            without a cache of keys and values, or of the head that labels texts.
    """
    target = Path(output)
    if target.exists():
        raise CheckpointError(f"{target} exists", fix="Name a new folder or file: -o NAME.")
    if format not in FORMATS:
        raise ConfigError("No such format to export to", got=format, allowed=", ".join(FORMATS))
    if format == "onnx":
        given = {"dtype": dtype != "float32", "consolidate": consolidate, "adapter_only": adapter_only}
        given |= {
            "license": license is not None,
            "scores": scores is not None,
            "max_shard_size": max_shard_size != "5GB",
        }
        if wrong := [f"--{name}" for name, is_set in given.items() if is_set]:
            raise ConfigError(
                "--format onnx writes graphs in float32 and no model card", got=", ".join(wrong), allowed="--verify"
            )
        _export_graphs(load_model(checkpoint, prefer=prefer), target, verify=verify)
        return
    if consolidate:
        _consolidate(checkpoint, target, prefer, verify or license is not None or scores is not None)
        return
    if adapter_only:
        _export_adapter(checkpoint, target, prefer)
        return
    if target.suffix in (".pt", ".pth"):
        raise ConfigError(
            "A file of weights is one of our own forms",
            got=output,
            allowed="a folder, or --consolidate",
            fix=f"Say gpt-lightning export {checkpoint} {output} --consolidate.",
        )
    parse_size(max_shard_size)
    further = {} if scores is None else read_scores(scores)
    loaded = load_model(checkpoint, prefer=prefer)
    export = prepare_export(loaded, dtype)
    with new_folder(target) as folder:
        write_export(export, folder, max_shard_size=max_shard_size)
        results = {**find_scores(loaded.path), **further}
        card = write_card(export, loaded, name=target.name, license=license, scores=results)
        (folder / "README.md").write_text(card, encoding="utf-8")
        verdict = verify_export(export, folder, loaded) if verify else None
    for note in export.notes:
        sys.stderr.write(f"note: {note}\n")
    sys.stdout.write(f"{target}: {export.class_name}, {dtype}\n" + (f"{verdict}\n" if verdict else ""))


def _export_graphs(loaded: LoadedModel, target: Path, *, verify: bool) -> None:
    with new_folder(target) as folder:
        notes = write_graphs(loaded, folder)
        verdict = verify_graphs(loaded, folder) if verify else None
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    sys.stdout.write(f"{target}: ONNX, float32\n" + (f"{verdict}\n" if verdict else ""))


def _export_adapter(path: str, target: Path, prefer: str) -> None:
    checkpoint = locate(path, prefer=prefer)
    state = read_checkpoint(checkpoint)
    card = state.get("gpt_lightning") or {}
    if not names_base(card):
        raise CheckpointError(f"{path} holds a whole model and no adapter", fix="Leave out --adapter_only.")
    model = open_adapted(checkpoint, state, merge=False)
    family = choose_family(model.config)
    with new_folder(target) as folder:
        write_peft(model, family.model_type, folder, card["base"]["path"])
    base = find_base(checkpoint, card)
    sys.stdout.write(
        f"{target}: an adapter for {family.class_name}\nIts base: gpt-lightning export {base} {target}-base\n"
    )


def _consolidate(checkpoint: str, target: Path, prefer: str, asks_more: bool) -> None:
    if asks_more:
        raise ConfigError(
            "verify, license and scores belong to the folder for other libraries",
            allowed="either these or --consolidate",
            fix="Leave out --consolidate.",
        )
    if is_foreign(checkpoint):
        raise CheckpointError(f"{checkpoint} is no checkpoint of ours", fix="Use gpt-lightning import.")
    source = locate(checkpoint, prefer=prefer)
    above = next(folder for folder in target.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise CheckpointError(f"{above} is a file or not writable", got=str(target), fix="Name a new folder: -o NAME.")
    write_consolidated(source, target)
    sys.stdout.write(f"{target}\n")

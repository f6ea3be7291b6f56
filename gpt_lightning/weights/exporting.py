"""A model as a folder that transformers, vLLM and the converters of llama.cpp load.

    config.json                the architecture, in old and new spelling where they differ
    generation_config.json     where a text ends
    model.safetensors          weights under the other names; several files and an index beyond a size
    tokenizer.json             see ``data.tokenizer_json``
    tokenizer_config.json      always of the class PreTrainedTokenizerFast, which every version knows; without a class
                               transformers would cut text as the model's family usually does, whatever the file says
    chat_template.jinja        roles as text, or ChatML where the vocabulary has its tokens
    README.md                  the model card

The folder is written beside its place and renamed when it is complete.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.data.tokenizers.kinds import EncodingTokenizer
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.data.tokenizers.tokenizer_json import added_token, describe_as_json, frame_texts
from gpt_lightning.data.tokenizers.tokenizer_json_reading import FILE, OWN_ENTRY, SETTINGS_FILE
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.files.processes import own_mark
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.weights.families import OWN_ENTRY as OWN_SETTINGS
from gpt_lightning.weights.families import Family, choose_family, write_settings
from gpt_lightning.weights.hub import CONFIG_FILE
from gpt_lightning.weights.labelling import HEAD, check_exportable, name_class, write_labels
from gpt_lightning.weights.loading import LoadedModel
from gpt_lightning.weights.resizing import resize
from gpt_lightning.weights.tensor_files import INDEX, SAFETENSORS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Export:
    """A model ready to leave.

    Attributes:
        config: Our record, its vocabulary cut to the tokenizer's.
        family: What it becomes.
        weights: Under the other names.
        tokenizer: Ours.
        dtype: Number format of the weights, a word of ``DTYPES``.
        notes: What whoever uses the folder should know, a sentence each.
        use: Of a model that labels texts, whose head is among the weights; empty = it continues them.
    """

    config: GPTConfig
    family: Family
    weights: dict[str, Tensor]
    tokenizer: Tokenizer
    dtype: str
    notes: tuple[str, ...]
    use: Mapping[str, Any] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """Of the model, as transformers has it."""
        return name_class(self.family.class_name) if self.use else self.family.class_name


def prepare_export(loaded: LoadedModel, dtype: str = "float32") -> Export:
    """Translate a model.

    Rows of the embedding that no token has are left out: a server could sample them and nothing could write them.

    Args:
        loaded: The model and its tokenizer.
        dtype: Number format of the weights.

    Raises:
        ConfigError: The architecture cannot be expressed (with the reasons), or ``dtype`` is no format.
        CheckpointError: The tokenizer has more ids than the model.
    """
    if dtype not in DTYPES:
        raise ConfigError("dtype is no number format for weights", got=dtype, allowed=", ".join(DTYPES))
    whole, tokenizer, use = loaded.model.config, loaded.tokenizer, loaded.card.get("use", {})
    if use:
        check_exportable(use)
    family = choose_family(whole)
    rows, _ = whole.data_sizes()
    if rows < tokenizer.vocab_size:
        raise CheckpointError(
            f"{loaded.path} has {rows} rows of the embedding for {tokenizer.vocab_size} token ids",
            fix="Train with a vocab_size that holds every id of the tokenizer.",
        )
    config = dataclasses.replace(whole, vocab_size=tokenizer.vocab_size)
    weights = family.give(resize(loaded.model.state_dict(), whole, config), config)
    if loaded.head is not None:
        weights[HEAD] = loaded.head.detach().cpu()
        if not config.tie_embeddings:
            del weights["lm_head.weight"]
        # Their classes have no head for the vocabulary, and ours takes the table of tokens for one where none is there.
        config = dataclasses.replace(config, tie_embeddings=True)
    weights = {name: tensor.to(DTYPES[dtype]) for name, tensor in weights.items()}
    notes = []
    if "causal" not in loaded.model.sights:
        notes.append(
            "Prompts were seen from both sides in training (a prefix LM or a masked one), and this package reads them "
            "so; transformers and servers read them causally, and will go on otherwise."
        )
    if config.tie_embeddings:
        weights.pop("lm_head.weight", None)  # the loader ties it; written, it would be stored twice
    elif family.model_type == "gpt2":
        notes.append(
            "This GPT-2 has a head of its own (tie_embeddings false). transformers follows; vLLM always ties GPT-2's "
            "head to its embedding and would compute other logits: serve this model with transformers."
        )
    if rows != config.vocab_size:
        notes.append(f"{rows - tokenizer.vocab_size} rows of the embedding that no token has were left out.")
    return Export(config, family, weights, tokenizer, dtype, tuple(notes), use)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``target`` when the block ends well, and vanishes when it does not.

    Raises:
        CheckpointError: ``target`` exists, lies below a file, or the disk refuses the write.
    """
    if target.exists():
        raise CheckpointError(f"{target} exists", fix="Name a new folder.")
    above = next(folder for folder in target.absolute().parents if folder.exists())
    if not above.is_dir():
        raise CheckpointError(f"{above} is a file", got=str(target), fix="Name a new folder.")
    temporary = target.absolute().with_name(f".writing-{target.name}@{own_mark()}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, target)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {target} ({error})", fix="Make room there, or name another folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_export(export: Export, folder: Path, *, max_shard_size: str = "5GB") -> None:
    """Everything but the model card.

    Args:
        export: The translated model.
        folder: An empty folder.
        max_shard_size: Most bytes of one file of weights, such as ``5GB`` or ``500MB``; a larger tensor has its own.

    Raises:
        ConfigError: Not a size.
        DataError: safetensors is not installed.
    """
    limit = parse_size(max_shard_size)
    begin, end, chat = export.tokenizer.begin_id, export.tokenizer.eot_id, Transcript(export.tokenizer)
    ends = list(chat.stop_ids)
    ids = {"bos_token_id": begin, "eos_token_id": ends if len(ends) > 1 else end, "pad_token_id": end}
    # transformers 5 reads the first spelling, older ones and vLLM the second.
    formats = {"dtype": export.dtype, "torch_dtype": export.dtype}
    settings = {**write_settings(export.config, export.family), **ids, **formats, "use_cache": True}
    if export.use:
        settings |= {"architectures": [export.class_name], **write_labels(export.use)}
        settings[OWN_SETTINGS] = {**settings[OWN_SETTINGS], "use": dict(export.use)}
    _write_json(folder / CONFIG_FILE, settings)
    _write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})
    _write_weights(export.weights, folder, limit)
    _write_tokenizer(export, folder)
    (folder / "chat_template.jinja").write_text(chat.template, encoding="utf-8")


def parse_size(text: str) -> int:
    """``5GB`` -> bytes; units as disks count (GB) or as memory does (GiB).

    Raises:
        ConfigError: Not a size above zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].upper() if match else ""
    size = int(float(match[1]) * _UNITS[unit]) if match and unit in _UNITS else 0
    if size < 1:
        raise ConfigError("max_shard_size is not a size", got=text, allowed="5GB, 500MB, 2GiB, ...", fix="Say 5GB.")
    return size


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_weights(weights: Mapping[str, Tensor], folder: Path, limit: int) -> None:
    save_file = import_extra("safetensors.torch", "hf").save_file
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.contiguous()
        size += tensor.nbytes
    metadata = {"format": "pt"}
    if len(shards) == 1:
        save_file(shards[0], folder / SAFETENSORS, metadata=metadata)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata=metadata)
        places |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in weights.values())
    _write_json(folder / f"{SAFETENSORS}{INDEX}", {"metadata": {"total_size": total}, "weight_map": places})


def _write_tokenizer(export: Export, folder: Path) -> None:
    tokenizer = export.tokenizer
    # A head has learned texts behind end-of-text, whatever else the model's texts begin with.
    frame = {"post_processor": frame_texts(tokenizer, tokenizer.eot_id)} if export.use else {}
    text = json.dumps({**describe_as_json(tokenizer), **frame}, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")
    _, positions = export.config.data_sizes()
    begin, end = (tokenizer.pieces[each].decode("utf-8") for each in (tokenizer.begin_id, tokenizer.eot_id))
    added = {str(number): added_token(piece, number) for piece, number in tokenizer.specials.items()}
    for entry in added.values():
        del entry["id"]
    own = {"name": tokenizer.name}
    if isinstance(tokenizer, EncodingTokenizer):
        own["pattern"] = tokenizer.pattern_name
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        **{"bos_token": begin, "eos_token": end, "pad_token": end},
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": added,
        OWN_ENTRY: own,
    }
    _write_json(folder / SETTINGS_FILE, settings)

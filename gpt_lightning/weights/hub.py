"""Where a model of another project lies: a folder, one of its files, or a name on the Hugging Face hub.

A name is looked up in the hub's cache on this machine first, and fetched when it is not there. Only what is needed is
fetched: weights, JSON, and GPT-2's merges; never code.
"""

from __future__ import annotations

import re
from pathlib import Path

from gpt_lightning.errors import CheckpointError
from gpt_lightning.parsing.extras import import_extra

CONFIG_FILE = "config.json"
_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
_FILES = (
    *("config.json", "generation_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"),
)
_WEIGHTS = ("model*.safetensors*", "pytorch_model*.bin*")


def is_foreign(path: Path | str) -> bool:
    """Whether a path is a folder in Hugging Face's layout, or a file in one."""
    place = Path(path)
    folder = place.parent if place.is_file() else place
    return (folder / CONFIG_FILE).is_file() and place.suffix not in (".pt", ".pth")


def is_hub_name(path: Path | str) -> bool:
    """Whether a text can be the name of a model on the hub and nothing on this machine has it."""
    text = str(path)
    return not Path(text).exists() and _NAME.fullmatch(text) is not None and not text.endswith((".pt", ".pth", ".bin"))


def find_folder(path: Path | str) -> Path:
    """The folder of a foreign model.

    Args:
        path: A folder, one of its files, or ``OWNER/NAME`` on the hub.

    Raises:
        CheckpointError: Nothing there, and nothing of that name can be fetched.
    """
    place = Path(path)
    if is_foreign(place):
        return place.parent if place.is_file() else place
    if place.exists() or not is_hub_name(path):
        raise CheckpointError(
            f"{place} is not a model in Hugging Face's layout" if place.exists() else f"There is no {place}",
            allowed=f"a folder with {CONFIG_FILE} and weights, or OWNER/NAME on the hub",
            fix="Runs and checkpoints of gpt-lightning need no import.",
        )
    return _fetch(str(path))


def _fetch(name: str) -> Path:
    hub = import_extra("huggingface_hub", "hf")
    problem: Exception = FileNotFoundError("it has no weights as safetensors or .bin")
    for local in (True, False):
        for weights in _WEIGHTS:  # the older form only where there is no newer one
            try:
                found = hub.snapshot_download(name, allow_patterns=[*_FILES, weights], local_files_only=local)
            except Exception as error:  # the library's own, its HTTP client's and OSError, from version to version
                problem = error
                break
            if any(Path(found).glob(weights)) and is_foreign(found):
                return Path(found)
    told = str(problem).strip().splitlines() or [""]
    raise CheckpointError(
        f"{name} is no folder here, not in the hub's cache, and could not be fetched "
        f"({type(problem).__name__}: {told[0][:160].rstrip('.')})",
        fix=f"Where there is a network: hf download {name} --local-dir FOLDER. Then pass that folder.",
    ) from problem

"""The ``README.md`` of an exported model: what it is, what it learned from, how well, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_lightning._version import __version__
from gpt_lightning.checkpoints.durable import step_of
from gpt_lightning.data.tokenizers.tokenizer_json_reading import read_json_file
from gpt_lightning.errors import ConfigError
from gpt_lightning.weights.exporting import Export
from gpt_lightning.weights.loading import LoadedModel

METRICS_FILE = "metrics.jsonl"
_DATA_KEYS = ("source", "mixture", "store", "block_size", "packing", "normalization")
_CONFIG_KEYS = ("n_layer", "n_head", "n_kv_head", "n_embd", "n_inner", "block_size", "vocab_size", "rope_theta")

_TEXTS = (
    "text-generation",
    "It continues text; it was not trained to follow instructions unless its data below say so.",
    (
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForCausalLM.from_pretrained(".")',
        'inputs = tokenizer("The ", return_tensors="pt")',
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50)[0]))",
    ),
)
_LABELS = (
    "text-classification",
    "It labels texts. A temperature that was fitted to its probabilities is not in the weights.",
    ("from transformers import pipeline", "", 'print(pipeline("text-classification", ".")("What a lovely room"))'),
)
"""Task, what the model is for, how it is used."""


def write_card(
    export: Export, loaded: LoadedModel, *, name: str, license: str | None = None, scores: Mapping[str, float] = {}
) -> str:
    """The text of the card.

    Args:
        export: What was written.
        loaded: Where it came from.
        name: Title.
        license: Identifier for the card's head, e.g. ``apache-2.0``; None = the card says that none was chosen.
        scores: Further results, name -> value.
    """
    card, step = loaded.card, step_of(loaded.path)
    origin = card.get("imported_from") or f"step {step:,} of a gpt_lightning run"
    head = ["---", f"license: {license or 'unknown'}", "library_name: transformers"]
    task, about, use = _LABELS if export.use else _TEXTS
    head += [f"pipeline_tag: {task}", "tags:", "- gpt_lightning", f"- {task}", "---", "", f"# {name}", ""]
    config = export.config
    lines = [
        f"A {export.class_name} with {config.num_parameters:,} parameters in {export.dtype}, exported by "
        f"gpt_lightning {__version__} from {origin}. {about}",
        "",
        *(f"**Note:** {note}\n" for note in export.notes),
        "## Use",
        "",
        "```python",
        *use,
        "```",
        "",
        "## Architecture",
        "",
        *_table({key: getattr(config, key) for key in _CONFIG_KEYS if getattr(config, key) is not None}),
        f"Tokenizer: {export.tokenizer.name}, {export.tokenizer.vocab_size:,} ids; "
        f"`{export.tokenizer.pieces[export.tokenizer.begin_id].decode('utf-8')}` stands in front of every document.",
        "",
        "## Training",
        "",
        *_table(_describe_training(card)),
        "## Scores",
        "",
        *_table(dict(scores) or {"none": "not measured"}),
    ]
    return "\n".join(head + lines)


def find_scores(checkpoint: Path) -> dict[str, float]:
    """Validation results of a run's checkpoint, from the run's own record; none where there is no record."""
    step, record = step_of(checkpoint), checkpoint.parent.parent / METRICS_FILE
    found: dict[str, float] = {}
    if step is None or not record.is_file():
        return found
    for line in record.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed
        if isinstance(entry, dict) and entry.get("step") == step:
            found |= {key: value for key, value in entry.items() if key.startswith("val/") and isinstance(value, float)}
    return found


def read_scores(path: str) -> dict[str, float]:
    """Every number of a JSON file of results, under dotted names.

    Raises:
        DataError: Unreadable, or not a JSON object.
        ConfigError: No numbers in it.
    """
    found = _flatten(read_json_file(Path(path)))
    if not found:
        raise ConfigError("scores names a file without numbers", got=path, allowed='JSON such as {"accuracy": 0.61}')
    return found


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat[f"{prefix}{key}"] = float(value)
    return flat


def _describe_training(card: Mapping[str, Any]) -> dict[str, Any]:
    config = card.get("config") or {}
    data = config.get("data") or {}
    model = config.get("model") or {}
    facts = {f"data.{key}": _name(data[key]) for key in _DATA_KEYS if data.get(key) not in (None, "")}
    facts |= {key: _name(model[key]) for key in ("objective", "optimizer", "schedule") if key in model}
    if "global_batch_size" in card:
        facts["windows per step"] = card["global_batch_size"]
    if (config.get("trainer") or {}).get("max_steps"):
        facts["steps of the run"] = config["trainer"]["max_steps"]
    if card.get("data_fingerprint"):
        facts["data fingerprint"] = card["data_fingerprint"]
    return facts or {"unknown": "the source does not tell"}


def _name(value: Any) -> Any:
    """A chosen class by its name; anything else as it is."""
    path = value.get("class_path") if isinstance(value, Mapping) else None
    return value if path is None else str(path).rpartition(".")[2]


def _table(rows: Mapping[str, Any]) -> list[str]:
    def cell(value: Any) -> str:
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        return text.replace("|", "\\|").replace("\n", " ")

    return ["| | |", "|---|---|", *(f"| {cell(key)} | {cell(value)} |" for key, value in rows.items()), ""]

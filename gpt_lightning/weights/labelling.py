"""A head that labels texts, as other libraries have it: ``GPT2ForSequenceClassification`` and its like.

They take the state of the last token that is no padding, as ``Classify``, ``MultiLabel`` and ``Regress`` do with
pooling "last", and know the names of labels from ``config.json``. Their tokenizer gets end-of-text in front of a text
(and between the two of a pair), as in training; it pads with the same, so that they do not find an empty text among
padding on its left. The head for the vocabulary stays behind: theirs have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt_lightning.errors import CheckpointError, ConfigError

HEAD = "score.weight"
"""Of the head, in their files."""
_PROBLEMS = {
    "Classify": "single_label_classification",
    "MultiLabel": "multi_label_classification",
    "Regress": "regression",
}


def check_exportable(use: Mapping[str, Any]) -> None:
    """Refuse what their classes cannot compute.

    Args:
        use: Of the checkpoint's card.

    Raises:
        ConfigError: Words are labelled, or a mean is taken.
    """
    if use["objective"] not in _PROBLEMS:
        raise ConfigError(
            "A model that labels words cannot be written for other libraries, whose heads for that have a bias",
            got=use["objective"],
            allowed=", ".join(_PROBLEMS),
            fix="Use it with gpt-lightning predict, or objectives.classifier.load_classifier.",
        )
    if use["pooling"] != "last":
        raise ConfigError(
            "Other libraries look at the state of the last token, and this head was trained on a mean",
            got=f"pooling {use['pooling']}",
            allowed="last",
            fix="Train with model.objective.pooling last, or use it with gpt-lightning predict.",
        )


def name_class(class_name: str) -> str:
    """Of a family with such a head.

    >>> name_class("GPT2LMHeadModel"), name_class("LlamaForCausalLM")
    ('GPT2ForSequenceClassification', 'LlamaForSequenceClassification')
    """
    return class_name.replace("LMHeadModel", "ForCausalLM").replace("ForCausalLM", "ForSequenceClassification")


def write_labels(use: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``config.json``."""
    names = list(use["labels"]) or ["value"]
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": _PROBLEMS[use["objective"]],
    }


def check_labels_agree(use: Mapping[str, Any], settings: Mapping[str, Any], folder: object) -> None:
    """Refuse a folder whose names of labels have been changed in one place.

    Args:
        use: Our own entry.
        settings: All of ``config.json``.
        folder: For the message.

    Raises:
        CheckpointError: They differ.
    """
    found, wanted = settings.get("id2label"), write_labels(use)["id2label"]
    if found != wanted:
        raise CheckpointError(
            f"{folder} names its labels in two ways",
            got=f"id2label {found}",
            allowed=str(wanted),
            fix="Export the model again; labels belong to the rows of the head and cannot be renamed alone.",
        )

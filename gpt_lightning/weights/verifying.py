"""Whether an exported folder gives what the model gives: reloaded, same logits on random tokens, same ids of texts.

With transformers installed the folder goes through its ``AutoModelFor...`` and ``AutoTokenizer``: its loader
initialises what it does not find at random and says so in a log only, so that has to be asked. Without it the folder
goes through our own import.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_lightning.data.tokenizers.kinds import CharTokenizer
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.exporting import DTYPES, Export
from gpt_lightning.weights.loading import LoadedModel, load_model

_TEXTS = 200
_TOLERANCE = 1e-5
_LETTERS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCXYZ's't'll",
    "0123456789",
    "    \n\r\t\u3000\u00a0",
    "的一是不了人我在有他这中大来上国\u3002\uff0c\uff01",
    "éüßøñ",
    "\U0001f600\U0001f44d\U0001f3fd\U0001f1e9\U0001f1ea",
    '.,;:!?()[]{}<>|/\\"#$%&*+-=@_~`^',
    "\x00\x01\x1b\x7f\u200b\ufeff",
)


def verify_export(export: Export, folder: Path, loaded: LoadedModel, seed: int = 0) -> str:
    """Compare a written folder with what it was made from.

    Args:
        export: What was written.
        folder: Where.
        loaded: The model it came from.
        seed: Of the tokens and texts.

    Returns:
        A line that says what was compared, and by what.

    Raises:
        CheckpointError: They differ.
    """
    tokens = _draw_tokens(export, seed)
    expected = _compute(loaded, export, tokens)
    texts = draw_texts(export.tokenizer, _TEXTS, seed)
    foreign = find_transformers()
    reload = _through_transformers if foreign else _through_us
    found, wrong = reload(folder, tokens, texts, export)
    difference = (found - expected).abs().max().item()
    if wrong:
        raise CheckpointError(
            f"The exported tokenizer gives other ids for {len(wrong)} of {_TEXTS} texts", got=wrong[0]
        )
    if not difference <= _TOLERANCE * max(1.0, expected.abs().max().item()):
        raise CheckpointError(
            "The exported model gives other logits", got=difference, allowed=f"{_TOLERANCE:g} of the largest logit"
        )
    reader = "transformers" if foreign else "our own import (transformers is not installed)"
    return (
        f"Verified through {reader}: largest difference of {found.numel():,} logits {difference:.1e}, "
        f"{_TEXTS} random texts have the same ids"
    )


def find_transformers() -> bool:
    """Whether transformers is installed."""
    return importlib.util.find_spec("transformers") is not None


def draw_texts(tokenizer: Tokenizer, count: int, seed: int) -> list[str]:
    """Random texts with what tokenizers stumble over: digit runs, white space, Chinese, emoji, control characters."""
    chance = random.Random(seed)
    kinds = (tokenizer.characters,) if isinstance(tokenizer, CharTokenizer) else _LETTERS
    texts = []
    for _ in range(count):
        runs = [chance.choice(kinds) for _ in range(chance.randint(1, 12))]
        texts.append("".join("".join(chance.choices(run, k=chance.randint(1, 9))) for run in runs if run))
    return texts


def _draw_tokens(export: Export, seed: int) -> Tensor:
    vocabulary, positions = export.config.data_sizes()
    tokens = torch.randint(vocabulary, (2, min(positions, 64)), generator=torch.Generator().manual_seed(seed))
    if export.use:  # end-of-text at the end would be padding
        tokens[tokens == export.tokenizer.eot_id] = (export.tokenizer.eot_id + 1) % vocabulary
    return tokens


@torch.no_grad()
def _compute(loaded: LoadedModel, export: Export, tokens: Tensor) -> Tensor:
    """Logits of the model with its weights rounded as they were written, computed in float32."""
    model, dtype = loaded.model, DTYPES[export.dtype]
    rounded = GPT(model.config)
    rounded.load_state_dict({name: tensor.to(dtype) for name, tensor in model.state_dict().items()})
    rounded.eval()
    head = None if loaded.head is None else loaded.head.to(dtype).float()
    return _logits(rounded, head, tokens)[..., : export.tokenizer.vocab_size]


def _logits(model: GPT, head: Tensor | None, tokens: Tensor) -> Tensor:
    """Of the next tokens; of a model that labels texts, of the labels."""
    hidden = model(tokens)
    return model.logits(hidden) if head is None else F.linear(hidden[:, -1], head)


@torch.no_grad()
def _through_us(folder: Path, tokens: Tensor, texts: list[str], export: Export) -> tuple[Tensor, list[str]]:
    loaded = load_model(folder)
    wrong = [text for text in texts if loaded.tokenizer.encode(text).tolist() != export.tokenizer.encode(text).tolist()]
    return _logits(loaded.model, loaded.head, tokens), wrong


@torch.no_grad()
def _through_transformers(folder: Path, tokens: Tensor, texts: list[str], export: Export) -> tuple[Tensor, list[str]]:
    transformers: Any = importlib.import_module("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    kind = transformers.AutoModelForSequenceClassification if export.use else transformers.AutoModelForCausalLM
    model, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, local_files_only=True)
    trouble = {name: keys for name, keys in report.items() if keys}
    if trouble:
        raise CheckpointError(f"transformers does not find every weight in {folder}", got=str(trouble))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    wrong = [
        text
        for text in texts
        if tokenizer.encode(text, add_special_tokens=False) != export.tokenizer.encode(text).tolist()
    ]
    logits: Tensor = model.eval()(tokens).logits
    return logits, wrong

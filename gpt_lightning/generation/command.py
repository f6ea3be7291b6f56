"""``gpt-lightning generate``: prompt in, text out, streamed to the terminal."""

from __future__ import annotations

import sys

import torch

from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.generation.text import generate_text
from gpt_lightning.weights.loading import load_model


def generate_command(
    checkpoint: str,
    prompt: str = "The ",
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float | None = None,
    seed: int = 1337,
    num_samples: int = 1,
    prefer: str = "best",
    device: str = "auto",
) -> None:
    """Continue a prompt with a trained model.

    Example: gpt-lightning generate runs/quickstart-1 --prompt "The module" --max_tokens 100

    Args:
        checkpoint: Run folder or checkpoint folder.
        prompt: Text to continue.
        max_tokens: Most tokens to write; the model may end the text earlier.
        temperature: Sharpness of the draw: 0 always takes the likeliest token, 1 draws from the model as it is.
        top_k: Draw from the k likeliest tokens only; null = from all.
        top_p: Draw from the likeliest tokens that together hold this probability; null = from all.
        seed: The same seed and settings give the same text.
        num_samples: How many continuations to write.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
    """
    if prefer not in ("best", "last"):
        raise ConfigError("prefer names a checkpoint of the run", got=prefer, allowed="best, last", fix="Use best.")
    if num_samples < 1:
        raise ConfigError("num_samples is a count", got=num_samples, allowed=">= 1", fix="Say --num_samples 1.")
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    place = choose_device(device)
    loaded = load_model(checkpoint, prefer=prefer, device=place)
    generator = torch.Generator(device=place).manual_seed(seed)
    for _ in range(num_samples):
        pieces = generate_text(
            loaded.model, loaded.tokenizer, prompt, max_tokens=max_tokens, sampling=sampling, generator=generator
        )
        # A prompt or model that cannot be used is found at the first piece; the error then stands on its own line.
        sys.stdout.write(prompt + next(pieces, ""))
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")


def choose_device(name: str) -> str:
    """``auto`` = the accelerator torch finds, else the CPU.

    Raises:
        ConfigError: A device this machine does not have.
    """
    found = torch.accelerator.current_accelerator()
    available = ["cpu"] + ([found.type] if found is not None and torch.accelerator.is_available() else [])
    if name == "auto":
        return available[-1]
    if not _is_device(name, available):
        raise ConfigError(
            "This machine has no such device",
            got=name,
            allowed=", ".join(["auto", *available]),
            fix=f"Use --device {available[-1]}.",
        )
    return name


def _is_device(name: str, available: list[str]) -> bool:
    try:
        device = torch.device(name)
    except RuntimeError:
        return False
    count = 1 if device.type == "cpu" else torch.accelerator.device_count()
    return device.type in available and (device.index or 0) < count

"""``gpt-lightning generate``: prompt in, text out, streamed to the terminal; or a file of prompts into a file."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.batch_files import ProgressLine, answer_file
from gpt_lightning.generation.beams import check_length_penalty, search_beams
from gpt_lightning.generation.drafting import Drafter, Heads, load_heads
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.infilling import InfillForm, build_infill_request
from gpt_lightning.generation.packing import check_weights, pack
from gpt_lightning.generation.prompts import build_request, read_prompts
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.text import encode_prompt
from gpt_lightning.weights.adapted import attach_adapters
from gpt_lightning.weights.loading import LoadedModel, load_model


def generate_command(
    checkpoint: str,
    prompt: str | None = None,
    infill: tuple[str, str] | None = None,
    input: str | None = None,
    output: str | None = None,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    logit_bias: dict[int, float] | None = None,
    stop: list[str] | None = None,
    seed: int = 1337,
    num_samples: int = 1,
    logprobs: int | None = None,
    draft_tokens: int = 0,
    draft: Literal["lookup", "heads"] = "lookup",
    beams: int | None = None,
    length_penalty: float = 1.0,
    slots: int = 8,
    adapter: list[str] | str | None = None,
    weights: str = "float32",
    prefer: str = "best",
    device: str = "auto",
) -> None:
    """Continue a prompt with a trained model, or a file of prompts.

    Example: gpt-lightning generate runs/quickstart-1 --prompt "The module" --max_tokens 100
    Example: gpt-lightning generate runs/quickstart-1 --input prompts.jsonl --output texts.jsonl
    Example: gpt-lightning generate runs/fim-1 --infill "def add(a, b):" "    return total"

    Args:
        checkpoint: Run folder or checkpoint folder.
        prompt: Text to continue; null = "The ", or where the vocabulary cannot write it the beginning of a text.
        infill: Two texts, between which to write, instead of a prompt; for models that were trained to fill in.
        input: File of prompts to continue instead, one JSON object per line: {"prompt": "..."}, with "id" and any of
            the settings below where a line wants its own ("n" for num_samples).
        output: Where the texts of ``input`` go, one JSON object per line, in the same order. Started again after an
            interruption, the same command goes on behind the last finished line.
        max_tokens: Most tokens to write; the model may end the text earlier.
        temperature: Sharpness of the draw: 0 always takes the likeliest token, 1 draws from the model as it is.
        top_k: Draw from the k likeliest tokens only; null = from all.
        top_p: Draw from the likeliest tokens that together hold this probability; null = from all.
        min_p: Draw from tokens at least so many times as likely as the likeliest; null = from all.
        repetition_penalty: Above 1 makes tokens less likely that occur in the prompt or the text.
        presence_penalty: Taken from the logits of tokens that the text already has.
        frequency_penalty: The same, times how often it has them.
        logit_bias: Added to the logits of token ids, for example {"256": -100}.
        stop: Strings that end the text.
        seed: The same seed and settings give the same text, alone or among others.
        num_samples: How many continuations to write.
        logprobs: Report log-probabilities of the tokens in ``output``, with so many likeliest ones beside each.
        draft_tokens: Guess up to so many tokens ahead from what the text has said before; the text stays the same
            and comes faster where it repeats itself.
        draft: Who guesses: lookup (what the text has said before) or heads, which were trained beside the model
            (model.objective MultiToken); heads need no draft_tokens, and say how many guesses were right.
        beams: Search for the likeliest texts, following so many at once, instead of drawing tokens; null = draw.
        length_penalty: How beams are ranked: 0 by the whole log-probability, 1 by the mean per token.
        slots: Texts written at once, with ``input``.
        adapter: Run folders or checkpoints of adapters that were trained on this model, or folders of peft. The first
            is used; a line of ``input`` may name another by its folder ("adapter": "lora-1", "" = none).
        weights: float32, bfloat16, float16 or int8; fewer bytes are faster and a little less exact.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
    """
    given = dict(locals())
    check_files(given)
    settings = collect_settings(given)
    _check_beams(given)
    if input is None and logprobs is not None and beams is None:
        raise ConfigError("--logprobs are written to a file", got=logprobs, fix="Use --input and --output.")
    adapters = [adapter] if isinstance(adapter, str) else adapter or []
    loaded = load_for_decoding(checkpoint, prefer=prefer, device=device, weights=weights, adapters=adapters)
    heads = load_heads(loaded) if draft == "heads" else None
    if heads is not None:
        settings["draft_tokens"] = draft_tokens or heads.count
    drafter = None if heads is None else Heads(loaded.model, heads)
    if beams is not None:
        _write_beams(loaded, _choose_prompt(loaded, prompt), given)
        return
    if input is None:
        if infill is None:
            text = _choose_prompt(loaded, prompt)
            _write_samples(loaded, drafter, build_request(loaded.tokenizer, text, settings), text)
        else:
            _write_samples(loaded, drafter, build_infill_request(InfillForm.of(loaded), *infill, settings), *infill)
        return
    prompts = read_prompts(Path(input), loaded.tokenizer, settings)
    engine = Engine(loaded.model, loaded.tokenizer, slots=slots, drafter=drafter)
    origin: dict[str, Any] = {"checkpoint": str(loaded.path.resolve()), "weights": weights}
    if adapter:
        origin["adapter"] = [str(Path(each).resolve()) for each in adapters]
    done = answer_file(engine, prompts, Path(str(output)), origin, ProgressLine())
    before = f" ({done:,} of them before)" if done else ""
    sys.stdout.write(f"{len(prompts):,} {'prompt' if len(prompts) == 1 else 'prompts'} answered{before}: {output}\n")


_NAMES = {"num_samples": "n"}
_NOT_SETTINGS = (
    *("checkpoint", "prompt", "infill", "input", "output", "beams", "length_penalty"),
    *("slots", "adapter", "weights", "prefer", "device", "draft"),
)
_WITH_BEAMS = (
    *("checkpoint", "prompt", "max_tokens", "num_samples", "beams", "length_penalty"),
    *("slots", "adapter", "weights", "prefer", "device"),
)
_PROMPT = "The "


def _choose_prompt(loaded: LoadedModel, prompt: str | None) -> str:
    """What to continue where nothing was typed."""
    if prompt is not None:
        return prompt
    try:
        ids = loaded.tokenizer.encode(_PROMPT)
    except DataError:  # characters that it has not seen
        return ""
    return "" if loaded.tokenizer.unknown_id in ids else _PROMPT


def check_files(given: Mapping[str, Any]) -> None:
    """Refuse a file of prompts without a place for the texts, and a place without prompts.

    Raises:
        ConfigError: One of ``input`` and ``output`` is missing.
    """
    asked = {name: given[name] for name in ("prompt", "infill", "input") if given.get(name) is not None}
    if "infill" in asked and len(asked) > 1:
        raise ConfigError("--infill says what to write, and so does another option", got=asked, fix="Leave out one.")
    files = {name: given[name] for name in ("input", "output")}
    if (files["input"] is None) != (files["output"] is None):
        raise ConfigError("--input and --output belong together", got=files, fix="Give both.")


def collect_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a request among a command's arguments.

    Raises:
        ConfigError: One is out of range; told before a model is loaded.
    """
    settings = {_NAMES.get(name, name): value for name, value in given.items() if name not in _NOT_SETTINGS}
    if settings["n"] < 1:
        raise ConfigError("num_samples is a count", got=settings["n"], allowed=">= 1", fix="Say --num_samples 1.")
    settings["stop"] = settings["stop"] or ()
    build_request(_NoTokenizer(), "", settings)
    return settings


def _check_beams(given: dict[str, Any]) -> None:
    beams, samples = given["beams"], given["num_samples"]
    if beams is None:
        return
    if beams < samples:
        raise ConfigError("beams are fewer than the texts wanted of them", got=beams, allowed=f"{samples} or more")
    usual = {name: each.default for name, each in inspect.signature(generate_command).parameters.items()}
    beside = {name: value for name, value in given.items() if name not in _WITH_BEAMS and value != usual[name]}
    if beside:
        raise ConfigError("--beams search and do not draw", got=beside, fix="Leave out one or the other.")
    check_length_penalty(given["length_penalty"])


def _write_beams(loaded: LoadedModel, prompt: str, given: dict[str, Any]) -> None:
    tokenizer = loaded.tokenizer
    found = search_beams(
        loaded.model,
        encode_prompt(tokenizer, prompt),
        beams=given["beams"],
        max_tokens=given["max_tokens"],
        length_penalty=given["length_penalty"],
        stop_ids=tokenizer.end_ids,
    )
    for beam in found[: given["num_samples"]]:
        text = tokenizer.decode_bytes(beam.ids).decode("utf-8", errors="replace")
        sys.stdout.write(f"{prompt}{text}\n")


class _NoTokenizer:
    """Stands in where only the settings of a request are checked."""

    begin_id = 0
    end_ids = (0,)

    def encode(self, text: str) -> list[int]:
        return []

    def decode_bytes(self, ids: Any) -> bytes:
        return b""


def load_for_decoding(
    checkpoint: str, *, prefer: str, device: str, weights: str, adapters: Sequence[str] = ()
) -> LoadedModel:
    """A model with its tokenizer, adapters and packed weights; arguments as in the command."""
    check_weights(weights)
    loaded = load_model(checkpoint, prefer=prefer, device=choose_device(device))
    attach_adapters(loaded.model, adapters, loaded.path)
    return dataclasses.replace(loaded, model=pack(loaded.model, weights))


def _write_samples(
    loaded: LoadedModel, drafter: Drafter | None, request: Request, prompt: str, behind: str = ""
) -> None:
    """All continuations are decoded together; the first is shown as it comes, the others behind it.

    Args:
        loaded: The model.
        drafter: Who guesses; None = the engine's own way. One that is named says on standard error how it went.
        request: What it is asked.
        prompt: Text that is shown in front of each continuation.
        behind: Text that is shown behind it.
    """
    capacity = min(loaded.model.block_size, len(request.prompt) + request.max_tokens)
    engine = Engine(loaded.model, loaded.tokenizer, slots=min(request.n, 8), capacity=capacity, drafter=drafter)
    texts = {sample: "" for sample in range(request.n)}
    finished: set[int] = set()
    shown = written = 0
    for event in engine.stream(request):
        # A model that cannot be used is found at the first piece; the error then stands on its own line.
        if event.sample == shown == 0 and not texts[0]:
            sys.stdout.write(prompt)
        texts[event.sample] += event.text
        if event.sample == shown:
            sys.stdout.write(event.text)
            sys.stdout.flush()
        if event.completion is not None:
            finished.add(event.sample)
            written += len(event.completion.ids)
        while shown in finished:
            sys.stdout.write(f"{behind}\n")
            shown += 1
            if shown < request.n:
                sys.stdout.write(prompt + texts[shown])
    if drafter is not None:
        sys.stderr.write(f"{engine.drafts.describe(written)}\n")


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

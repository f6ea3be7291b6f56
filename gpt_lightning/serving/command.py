"""``gpt-lightning serve``: models behind an OpenAI-compatible API, with a page to talk to them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.serving.settings import Address, EngineSettings, Limits, Source

if TYPE_CHECKING:
    from gpt_lightning.serving.versions import Loader


def serve_command(
    checkpoint: str | None = None,
    models: str | None = None,
    name: str | None = None,
    adapter: list[str] | str | None = None,
    host: str = Address.host,
    port: int = Address.port,
    allow_remote: bool = Address.allow_remote,
    api_key: str | None = None,
    api_keys: str | None = None,
    requests_per_minute: int | None = None,
    slots: int = EngineSettings.slots,
    queue: int = 64,
    max_tokens: int = EngineSettings.max_tokens,
    piece_tokens: int = EngineSettings.piece_tokens,
    prompt_cache_mb: int = EngineSettings.prompt_cache_mb,
    body_bytes: int = Limits.body_bytes,
    request_seconds: float = Limits.request_seconds,
    drain_seconds: float = 30.0,
    request_log: str | None = None,
    feedback: str | None = None,
    feedback_consent: bool = False,
    redact: str = "none",
    weights: str = EngineSettings.weights,
    prefer: str = EngineSettings.prefer,
    device: str = EngineSettings.device,
) -> None:
    """Serve models behind OpenAI's API, and a page to talk to them. Ctrl-C or SIGTERM ends it when all is answered.

    Example: gpt-lightning serve runs/quickstart-1
    Example: gpt-lightning serve --models models.yaml --host 0.0.0.0 --api_keys keys.txt
    Example: gpt-lightning serve replay requests.jsonl --checkpoint runs/quickstart-1

    Args:
        checkpoint: Run folder, checkpoint folder, folder of another library's model, or a registered model such as
            chat@production, which is followed while the server runs.
        models: File of several models instead, a name and a folder per line (chat: runs/quickstart-1, or poems:
            {base: runs/quickstart-1, adapter: runs/lora-1}); followed while the server runs.
        name: Under which ``checkpoint`` is asked for; null = the folder's name.
        adapter: Run folders of adapters that were trained on ``checkpoint``; each is asked for by its folder's name.
        host: Address to listen on.
        port: Port to listen on; 0 = any free one.
        allow_remote: Allow an address that other machines reach without asking anybody for a key.
        api_key: A key that requests must bring (Authorization: Bearer KEY). Everybody on this machine sees what is
            typed: set GPT_LIGHTNING_API_KEY instead.
        api_keys: File of keys, one per line.
        requests_per_minute: Requests of each key; null = any number.
        slots: Texts written at once.
        queue: Texts that may wait beyond those; more are refused with 429.
        max_tokens: Most tokens of an answer.
        piece_tokens: Long prompts are read in pieces of so many tokens, so that others need not wait.
        prompt_cache_mb: Memory for prompts that were read before, in millions of bytes.
        body_bytes: Largest request.
        request_seconds: Longest time until an answer is complete.
        drain_seconds: Time for what runs when the server is told to end.
        request_log: File in which every request and its answer are written down, texts and all; null = nowhere.
        feedback: File in which answers are kept and feedback about them is taken, texts and all; null = nowhere.
        feedback_consent: Whether giving feedback is consent to train on it: tell those who give it.
        redact: What is taken out of texts that are kept in it: none, contacts (e-mail addresses, long numbers), or
            package.module.function.
        weights: float32, bfloat16, float16 or int8; fewer bytes are faster and a little less exact.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
    """
    check_installed()
    keys = read_keys(api_key, api_keys)
    address = Address(host, port, allow_remote=allow_remote, has_keys=bool(keys))
    for setting, value, least in (("queue", queue, 0), ("drain_seconds", drain_seconds, 0)):
        if not value >= least:
            raise ConfigError(f"{setting} is negative", got=value, allowed=f"{least} or more")
    if requests_per_minute is not None and requests_per_minute < 1:
        raise ConfigError("requests_per_minute is not positive", got=requests_per_minute, allowed="1 or more")
    limits = Limits(body_bytes=body_bytes, request_seconds=request_seconds)
    settings = EngineSettings(slots, piece_tokens, prompt_cache_mb, max_tokens, weights, prefer, device)
    named = name_models(checkpoint, models, name, [adapter] if isinstance(adapter, str) else adapter or [])

    from gpt_lightning.feedback.redaction import find_redaction
    from gpt_lightning.feedback.store import FeedbackStore
    from gpt_lightning.serving.app import build_app
    from gpt_lightning.serving.feedback import Desk
    from gpt_lightning.serving.gate import Keys, RateLimit
    from gpt_lightning.serving.request_log import RequestLog
    from gpt_lightning.serving.server import bind, build_service, log_to, run_server

    log_to(sys.stderr)
    # Before the models are loaded: a port that is taken is told at once.
    with bind(address.host, address.port) as listening:
        log = None if request_log is None else RequestLog(Path(request_log))
        store = None if feedback is None else FeedbackStore(feedback, redact=find_redaction(redact))
        desk = None if store is None else Desk(store, consent=feedback_consent)
        service, metrics = build_service(named, loader(settings), queue=queue, limits=limits, log=log, desk=desk)
        any_host = bool(keys) or not address.is_local
        app = build_app(service, metrics, keys=Keys(keys), limit=RateLimit(requests_per_minute), any_host=any_host)
        run_server(app, service, listening, drain_seconds)


def check_installed() -> None:
    """Refuse to begin without the extra.

    Raises:
        ConfigError: It is not installed; names the pip command.
    """
    for package in ("starlette", "uvicorn", "prometheus_client"):
        import_extra(package, "serve", "serve needs", ConfigError)


def loader(settings: EngineSettings) -> Loader:
    """What loads models so."""
    from gpt_lightning.serving.versions import load_versions

    return functools.partial(load_versions, settings=settings)


def name_models(
    checkpoint: str | None, models: str | None, name: str | None = None, adapters: Sequence[str] = ()
) -> Mapping[str, Source] | Path:
    """Names and what they point to, or the file that says so.

    Raises:
        ConfigError: Neither or both of checkpoint and models; a name or adapters beside a file of names; two of one
            name.
    """
    given: dict[str, Any] = {"checkpoint": checkpoint, "models": models}
    if (checkpoint is None) == (models is None):
        raise ConfigError(
            "serve takes one model or a file of models",
            got=given,
            fix="Write gpt-lightning serve RUN, or --models FILE.",
        )
    if models is not None:
        if name is not None or adapters:
            raise ConfigError(
                "Names and adapters are those of the file of models",
                got={"name": name, "adapter": list(adapters)},
                fix=f"Write them into {models}.",
            )
        return Path(models)
    base = str(checkpoint)
    found = {name or Path(base).resolve().name.partition("@")[0]: Source(base)}
    found |= {Path(each).resolve().name: Source(base, each) for each in adapters}
    if len(found) <= len(adapters):
        raise ConfigError("Two models have one name", got=[base, *adapters], fix="Give --name, or --models FILE.")
    return found


def read_keys(api_key: str | None, api_keys: str | None) -> list[str]:
    """All keys.

    Raises:
        ConfigError: The file cannot be read or holds none; a key is too short to be one.
    """
    found = [] if api_key is None else [api_key]
    if api_keys is not None:
        try:
            lines = Path(api_keys).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as problem:
            raise ConfigError(f"The keys of {api_keys} cannot be read ({problem})") from problem
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise ConfigError(f"{api_keys} holds no key", allowed="one per line")
    if any(len(key) < 8 or not key.isascii() or " " in key for key in found):
        raise ConfigError("A key is no key", allowed="8 ASCII characters or more, without spaces")
    return found

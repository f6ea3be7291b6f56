"""``gpt-lightning serve replay``: answer a log's requests again, many at once, and compare to the bit."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_lightning.errors import DataError
from gpt_lightning.serving.api_errors import ApiError
from gpt_lightning.serving.command import check_installed, loader, name_models
from gpt_lightning.serving.settings import EngineSettings, Source

if TYPE_CHECKING:
    from gpt_lightning.serving.service import Service


_NO_LIMIT = 1 << 30
"""Nothing is refused: who asks is a file."""
_AT_ONCE = 32


def replay_command(
    log: str,
    checkpoint: str | None = None,
    models: str | None = None,
    slots: int = EngineSettings.slots,
    piece_tokens: int = EngineSettings.piece_tokens,
    prompt_cache_mb: int = EngineSettings.prompt_cache_mb,
    max_tokens: int = EngineSettings.max_tokens,
    weights: str = EngineSettings.weights,
    prefer: str = EngineSettings.prefer,
    device: str = EngineSettings.device,
) -> None:
    """Answer the requests of a server's log again and compare; exit code 3 if an answer differs.

    Example: gpt-lightning serve replay requests.jsonl --checkpoint runs/quickstart-1

    Args:
        log: File of serve --request_log.
        checkpoint: Answers all of them, whatever name they asked for.
        models: File of models instead, as in serve; adapters are named there.
        slots: Texts written at once; changes no answer.
        piece_tokens: As the server had it: other pieces round otherwise.
        prompt_cache_mb: Memory for prompts that were read before, in millions of bytes; changes no answer.
        max_tokens: As the server had it.
        weights: As the server had them.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
    """
    check_installed()
    from gpt_lightning.serving.request_log import read_log
    from gpt_lightning.serving.server import build_service

    entries = read_log(Path(log))
    named = name_models(checkpoint, models)
    if checkpoint is not None and entries:
        named = {str(entry["body"].get("model")): Source(checkpoint) for entry in entries}
    settings = EngineSettings(slots, piece_tokens, prompt_cache_mb, max_tokens, weights, prefer, device)
    service, _ = build_service(named, loader(settings), queue=_NO_LIMIT)
    found = asyncio.run(replay(service, entries))
    different = found.different
    of_others = f", {len(found.strange):,} of other weights or settings" if found.strange else ""
    sys.stdout.write(f"{len(entries):,} answers, {len(entries) - len(different):,} the same{of_others}\n")
    if different:
        raise DataError(
            f"{len(different):,} of {len(entries):,} answers differ, the first in line {different[0]} of {log}",
            fix="The same weights and settings on the same machine give the same answers.",
        )


@dataclass(frozen=True)
class Replayed:
    """What came of it: numbers of entries, from 1.

    Attributes:
        different: Whose answers differ, the refused ones included.
        strange: Which other weights or settings answered.
        refused: Which are not answered any more.
        asked: How many there are.
    """

    different: list[int]
    strange: list[int]
    refused: list[int]
    asked: int


async def replay(service: Service, entries: Sequence[dict[str, Any]]) -> Replayed:
    """Answer again."""
    from gpt_lightning.serving.calls import read_chat, read_completion
    from gpt_lightning.serving.request_log import describe_answers

    readers = {"/v1/chat/completions": read_chat, "/v1/completions": read_completion}
    different: list[int] = []
    strange: list[int] = []
    refused: list[int] = []
    turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(number: int, entry: dict[str, Any]) -> None:
        whole = {key: value for key, value in entry["body"].items() if key not in ("stream", "stream_options")}
        try:
            _, version = service.find(whole)
            call = readers[entry["path"]](whole, version)
        except ApiError:  # an answer that is refused is another one
            different.append(number)
            refused.append(number)
            return
        async with turn:
            job = service.worker.submit(version, call)
            try:
                found = describe_answers(await job.complete())
            finally:
                service.worker.release(job)
        if json.loads(json.dumps(found)) != entry["answers"]:
            different.append(number)
        if version.fingerprint != entry["fingerprint"]:
            strange.append(number)

    service.worker.start()
    try:
        await asyncio.gather(*(ask(number, entry) for number, entry in enumerate(entries, 1)))
    finally:
        await service.worker.stop()
    return Replayed(sorted(different), sorted(strange), sorted(refused), len(entries))

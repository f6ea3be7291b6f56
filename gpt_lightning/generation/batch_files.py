"""A file of prompts answered into a file of texts, in the same order, and gone on with after a kill.

    out.jsonl             one line per prompt, written when it and all before it are done
    out.jsonl.unfinished  there while work is left: what the lines were made with

A second start with the same settings repairs a last line that was cut off, keeps the finished ones and goes on behind
them; with other settings it is refused, because half a file of each would look like a whole one.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt_lightning.errors import RunFolderError
from gpt_lightning.generation.engine import Engine, check_request
from gpt_lightning.generation.prompts import Prompt
from gpt_lightning.generation.requests import Completion

Report = Callable[[int, int, int], None]
"""Called with prompts done, prompts in all, and tokens written by this process."""


def answer_file(
    engine: Engine, prompts: Sequence[Prompt], output: Path, origin: Mapping[str, Any], report: Report
) -> int:
    """Answer all prompts into ``output``.

    Args:
        engine: Has the tokenizer the prompts were encoded with.
        prompts: What to answer, in order.
        output: JSON lines file; a finished one is never overwritten.
        origin: What the texts depend on beside the prompts (model, settings), as JSON values.
        report: Told after every line.

    Returns:
        How many prompts were already answered by an earlier start.

    Raises:
        RunFolderError: ``output`` is finished, is of something else, or was begun with other prompts or settings.
        UserError: A request does not fit the model; found before anything is written.
    """
    for prompt in prompts:
        check_request(prompt.request, engine.model, engine.capacity, engine.tokenizer)
    mark = _mark_path(output)
    done = _begin(output, mark, _fingerprint(prompts, origin))
    waiting: dict[int, list[Completion]] = {}
    following, tokens = done, 0
    with output.open("a", encoding="utf-8", newline="\n") as file:
        for number, completions in engine.complete(prompt.request for prompt in prompts[done:]):
            waiting[done + number] = completions
            while following in waiting:
                ready = waiting.pop(following)
                file.write(json.dumps(describe_answer(prompts[following], ready), ensure_ascii=False) + "\n")
                file.flush()
                following, tokens = following + 1, tokens + sum(len(each.ids) for each in ready)
                report(following, len(prompts), tokens)
    mark.unlink()
    return done


def describe_answer(prompt: Prompt, completions: Sequence[Completion]) -> dict[str, Any]:
    """An output line: ``id`` and ``prompt``, then the text, or with ``n`` above 1 a list of ``samples``."""
    answers = [_describe(completion) for completion in completions]
    head = {"id": prompt.name, "prompt": prompt.text}
    return {**head, **answers[0]} if prompt.request.n == 1 else {**head, "samples": answers}


def _describe(completion: Completion) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "num_tokens": len(completion.ids),
    }
    if completion.logprobs is not None:
        answer["tokens"] = list(completion.ids)
        answer["logprobs"] = [round(each.logprob, 6) for each in completion.logprobs]
        answer["top_logprobs"] = [
            [[token, round(value, 6)] for token, value in each.top] for each in completion.logprobs
        ]
    return answer


def _mark_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.unfinished")


def _fingerprint(prompts: Sequence[Prompt], origin: Mapping[str, Any]) -> str:
    asked = [[prompt.name, prompt.text, repr(prompt.request)] for prompt in prompts]
    return hashlib.sha256(json.dumps([dict(origin), asked], sort_keys=True).encode()).hexdigest()


def _begin(output: Path, mark: Path, fingerprint: str) -> int:
    """Leave only whole lines in ``output``; how many there are."""
    if not mark.exists():
        if output.exists():
            raise RunFolderError(
                "the output exists already", got=str(output), fix="Choose another --output, or delete the file."
            )
        if not output.parent.is_dir():
            raise RunFolderError("the output's folder does not exist", got=str(output.parent), fix="Make it first.")
        mark.write_text(fingerprint, encoding="utf-8")
    elif mark.read_text(encoding="utf-8") != fingerprint:
        raise RunFolderError(
            "the output was begun with other prompts, settings or weights",
            got=str(output),
            fix=f"Start with those again, or delete {output.name} and {mark.name}.",
        )
    if not output.exists():
        return 0
    content = output.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with output.open("r+b") as file:
            file.truncate(len(whole))
    return whole.count(b"\n")


class ProgressLine:
    """Where a batch stands, on standard error: one line that is rewritten, or without a terminal one every 10 s."""

    def __init__(self) -> None:
        self._begin = self._last = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, done: int, total: int, tokens: int) -> None:
        """A ``Report``."""
        now = time.monotonic()
        if done < total and now - self._last < (0.2 if self._live else 10.0):
            return
        self._last = now
        rate = tokens / max(now - self._begin, 1e-9)
        line = f"{done:,} of {total:,} prompts, {tokens:,} tokens, {rate:,.0f} tokens/s"
        end = "\n" if done == total or not self._live else ""
        sys.stderr.write(f"\r{line}{end}" if self._live else f"{line}\n")
        sys.stderr.flush()

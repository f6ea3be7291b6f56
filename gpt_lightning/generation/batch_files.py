"""A file of prompts answered into a file of texts, in the same order, and gone on with after a kill.

    out.jsonl             one line per prompt, written when it and all before it are done
    out.jsonl.unfinished  there while work is left: what the lines were made with
    out.jsonl.part-0000   there while several processes work: what one of them has answered, with its numbers

A second start with the same settings repairs a last line that was cut off, keeps the finished ones, those of all parts
too, and goes on with what is left, by one process or any other number of them. With other settings it is refused,
because half a file of each would look like a whole one.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gpt_lightning.errors import RunFolderError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.files.locks import FileLock, LockHeld
from gpt_lightning.generation.engine import Engine, check_request
from gpt_lightning.generation.prompts import Prompt
from gpt_lightning.generation.requests import Completion

Report = Callable[[int, int, int], None]
"""Called with prompts done, prompts in all, and tokens written by this process."""


def answer_file(
    engine: Engine, prompts: Sequence[Prompt], output: Path, origin: Mapping[str, Any], report: Report
) -> int:
    """Answer all prompts into ``output``, in this process.

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
    check_prompts(engine, prompts)
    work = AnswerFile(output, prompts, origin)
    try:
        left = work.begin()
        tally = Tally()
        for done in work.write(tally.lines(engine, prompts, left)):
            report(done, len(prompts), tally.tokens)
    finally:
        work.close()
    return len(prompts) - len(left)


def check_prompts(engine: Engine, prompts: Sequence[Prompt]) -> None:
    """Refuse a request that does not fit the model before anything is written.

    Raises:
        UserError: As ``engine.check_request``.
    """
    for prompt in prompts:
        check_request(prompt.request, engine.model, engine.capacity, engine.tokenizer)


class Tally:
    """Answers prompts and counts what it writes.

    Attributes:
        tokens: How many so far.
    """

    def __init__(self) -> None:
        self.tokens = 0

    def lines(self, engine: Engine, prompts: Sequence[Prompt], numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Numbers and output lines of some of the prompts, as they become ready."""
        for index, completions in engine.complete(prompts[number].request for number in numbers):
            self.tokens += sum(len(each.ids) for each in completions)
            yield numbers[index], to_line(prompts[numbers[index]], completions)


def to_line(prompt: Prompt, completions: Sequence[Completion]) -> str:
    """An output line: ``id`` and ``prompt``, then the text, or with ``n`` above 1 a list of ``samples``."""
    answers = [_describe(completion) for completion in completions]
    head = {"id": prompt.name, "prompt": prompt.text}
    return json.dumps(
        {**head, **answers[0]} if prompt.request.n == 1 else {**head, "samples": answers}, ensure_ascii=False
    )


def _describe(completion: Completion) -> dict[str, Any]:
    described: dict[str, Any] = {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "num_tokens": len(completion.ids),
    }
    if completion.logprobs is not None:
        described["tokens"] = list(completion.ids)
        described["logprobs"] = [round(each.logprob, 6) for each in completion.logprobs]
        described["top_logprobs"] = [
            [[token, round(value, 6)] for token, value in each.top] for each in completion.logprobs
        ]
    return described


class AnswerFile:
    """An output file while work is left, with what belongs to it.

    One process opens it: ``begin``, then ``write``. Others may help in between, each with ``write_part``.

    Args:
        output: The file.
        prompts: What to answer, in order.
        origin: What the texts depend on beside the prompts, as JSON values.
    """

    def __init__(self, output: Path, prompts: Sequence[Prompt], origin: Mapping[str, Any]) -> None:
        self.output, self._size = output, len(prompts)
        asked = [[prompt.name, prompt.text, repr(prompt.request)] for prompt in prompts]
        self._fingerprint = hashlib.sha256(json.dumps([dict(origin), asked], sort_keys=True).encode()).hexdigest()
        self._mark = output.with_name(f"{output.name}.unfinished")
        self._lock = FileLock(_lock_path(self._mark), beats=True)
        self._done = 0

    def check(self) -> bool:
        """Whether it was begun before; nothing is changed.

        Raises:
            RunFolderError: It is finished, is of something else, or was begun with other prompts or settings.
        """
        begun = self._mark.read_text(encoding="utf-8").strip() if self._mark.exists() else ""
        if not begun and self._mark.exists() and self.output.exists():
            raise RunFolderError(
                f"{self._mark} is empty, which a crash of the machine can do, so nobody knows what {self.output.name} "
                "was begun with",
                fix="If that was these prompts, settings and weights, write it anew and start again: "
                f"echo {self._fingerprint} > {shlex.quote(str(self._mark))}",
            )
        if begun not in ("", self._fingerprint):
            raise RunFolderError(
                "the output was begun with other prompts, settings or weights",
                got=str(self.output),
                fix=f"Start with those again, or delete {self.output.name} and {self._mark.name}.",
            )
        if not begun and self.output.exists():
            raise RunFolderError(
                "the output exists already", got=str(self.output), fix="Choose another output, or delete the file."
            )
        if not self.output.parent.is_dir():
            raise RunFolderError(
                "the output's folder does not exist", got=str(self.output.parent), fix="Make it first."
            )
        return bool(begun)

    def begin(self) -> list[int]:
        """Leave only whole lines everywhere; the numbers (0, 1, ...) of the prompts that no line answers.

        Raises:
            RunFolderError: As ``check``, or a process is still writing.
        """
        self.check()
        _acquire(self._lock)
        try:
            goes_on = self.check()  # whoever had the lock may have finished meanwhile
            for part in self._list_parts():
                with part_locked(part):
                    if not goes_on:
                        part.unlink()  # of an output that was deleted
            if not goes_on:
                write_text_durably(self._mark, self._fingerprint)
        except BaseException:
            self.close()
            raise
        self._done = _keep_whole_lines(self.output)
        found = self._gather()
        return [number for number in range(self._done, self._size) if number not in found]

    def write(self, arriving: Iterable[tuple[int, str]] = ()) -> Iterator[int]:
        """Write what the parts have and what arrives, in order, and clear away what only served to get there.

        Args:
            arriving: Numbers and lines, in any order.

        Yields:
            How many lines are there, after each.
        """
        waiting = self._gather()
        with self.output.open("a", encoding="utf-8", newline="\n") as file:
            yield from self._write_ready(waiting, file)
            for number, line in arriving:
                waiting[number] = line
                yield from self._write_ready(waiting, file)
        assert self._done == self._size, "a prompt was left out"
        for part in self._list_parts():
            part.unlink()
        self._mark.unlink()
        self._lock.release(remove=True)

    def write_part(self, number: int, arriving: Iterable[tuple[int, str]]) -> Iterator[int]:
        """Write what arrives to the part of a process that helps; ``begin`` must have returned in the one that opened.

        Args:
            number: Of the process.
            arriving: Numbers and lines, in any order.

        Yields:
            How many have arrived, after each.
        """
        part = self.output.with_name(f"{self.output.name}.part-{number:04d}")
        with part_locked(part), part.open("a", encoding="utf-8", newline="\n") as file:
            for count, (place, line) in enumerate(arriving, start=1):
                file.write(f"{place}\t{line}\n")
                file.flush()
                yield count

    def close(self) -> None:
        """Let other processes open it."""
        self._lock.release()

    def _write_ready(self, waiting: dict[int, str], file: IO[str]) -> Iterator[int]:
        while self._done in waiting:
            file.write(f"{waiting.pop(self._done)}\n")
            file.flush()
            self._done += 1
            yield self._done

    def _list_parts(self) -> list[Path]:
        return sorted(self.output.parent.glob(f"{glob.escape(self.output.name)}.part-[0-9][0-9][0-9][0-9]"))

    def _gather(self) -> dict[int, str]:
        """Lines of all parts, by number."""
        found: dict[int, str] = {}
        for part in self._list_parts():
            _keep_whole_lines(part)
            # Not splitlines: a text may hold other characters that end a line.
            for entry in part.read_text(encoding="utf-8").split("\n")[:-1]:
                number, _, line = entry.partition("\t")
                found[int(number)] = line
        return {number: line for number, line in found.items() if number >= self._done}


@contextmanager
def part_locked(part: Path) -> Iterator[None]:
    """Write a part while no other process does.

    Raises:
        RunFolderError: Another process does.
    """
    lock = FileLock(_lock_path(part), beats=True)
    _acquire(lock)
    try:
        yield
    finally:
        lock.release(remove=True)


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _acquire(lock: FileLock) -> None:
    try:
        lock.acquire(wait=False)
    except LockHeld as held:
        raise RunFolderError(
            f"another process is writing this output ({held})", got=str(lock.path), fix="Wait for it, or end it."
        ) from None


def _keep_whole_lines(path: Path) -> int:
    """Cut off a last line that is not whole; how many lines are left."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return whole.count(b"\n")


class ProgressLine:
    """Where a batch stands, on standard error: one line that is rewritten, or without a terminal one every 10 s.

    Args:
        of: What the prompts are of, if not of the whole file.
    """

    def __init__(self, of: str = "") -> None:
        self._of = of
        self._begin = self._last = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, done: int, total: int, tokens: int) -> None:
        """A ``Report``."""
        now = time.monotonic()
        if done < total and now - self._last < (0.2 if self._live else 10.0):
            return
        self._last = now
        rate = tokens / max(now - self._begin, 1e-9)
        line = f"{done:,} of {total:,} prompts{self._of}, {tokens:,} tokens, {rate:,.0f} tokens/s"
        end = "\n" if done == total or not self._live else ""
        sys.stderr.write(f"\r{line}{end}" if self._live else f"{line}\n")
        sys.stderr.flush()

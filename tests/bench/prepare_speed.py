"""Measures preparing beside bare tiktoken, and vocabulary training; prints JSON. Run by ``test_prepare``.

Arguments: MB of text, tokenizer.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import site
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tiktoken

from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
from gpt_lightning.data.readers.builtin import iterate_source_code
from gpt_lightning.data.tokenizers.bpe import train_vocabulary
from gpt_lightning.data.tokenizers.vocabularies import find_encoding


def iterate_sources() -> Iterator[str]:
    """English and code: the standard library, then what is installed."""
    for _, text in iterate_source_code():
        yield text
    for folder in site.getsitepackages():
        for path in sorted(Path(folder).rglob("*.py")):
            yield path.read_text(encoding="utf-8", errors="ignore")


def collect(num_bytes: int) -> list[str]:
    """Documents of a few KB, as many as make ``num_bytes``."""
    texts: list[str] = []
    for text in iterate_sources():
        for start in range(0, len(text), 4000):
            texts.append(text[start : start + 4000])
            num_bytes -= len(texts[-1].encode())
            if num_bytes <= 0:
                return texts
    return texts


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU, children included."""

    def spent() -> float:
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in usage)

    start, before = time.perf_counter(), spent()
    work()
    return time.perf_counter() - start, spent() - before


def encode_all(encoding: tiktoken.Encoding, texts: list[str]) -> None:
    """Bare tiktoken, in the faster of its ways."""
    for text in texts:
        encoding.encode_to_numpy(text, disallowed_special=())


def encode_halves(encoding: tiktoken.Encoding, texts: list[str]) -> None:
    """What two processes can gain on this machine at best."""
    halves = [
        multiprocessing.get_context("fork").Process(target=encode_all, args=(encoding, texts[n::2])) for n in (0, 1)
    ]
    for half in halves:
        half.start()
    for half in halves:
        half.join()


def main() -> None:
    """Measure."""
    megabytes, name = float(sys.argv[1]), sys.argv[2]
    texts = collect(int(megabytes * 1e6))
    size = sum(len(text.encode()) for text in texts)
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GPT_LIGHTNING_CACHE"] = folder
        path = Path(folder) / "x.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        encoding = find_encoding(name)
        settings = PrepareSettings(str(path), name)
        found["bare tiktoken"] = timed(lambda: encode_all(encoding, texts))
        found["bare tiktoken, 2 processes"] = timed(lambda: encode_halves(encoding, texts))
        for workers in (1, 2):
            found[f"prepare, {workers} workers"] = timed(lambda count=workers: prepare(settings, workers=count))  # type: ignore[misc]
        found["bare tiktoken again"] = timed(lambda: encode_all(encoding, texts))
    found["vocabulary of 32768"] = timed(lambda: train_vocabulary(texts, 32768))
    print(json.dumps({"bytes": size, "found": found}))


if __name__ == "__main__":
    main()

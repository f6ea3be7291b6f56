"""How fast text becomes tokens, beside the tokenizer alone, and how fast a vocabulary is learned."""

from __future__ import annotations

import pytest

from tests.bench.publish import measure, publish

NOTES = """\
Python source (the standard library and installed packages) in documents of 4000 characters, as .jsonl, with
the vocabulary of GPT-2. Preparing includes parsing, hashing, checksums and writing; bare tiktoken encodes strings in
memory, one thread. CPU is user + system time of all processes, which a shared machine disturbs less than the clock; its
ratio to bare tiktoken is the cost per core. Two processes of bare tiktoken, half of the text each, show what a second
core of this machine is worth. Vocabulary training uses two threads; its bar is 50 MB in 30 s."""


@pytest.mark.bench
def test_prepare() -> None:
    result = measure("prepare_speed", "120", "gpt2")
    megabytes = result["bytes"] / 1e6
    bare = min(result["found"]["bare tiktoken"][1], result["found"]["bare tiktoken again"][1])
    rows = [
        (name, clock, cpu, megabytes / clock, cpu / bare if "vocabulary" not in name else "")
        for name, (clock, cpu) in result["found"].items()
    ]
    columns = ("what", "seconds", "CPU seconds", "MB/s by the clock", "CPU / bare tiktoken")
    publish("prepare", f"Preparing {megabytes:.0f} MB of text", columns, rows, NOTES)

"""Small stores for tests, and the same tokens as a plain list to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gpt_lightning.data.store.manifest import Manifest, write_manifest
from gpt_lightning.data.store.shard_files import ShardWriter
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, CharTokenizer, Tokenizer


def write_store(
    folder: Path, lengths: list[int], *, shard_tokens: int = 10**6, tokenizer: Tokenizer | None = None, seed: int = 0
) -> tuple[TokenStore, list[int]]:
    """A store with one training document per length (random ids), and all its ids in order."""
    kind = tokenizer or ByteTokenizer()
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    expected: list[int] = []
    with ShardWriter(folder, "train", dtype=kind.dtype.name, eot_id=kind.eot_id, shard_tokens=shard_tokens) as writer:
        for length in lengths:
            ids = generator.integers(0, kind.eot_id, length)
            writer.add(ids, text_bytes=length)
            expected += [kind.eot_id, *ids.tolist()]
        splits = {"train": writer.finish()}
    manifest = Manifest(
        settings={},
        tokenizer=kind.describe(),
        vocab_size=kind.vocab_size,
        eot_id=kind.eot_id,
        dtype=kind.dtype.name,
        splits=splits,
        inputs=[],
        split_rule="all",
    )
    write_manifest(folder, manifest)
    return TokenStore.open(folder), expected


def wide_tokenizer() -> Tokenizer:
    """One whose ids need uint32."""
    return CharTokenizer(chr(number) for number in range(0x10000, 0x10000 + 70_000))


def read_like_llm_c(path: Path) -> list[int]:
    """An independent reader, written from llm.c's description of the format."""
    data = path.read_bytes()
    header: Any = np.frombuffer(data[:1024], dtype=np.int32)
    kind = {(20240520, 1): np.uint16, (20240801, 7): np.uint32}[(int(header[0]), int(header[1]))]
    tokens = np.frombuffer(data[1024:], dtype=kind)
    assert len(tokens) == header[2]
    assert not header[3:].any()
    return [int(token) for token in tokens]

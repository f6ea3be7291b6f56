from __future__ import annotations

from pathlib import Path

import pytest

from gpt_lightning.data.store.checks import check_block_size, check_global_batch, check_tokenizer, check_vocabulary
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, CharTokenizer
from gpt_lightning.errors import DataError
from tests.data.stores import write_store


def test_ids_must_have_an_embedding(tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", [10])
    check_vocabulary(store.manifest, 257)
    with pytest.raises(DataError) as caught:
        check_vocabulary(store.manifest, 256)
    for part in ("tokens-train-00000.bin", "token id 256", "got 256", "vocab_size >= 257", "bytes", "257, or to 320"):
        assert part in str(caught.value)


def test_a_split_must_hold_a_window(tmp_path: Path) -> None:
    split = write_store(tmp_path / "s", [10])[0].split("train")
    check_block_size(split, 10)
    with pytest.raises(DataError, match=r"train split has 11 tokens.*got 11 \(allowed: block_size from 1 to 10\)"):
        check_block_size(split, 11)


@pytest.mark.parametrize(
    ("windows", "batch_size", "accumulate", "world", "advice"),
    [(11, 4, 3, 1, "batch_size to 3"), (7, 4, 2, 2, "batch_size to 1"), (3, 1, 4, 1, "Lower accumulate")],
)
def test_a_step_must_not_need_more_than_an_epoch(
    windows: int, batch_size: int, accumulate: int, world: int, advice: str
) -> None:
    check_global_batch(batch_size * accumulate * world, batch_size=batch_size, accumulate=accumulate, world=world)
    wanted = batch_size * accumulate * world
    with pytest.raises(DataError, match=rf"One step takes {wanted} windows .*has only {windows}\. .*{advice}"):
        check_global_batch(windows, batch_size=batch_size, accumulate=accumulate, world=world)


def test_tokenizers_must_agree(tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", [10], tokenizer=CharTokenizer("abc"))
    check_tokenizer(store.manifest, CharTokenizer("cba").describe())
    other = CharTokenizer("abz").describe()
    with pytest.raises(DataError, match="characters differ") as caught:
        check_tokenizer(store.manifest, other, owner="Checkpoint x")
    assert str(caught.value).startswith(f"Checkpoint x uses tokenizer chars ({other['fingerprint'][:12]})")
    assert store.tokenizer.fingerprint[:12] in str(caught.value)
    with pytest.raises(DataError, match=r"bytes .*characters, specials differ"):
        check_tokenizer(store.manifest, ByteTokenizer().describe())

from __future__ import annotations

from pathlib import Path

import pytest

from gpt_lightning.data.commands.stores import format_progress, summarize
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare

CHINESE = "春天来了。小鸟在树上唱歌。我们一起去公园看花。\n" * 20


@pytest.mark.parametrize(
    ("tokenizer", "warned"), [("gpt2", True), ("bpe:300", False), ("chars", False), ("bytes", False)]
)
def test_a_vocabulary_that_wastes_chinese_is_told(tokenizer: str, warned: bool, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(CHINESE)
    store = prepare(PrepareSettings(str(tmp_path / "x.txt"), tokenizer))
    told = summarize(store.manifest)
    tokens = sum(split.num_tokens - split.num_documents for split in store.manifest.splits.values())
    assert f"Chinese     {len(CHINESE)} characters, {len(CHINESE) / tokens:.2f} characters per token" in told
    assert ("warning     this vocabulary spends" in told) is warned


def test_english_has_no_line_for_chinese(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("To be, or not to be.\n" * 20)
    told = summarize(prepare(PrepareSettings(str(tmp_path / "x.txt"), "bytes")).manifest)
    assert "Chinese" not in told
    assert "vocabulary  245 of 257 ids do not occur (95%)" in told


@pytest.mark.parametrize(
    ("done", "seconds", "left"),
    [(50, 99.0, "99 s"), (50, 600.0, "10 min"), (50, 7200.0, "2.0 h"), (0, 9.0, "very long")],
)
def test_the_time_left_is_told_in_its_own_unit(done: int, seconds: float, left: str) -> None:
    assert format_progress(done, 100, 7, seconds, "doing").endswith(f", {left} left")

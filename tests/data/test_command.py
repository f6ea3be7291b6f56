from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpt_lightning.data.command import ProgressLine, prepare_command
from gpt_lightning.data.report import format_progress


def test_the_summary_holds_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.txt").write_text("a" * 80 + "\n" + "b" * 19)
    (folder / "b.txt").write_text("")
    prepare_command(store=str(tmp_path / "s"), source=str(folder), tokenizer="bytes", val_fraction=0.2)
    out, err = capsys.readouterr()
    assert err == ""
    for part in (
        "tokenizer   bytes, 257 ids, uint16, fingerprint ",
        "train       1 documents, 82 tokens, 81 bytes of text (0.99 bytes per token)",
        "val         1 documents, 20 tokens, 19 bytes of text (0.95 bytes per token)",
        "skipped     1 empty",
        f"store       {tmp_path / 's'}\n",
    ):
        assert part in out


def test_replaced_surrogates_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a\\ud800b"}\n')
    prepare_command(source=str(tmp_path / "x.jsonl"), tokenizer="bytes", val_fraction=0.0)
    assert "replaced    1 lone surrogates" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (25_000_000, 100_000_000, "preparing 25.0 MB of 100.0 (25%), 6.0 M tokens, 2.5 MB/s, 30 s left"),
        (25_000_000, 0, "preparing 25.0 MB, 6.0 M tokens, 2.5 MB/s"),
        (0, 100, "preparing 0.0 MB of 0.0 (0%), 6.0 M tokens, 0.0 MB/s, very long left"),
    ],
)
def test_the_progress_line(done: int, total: int, text: str) -> None:
    assert format_progress(done, total, 6_000_000, 10.0, "preparing") == text


def test_the_line_is_cleared_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line = ProgressLine()
    line.show(10, 10, 5)
    line.close()
    shown, blank = capsys.readouterr().err.lstrip("\r").removesuffix("\r").split("\r")
    assert shown.startswith("preparing 0.0 MB of 0.0 (100%)")
    assert blank == " " * len(shown)

"""Whatever is fed to ``prepare``: a clear error or a correct store, never a hang, never a traceback, nothing lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
from gpt_lightning.errors import DataError
from tests.data.stores import read_like_llm_c

# Beginnings that lead further into a parser than noise alone does.
BEGINNINGS = [
    b"",
    b"PAR1",
    b"ARROW1\0\0",
    b"\x1f\x8b\x08",
    b"(\xb5/\xfd",
    b"BZh9",
    b"\xfd7zXZ\0",
    b'{"text": "',
    b'"',
    b"[{",
]
SUFFIXES = [".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".jsonl.zst", ".csv.xz", ".txt.bz2"]
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(
    data=st.builds(bytes.__add__, st.sampled_from(BEGINNINGS), st.binary(max_size=200)),
    suffix=st.sampled_from(SUFFIXES),
    rule=st.sampled_from(["file", "line", "paragraph"]),
    encoding=st.sampled_from(["utf-8", "gb18030", "utf-16", "latin-1"]),
)
def test_noise(data: bytes, suffix: str, rule: str, encoding: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    for package, suffixes in (("pyarrow", (".parquet", ".arrow")), ("zstandard", (".zst",))):
        if suffix.endswith(suffixes):
            pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("noise")
    (folder / f"x{suffix}").write_bytes(data)
    chosen = PrepareSettings(str(folder), "bytes", val_fraction=0.0, document_per=rule, encoding=encoding)
    try:
        store = prepare(chosen, store=folder.with_name(f"{folder.name}-s"))
    except DataError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "\n" not in message
        assert str(folder) in message or "document_per" in message
        return
    text = store.tokenizer.decode(read_like_llm_c(store.path / "tokens-train-00000.bin")[1:])
    if suffix == ".txt" and rule == "file":
        assert text == data.decode(encoding).removeprefix("\ufeff")


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(
    texts=st.lists(
        st.one_of(st.text(), st.sampled_from(["<|endoftext|>", "\ud800", "", "\r\n", "\0", '","'])), min_size=1
    ),
    tokenizer=st.sampled_from(["bytes", "gpt2"]),
)
def test_nothing_is_lost(texts: list[str], tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "x.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    clean = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts if text]
    if not clean:
        return
    store = prepare(PrepareSettings(str(folder / "x.jsonl"), tokenizer, val_fraction=0.0), store=folder / "s")
    ids = read_like_llm_c(store.path / "tokens-train-00000.bin")
    borders = [number for number, token in enumerate(ids) if token == store.tokenizer.eot_id]
    assert len(borders) == len(clean)
    found = [store.tokenizer.decode(ids[a + 1 : b]) for a, b in zip(borders, [*borders[1:], None], strict=True)]
    assert found == clean
    assert store.manifest.counts["characters"] == sum(map(len, clean))


@pytest.mark.parametrize("character", ["^", " ", "中"])
def test_a_million_equal_characters_are_no_hang(character: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(character * 1_000_000, newline="")
    store = prepare(PrepareSettings(str(tmp_path / "x.txt"), "gpt2", val_fraction=0.0))
    ids = read_like_llm_c(store.path / "tokens-train-00000.bin")
    assert store.tokenizer.decode(ids[1:]) == character * 1_000_000


def test_a_giant_line_is_one_document(tmp_path: Path) -> None:
    text = "word " * 1_000_000
    (tmp_path / "x.txt").write_text(f"{text}end\nshort")
    store = prepare(PrepareSettings(str(tmp_path / "x.txt"), "bytes", val_fraction=0.0, document_per="line"))
    assert store.split("train").document_ends.tolist() == [len(text) + 4, len(text) + 10]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("secret")
    (tmp_path / "x.txt").chmod(0)
    with pytest.raises(DataError, match="Cannot read"):
        prepare(PrepareSettings(str(tmp_path / "x.txt"), "bytes"))

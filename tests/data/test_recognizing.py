"""What merely happens to decode is no text: it is told as what it is."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gpt_lightning.errors import DataError
from tests.data.inputs import open_all
from tests.data.stores import write_store

TEXT = "The first line, and a second one.\nAnd more of it.\n" * 20


def read(path: Path, **options: str) -> list[str]:
    return [document.text for reader in open_all([str(path)], **options) for document in reader.iterate_documents()]


def pack_tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = len(TEXT)
        archive.addfile(entry, io.BytesIO(TEXT.encode()))
    return packed.getvalue()


def pack_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", TEXT)
    return packed.getvalue()


def save_array() -> bytes:
    packed = io.BytesIO()
    np.save(packed, np.arange(3))
    return packed.getvalue()


LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n".encode()
WHAT = {
    "tar": (pack_tar(), r"a tar archive; unpack it"),
    "zip": (pack_zip(), r"a zip archive"),
    "lfs": (LFS, r"a pointer of Git LFS .*run git lfs pull"),
    "annex": (b"/annex/objects/MD5E-s5--0123.txt\n", r"a pointer of git-annex"),
    "numpy": (save_array(), r"a NumPy array"),
    "pickle": (pickle.dumps([1]), r"a Python pickle"),
    "pdf": (b"%PDF-1.4\n", r"a PDF document"),
    "parquet": (b"PAR1 and so on", r"a parquet file; give it the suffix \.parquet"),
    "utf-16": (TEXT.encode("utf-16"), r"UTF-16; set data\.encoding \(--encoding\) to utf-16: got"),
    "utf-16-le": (TEXT.encode("utf-16-le"), r"UTF-16; set data\.encoding \(--encoding\) to utf-16-le"),
    "utf-16-be": (TEXT.encode("utf-16-be"), r"UTF-16; set data\.encoding \(--encoding\) to utf-16-be"),
    "nul": (b"a\0\0\0" * 1000, r"binary: NUL between its bytes"),
}


@pytest.mark.parametrize("kind", WHAT)
def test_what_is_no_text_is_told_as_what_it_is(kind: str, tmp_path: Path) -> None:
    content, message = WHAT[kind]
    ways = [(suffix, rule) for suffix in (".txt", "", ".txt.gz") for rule in ("file", "line", "paragraph")]
    for suffix, rule in [*ways, *((suffix, "file") for suffix in (".jsonl", ".json", ".csv", ".tsv"))]:
        path = tmp_path / f"x{suffix}"
        path.write_bytes(gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content)
        for encoding in ("utf-8", "latin-1"):
            with pytest.raises(DataError, match=rf"x{suffix} is no text: it is {message}") as caught:
                read(path, document_per=rule, encoding=encoding)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".txt.gz", ".jsonl.zst"])
def test_a_pointer_is_told_whatever_the_file_should_be(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").write_bytes(LFS)
    (reader,) = open_all([str(tmp_path / f"x{suffix}")])
    with pytest.raises(DataError, match=r"a pointer of Git LFS"):
        list(reader.iterate_documents())
    if suffix == ".parquet":
        with pytest.raises(DataError, match=r"a pointer of Git LFS"):
            reader.list_spans(10)


def test_our_own_shard_is_told(tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", [100])
    shard = tmp_path / "x.txt"
    shard.write_bytes((store.path / "tokens-train-00000.bin").read_bytes())
    with pytest.raises(DataError, match=r"a shard of token ids; name its folder with data\.store"):
        read(shard)


@pytest.mark.parametrize("text", [TEXT, "一天，他走了。\n" * 30 + " and so on, ", "一一一", "", "x"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_wide_encodings_are_read_when_they_are_named(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(text.encode(encoding))
    assert "".join(read(tmp_path / "x.txt", encoding=encoding)) == text


@pytest.mark.parametrize(
    ("written", "stated"), [("utf-16-be", "utf-16"), ("utf-16-be", "utf-16-le"), ("utf-16-le", "utf-16-be")]
)
@pytest.mark.parametrize("text", [TEXT, "一天，他走了。\n" * 30])
def test_the_other_order_of_bytes_is_told(text: str, written: str, stated: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(text.encode(written))
    with pytest.raises(DataError, match=rf"in the other order of bytes: got '{stated}' \(allowed: {written}\)"):
        read(tmp_path / "x.txt", encoding=stated)


@pytest.mark.parametrize("kind", ["gzip", "bz2", "lzma", "zstandard"])
@pytest.mark.parametrize("name", ["x.txt", "x.jsonl"])
def test_compression_is_recognized_under_another_name(name: str, kind: str, tmp_path: Path) -> None:
    module = pytest.importorskip(kind)
    content = b'{"text": "one"}\n{"text": "two"}\n' * 100
    compress = module.ZstdCompressor().compress if kind == "zstandard" else module.compress
    (tmp_path / name).write_bytes(compress(content))
    (reader,) = open_all([str(tmp_path / name)])
    assert len(reader.list_spans(10)) == 1
    assert len(list(reader.iterate_documents())) == (200 if name == "x.jsonl" else 1)
    assert read(tmp_path / name)[0] == (content.decode() if name == "x.txt" else "one")


@pytest.mark.parametrize("text", ["BZh is no archive", "a\0b" * 2 + "text of some length, and more of it " * 3, "PK"])
def test_text_that_resembles_something_else_is_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(text)
    assert read(tmp_path / "x.txt") == [text]

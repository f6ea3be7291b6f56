from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest

from gpt_lightning.data.open import open_mixture, open_on_the_fly, open_store
from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.data.store.external import ForeignStore
from gpt_lightning.data.store.remote import RemoteStore
from gpt_lightning.data.store.shards import TokenSplit, TokenStore
from gpt_lightning.data.stream.mixture import Mixture, MixtureSource
from gpt_lightning.data.tokenizers.kinds import write_tokenizer
from gpt_lightning.errors import ConfigError, DataError

START = np.array([0], dtype=np.int64)


def tokens_of(split: TokenSplit) -> list[int]:
    return list(split.gather(START, split.num_tokens)[0].tolist())


@pytest.fixture
def settings(tmp_path: Path) -> PrepareSettings:
    (tmp_path / "a.txt").write_text("To be, or not to be.\n\n" * 40)
    return PrepareSettings(source=str(tmp_path / "a.txt"), tokenizer="bytes", val_fraction=0.2)


@pytest.fixture
def own(settings: PrepareSettings, tmp_path: Path) -> TokenStore:
    return open_store(settings, str(tmp_path / "store"))


def test_text_becomes_a_store_of_ours(own: TokenStore, tmp_path: Path) -> None:
    assert type(own) is TokenStore
    assert own.path == tmp_path / "store"


@pytest.mark.parametrize("place", ["store", "source"])
def test_token_files_are_read_as_they_are(
    place: str, own: TokenStore, settings: PrepareSettings, tmp_path: Path
) -> None:
    """Our own shards have llm.c's format, so that a renamed copy is another program's file."""
    (tmp_path / "tokens").mkdir()
    path = shutil.copy(own.path / "tokens-train-00000.bin", tmp_path / "tokens" / "x_train_000001.bin")
    if place == "store":
        store = open_store(settings, str(tmp_path / "tokens"))
    else:
        store = open_store(PrepareSettings(source=str(path), tokenizer="bytes", val_fraction=0.2), None)
    assert isinstance(store, ForeignStore)
    assert tokens_of(store.split("train")) + tokens_of(store.split("val")) == tokens_of(own.split("train"))


def test_a_url_is_opened_from_afar_and_its_tokenizer_compared(
    own: TokenStore, settings: PrepareSettings, tmp_path: Path
) -> None:
    files = fsspec.filesystem("memory")
    files.put(str(own.path), "/opening/store", recursive=True)
    try:
        store = open_store(settings, "memory://opening/store")
        assert isinstance(store, RemoteStore)
        assert store.fingerprint == own.fingerprint
        write_tokenizer(own.tokenizer, tmp_path / "bytes.json")
        open_store(PrepareSettings(tokenizer=str(tmp_path / "bytes.json")), "memory://opening/store")
        with pytest.raises(
            DataError, match=r"made with another tokenizer: got 'chars' \(allowed: bytes\)\. Set --data"
        ):
            open_store(PrepareSettings(tokenizer="chars"), "memory://opening/store")
    finally:
        files.rm("/opening", recursive=True)


@pytest.mark.parametrize("place", ["none.bin", "none.ds", "none.idx", "*.bin"])
def test_token_files_that_are_not_there_are_no_place_for_text(
    place: str, settings: PrepareSettings, tmp_path: Path
) -> None:
    for open_it in (open_store, partial(open_on_the_fly, prepares=True)):
        with pytest.raises(DataError, match=r"No token files match data\.store: got .* Correct --data\.store"):
            open_it(settings, str(tmp_path / place))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt"]


def test_token_files_in_a_list_of_texts_are_refused(settings: PrepareSettings, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"a\0" * 500)
    listed = replace(settings, source=[*settings.sources, str(tmp_path / "x.bin")])
    with pytest.raises(ConfigError, match=r"A list in data\.source is of texts.*x\.bin.*data\.mixture"):
        open_store(listed, None)


@pytest.mark.parametrize("lost", [["manifest.json"], ["manifest.json", ".gpt-lightning-store"]])
def test_a_store_without_its_manifest_is_nobody_elses(
    lost: list[str], own: TokenStore, settings: PrepareSettings
) -> None:
    for name in lost:
        (own.path / name).unlink()
    with pytest.raises(DataError, match=r"store is a prepared store without its manifest\.json.*Copy it again"):
        open_store(settings, str(own.path))


def test_a_store_of_a_mixture_is_taken_as_it_is(settings: PrepareSettings, tmp_path: Path) -> None:
    """Whatever it was made of; and text is never prepared in its place."""
    there = open_store(replace(settings, document_per="paragraph"), str(tmp_path / "paragraphs"))
    other = PrepareSettings(tokenizer="bytes")
    sources = {"a": MixtureSource(store=str(there.path))}
    assert open_mixture(other, Mixture(sources)).stores["a"].fingerprint == there.fingerprint
    with pytest.raises(DataError, match=r"paragraphs was made with another tokenizer: got 'gpt2' \(allowed: bytes\)"):
        open_mixture(PrepareSettings(tokenizer="gpt2"), Mixture(sources))
    with pytest.raises(DataError, match="none is not a prepared store"):
        open_mixture(other, Mixture({"a": MixtureSource(store=str(tmp_path / "none"))}))
    assert not (tmp_path / "none").exists()


def test_a_mixture_is_the_stores_one_behind_the_other(settings: PrepareSettings, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Something else.\n\n" * 30)
    sources = {name: MixtureSource(str(tmp_path / f"{name}.txt")) for name in "ab"}
    mixed = open_mixture(settings, Mixture(sources))
    parts = [mixed.stores[name].split("train") for name in "ab"]
    whole = mixed.split("train")
    assert tokens_of(whole) == tokens_of(parts[0]) + tokens_of(parts[1])
    assert whole.document_ends.tolist() == [
        *parts[0].document_ends.tolist(),
        *(parts[1].document_ends + parts[0].num_tokens).tolist(),
    ]
    assert mixed.sources_of("val") == ["a", "b"]
    assert mixed.sources_of("test") == []
    mixed.verify()
    swapped = open_mixture(settings, Mixture(dict(reversed(sources.items()))))
    renamed = open_mixture(settings, Mixture({"c": sources["a"], "b": sources["b"]}))
    assert len({mixed.fingerprint, swapped.fingerprint, renamed.fingerprint}) == 3
    assert mixed.fingerprint == open_mixture(settings, Mixture(sources)).fingerprint


def test_sources_with_different_tokenizers_are_refused(tmp_path: Path) -> None:
    for name, text in (("a", "abc abe " * 400), ("b", "xyz xyw " * 400)):
        (tmp_path / f"{name}.txt").write_text(text)
    sources = {name: MixtureSource(str(tmp_path / f"{name}.txt")) for name in "ab"}
    with pytest.raises(
        DataError, match=r"Sources a and b of data\.mixture have different tokenizers: .*characters differ"
    ):
        open_mixture(PrepareSettings(tokenizer="chars"), Mixture(sources))

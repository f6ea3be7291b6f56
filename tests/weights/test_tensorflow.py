"""The reader that the documentation shows gives our logits in TensorFlow, as a SavedModel that was read back."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt_lightning.weights.exporting import prepare_export, write_export
from gpt_lightning.weights.loading import LoadedModel
from tests.docs.pages import ROOT, blocks
from tests.weights.models import CONFIGS, loud_model, small_tokenizer

_READ_BACK = """
import numpy as np
reader = tf.saved_model.load("saved-model")
given = np.load("tokens.npz")
np.savez("logits.npz", *[reader(tf.constant(given[name])).numpy() for name in given.files])
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs tensorflow-cpu (1.4 GB)")
@torch.inference_mode()
def test_the_reader_of_the_documentation(tmp_path: Path) -> None:
    model = loud_model(CONFIGS["gpt2"])
    (tmp_path / "exported-gpt2").mkdir()
    export = prepare_export(LoadedModel(model, small_tokenizer(), {}, Path("run")))
    write_export(export, tmp_path / "exported-gpt2")
    (code,) = (each for each in blocks(ROOT / "docs/howto/exchange.md", "python") if "tensorflow" in each)
    shapes = [(batch, time) for batch in (1, 3) for time in (1, 7, 48)]
    tokens = [torch.randint(0, 300, shape, dtype=torch.int32) for shape in shapes]
    np.savez(tmp_path / "tokens.npz", *[each.numpy() for each in tokens])
    done = subprocess.run([sys.executable, "-c", code + _READ_BACK], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "logits.npz")
    assert len(found.files) == len(tokens)
    for name, each in zip(found.files, tokens, strict=True):
        expected = model.logits(model(each.long()))
        torch.testing.assert_close(torch.from_numpy(found[name]), expected, rtol=0, atol=1e-4)

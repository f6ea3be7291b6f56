"""TensorBoard in a real browser: every tab of a real run draws something, and something else than the other tabs.

Whether it is legible, a person has to judge: the pictures stay in the test's folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpt_lightning.tracking.serving import start

ROOT = Path(__file__).parents[2]
TABS = ("timeseries", "custom_scalars", "text", "hparams", "images")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ORANGE = (245, 124, 0)


def draw(address: str, tab: str, place: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert BROWSER is not None
    picture = place / f"{tab}.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1500,1100"]
    options += [f"--screenshot={picture}", "--virtual-time-budget=25000", f"--user-data-dir={place / 'profile'}"]
    subprocess.run([BROWSER, *options, f"{address}#{tab}"], capture_output=True, timeout=240, check=True)
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("default")  # what the server itself imports
@pytest.mark.skipif(BROWSER is None, reason="needs chromium: apt-get install chromium")
def test_every_tab_shows_the_quickstart(tmp_path: Path) -> None:
    settings = ["--trainer.max_steps=20", "--run.dir", str(tmp_path / "runs" / "quickstart"), "--run.sample_tokens=0"]
    command = [sys.executable, "-m", "gpt_lightning", "fit", "--config", "configs/quickstart.yaml", *settings]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600, capture_output=True)
    _, address = start(tmp_path / "runs", 0, "127.0.0.1", allow_remote=False)
    time.sleep(8)  # it has read the run by then
    pictures = {tab: draw(address, tab, tmp_path) for tab in TABS}
    for tab, picture in pictures.items():
        assert (picture[:40] == ORANGE).all(axis=-1).mean() > 0.5, f"{tab}: no header"
        body = picture[70:]
        assert len(np.unique(body.reshape(-1, 3), axis=0)) > 40, f"{tab}: nothing is drawn"
    flat = {picture.tobytes() for picture in pictures.values()}
    assert len(flat) == len(TABS)

"""A report in a real browser, with no network: everything drawn, nothing fetched, nothing overlapping."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from gpt_lightning.cli import main

ROOT = Path(__file__).parents[2]
_BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # Whatever the page asks for goes to a port that nobody listens at.
    *("--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>"),
)
_OVERLAPS = """
<script>
// Appended to a copy of the report: texts of one chart that lie over each other, and those that leave their paper.
const found = [];
for (const detail of document.querySelectorAll("details")) detail.open = true;
for (const chart of document.querySelectorAll("svg.chart")) {
  const paper = chart.getBoundingClientRect();
  const texts = [...chart.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
  texts.forEach(([word, a], i) => {
    const leaves = a.left < paper.left - 1 || a.right > paper.right + 1 || a.bottom > paper.bottom + 1;
    if (leaves) found.push("outside: " + word);
    texts.slice(i + 1).forEach(([other, b]) => {
      const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (width > 2 && height > 4) found.push("overlap: " + word + " / " + other);
    });
  });
}
document.title = "charts " + document.querySelectorAll("svg.chart polyline").length + " wrong " + JSON.stringify(found);
</script>
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(_BROWSER is None, reason="no Chromium (Debian: apt-get install chromium)"),
]


def _browse(tmp_path: Path, *arguments: str) -> str:
    assert _BROWSER is not None
    command = [_BROWSER, *_QUIET, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def test_report_of_a_quickstart_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(ROOT / "configs/quickstart.yaml")
    short = ["--trainer.max_steps=40", "--run.validate_every=8", "--trainer.log_every_n_steps=2"]
    for seed in ("1", "2"):
        assert main(["fit", "--config", config, *short, "--seed_everything", seed]) == 0
    assert main(["runs", "report", "quickstart-1"]) == 0
    assert main(["runs", "report", "quickstart-1", "quickstart-2", "--output", "both.html"]) == 0
    pictures = Path(os.environ.get("GPT_LIGHTNING_PICTURES", tmp_path))
    for name, page in (("one", Path("runs/quickstart-1/report.html")), ("both", Path("both.html"))):
        # The report forbids scripts; the copy that is looked into must not.
        text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text()).replace("</body>", f"{_OVERLAPS}</body>")
        copy = tmp_path / f"{name}-opened.html"
        copy.write_text(text)
        title = re.search(r"<title>(.*?)</title>", _browse(tmp_path, "--dump-dom", copy.as_uri()))
        assert title is not None
        assert title[1].endswith("wrong []"), title[1]
        assert int(title[1].split()[1]) > 100, "grid lines and curves"
        picture = pictures / f"{name}.png"
        _browse(tmp_path, "--window-size=1300,3200", f"--screenshot={picture}", page.resolve().as_uri())
        image = Image.open(picture).convert("RGB")
        colours = {colour for _, colour in image.getcolors(1 << 24) or []}
        assert (0, 0x72, 0xB2) in colours, "the first curve is drawn in its colour"

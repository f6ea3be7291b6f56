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
_LOOK = """
<script>
// Appended to a copy of the report: opens every part, and when all charts are drawn says how many there are, which of
// their texts lie over each other or leave their paper, and whether a click on a name switches it off everywhere.
const wait = test => new Promise(done => { const look = () => (test() ? done() : setTimeout(look, 50)); look(); });
(async () => {
  for (const detail of document.querySelectorAll("details.part")) detail.open = true;
  const charts = [...document.querySelectorAll(".plot")];
  for (const chart of charts) {
    chart.scrollIntoView();
    await wait(() => chart.querySelector(".main-svg .xtick"));
  }
  await new Promise(done => setTimeout(done, 500));
  const found = [];
  for (const chart of charts) {
    const paper = chart.getBoundingClientRect();
    const seen = [...chart.querySelectorAll("text")].filter(text => text.textContent && text.checkVisibility());
    const texts = seen.map(text => [text.textContent, text.getBoundingClientRect()]);
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
  const name = charts[0].data[0].legendgroup;
  charts[0].emit("plotly_legendclick", {curveNumber: 0});
  await new Promise(done => setTimeout(done, 500));
  const same = charts.flatMap(chart => chart.data).filter(trace => trace.legendgroup === name);
  const off = same.filter(trace => trace.visible === "legendonly").length;
  document.title = `charts ${charts.length} off ${off} of ${same.length} wrong ` + JSON.stringify(found);
})();
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
        # The report forbids scripts but its own; the copy that is looked into must not.
        text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text()).replace("</body>", f"{_LOOK}</body>")
        copy = tmp_path / f"{name}-opened.html"
        copy.write_text(text)
        dom = _browse(tmp_path, "--virtual-time-budget=120000", "--window-size=1300,900", "--dump-dom", copy.as_uri())
        title = re.search(r"<title>(.*?)</title>", dom)
        assert title is not None
        assert title[1].endswith("wrong []"), title[1]
        _, charts, _, off, _, same, *_ = title[1].split()
        assert int(charts) == text.count('class="plot"') > 20
        assert off == same
        assert int(same) > (1 if name == "both" else 0)
        picture = pictures / f"{name}.png"
        _browse(
            tmp_path,
            "--virtual-time-budget=30000",
            "--window-size=1300,3200",
            f"--screenshot={picture}",
            page.resolve().as_uri(),
        )
        image = Image.open(picture).convert("RGB")
        colours = {colour for _, colour in image.getcolors(1 << 24) or []}
        assert (0x2F, 0x86, 0xCF) in colours, "the first curve is drawn in its colour, under the page's own policy"

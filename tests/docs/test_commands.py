"""Every command and every Python block of the README and of ``docs/`` runs, as a newcomer would type it.

Commands of ``bash`` blocks run in one folder, in the order of the pages, through the program's ``main``; training is
shortened to two steps and put on one thread, few and small batches are validated, and pictures of weights and the
machine's peak are left out; nothing else is changed. What needs the reader's own data or a server stands in ``sh`` and
``text`` blocks, which ``test_pages`` parses.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, all_blocks, commands_of, make_place, own_words
from tests.typed import type_command, type_python

_FIT = [
    *("--trainer.max_steps=2", "--run.sample_tokens=5", "--trainer.limit_val_batches=1", "--run.validate_every=100%"),
    *("--monitor.details=false", "--monitor.mfu=false", "--data.eval_batch_size=4"),
]
SHORTER = {
    "fit": _FIT,
    "validate": ["--trainer.limit_val_batches=2", "--data.eval_batch_size=4"],
    "predict": ["--trainer.limit_predict_batches=2", "--data.eval_batch_size=4"],
    "sweep run": [
        *(f"--set=derive.{setting.removeprefix('--')}" for setting in _FIT if "%" not in setting),
        "--set=launcher.workers=1",
    ],
    "bench": ["--steps=3"],
    "doctor": ["--steps=3", "--data.batch_size=4"],
}
"""Command -> what makes it shorter."""
_ELSEWHERE = "import tensorflow"
"""Its block runs in ``tests/weights/test_tensorflow.py``, where TensorFlow is installed."""
_ORDER = ["README", "first-run", "own-text", "data", "first-sweep"]
"""Later commands use what earlier ones made: these pages first."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prose_cache: Path) -> Path:
    return make_place(tmp_path_factory.mktemp("commands"), prose_cache)


def ordered_pages() -> list[Path]:
    return sorted(PAGES, key=lambda page: _ORDER.index(page.stem) if page.stem in _ORDER else len(_ORDER))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_blocks_run_in_their_order(place: Path) -> None:
    done: set[str] = set()
    for page in ordered_pages():
        for language, block in all_blocks(page):
            if block in done or language not in ("bash", "python") or _ELSEWHERE in block:
                continue
            done.add(block)
            if language == "python":
                _run_code(block, place)
            for words in commands_of(block) if language == "bash" else ():
                line = " ".join(words)
                if words[0] != "make" and line not in done:
                    _run(words, place)
                    done.add(line)
    assert len(done) >= 60


def _run(words: list[str], place: Path) -> None:
    mine = own_words(words)
    assert mine is not None, f"cannot run {words!r}"
    variables = dict(word.split("=", 1) for word in words if re.match(r"GPT_LIGHTNING_\w+=", word))
    shorter = SHORTER.get(mine[0]) or SHORTER.get(" ".join(mine[:2])) or []
    if any(word.endswith(("help", "--print_config")) for word in mine):
        shorter = []
    result = type_command(mine + shorter, place, **variables)
    assert result.returncode == 0, f"{words}\n{result.stderr}"
    assert "Traceback" not in result.stderr


def _run_code(code: str, place: Path) -> None:
    code = code.replace('"trainer.max_steps": 20', '"trainer.max_steps": 2, "trainer.limit_val_batches": 1')
    result = type_python(code, place)
    assert result.returncode == 0, f"{code}\n{result.stderr}"
    assert result.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs the extra 'docs'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    _check_search(tmp_path / "site")
    index = (tmp_path / "site" / "search" / "search_index.js").read_text(encoding="utf-8")
    search = json.dumps(json.loads(index.partition("=")[2]), ensure_ascii=False)
    for word in ("model.config.n_layer", "CosineRestarts", "gpt_lightning.data.stream", "困惑度"):
        assert word in search
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://(?!github)", text), page


def _check_search(site: Path) -> None:
    """Opened from its folder, in a browser: search finds something, and nothing is asked of anybody."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if (browser := shutil.which("chromium") or shutil.which("google-chrome")) is None:
        return
    asked: list[str] = []
    with sync_api.sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.locator("input.md-search__input").focus()
        page.get_by_text("Type to start searching").wait_for(state="attached", timeout=60_000)
        for typed in ("warmup", "困惑度"):
            page.locator("input.md-search__input").fill(typed)
            page.keyboard.press("End")  # it listens to keys
            page.locator(".md-search-result__link", has_text=typed).first.wait_for(state="attached", timeout=60_000)
    assert [url for url in asked if url.startswith("http")] == []

"""Applications served by processes of their own, and a browser to look at them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium (Debian: apt-get install chromium)")


@contextlib.contextmanager
def serve(name: str, folder: Path, variables: Mapping[str, str] = {}) -> Iterator[str]:
    """The address at which an application's folder is served, by a process that ends well."""
    command = [sys.executable, "-m", "gpt_lightning", "app", name, "run", str(folder), "--port", "0"]
    environment = {**os.environ, **variables}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                found = re.fullmatch(rf"Serving {name} at (http://127\.0\.0\.1:\d+)  \(Ctrl-C ends it\)\n", line)
                if found is not None:
                    break
            else:
                pytest.fail(f"app {name} ended before it served")
            yield found[1]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


@contextlib.contextmanager
def browse() -> Iterator[tuple[Any, list[str]]]:
    """A browser, and a list that grows by what its pages complain of."""
    playwright: Any = pytest.importorskip("playwright.sync_api")
    wrong: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])

        def new_page(**options: Any) -> Any:
            page = browser.new_page(**options)
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda problem: wrong.append(str(problem)))
            page.on("console", lambda message: wrong.append(message.text))
            return page

        yield new_page, wrong
        browser.close()

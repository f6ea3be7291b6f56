"""The page that follows a sweep: what it is sent, who may act, and what a real browser shows of a sweep that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import UserError
from gpt_lightning.tuning.launch.watching import Desk, Sections, act
from gpt_lightning.tuning.report.report import build_report
from gpt_lightning.tuning.report.report_reading import read_sweep
from gpt_lightning.tuning.study.sweep import STOP
from gpt_lightning.tuning.workers.claiming import claim
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper, fail
from tests.tuning.sweeping import again, bare_sweep, pretend, write_sweep

testclient: Any = pytest.importorskip("starlette.testclient")
pytest.importorskip("plotly")
_BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_sent_is_the_report_and_later_only_what_has_changed(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 9}})
    pretend(sweep, 5)
    sections = Sections(again(sweep))
    assert sections.look()
    assert not sections.look(), "nothing has happened"
    all_of_it = sections.since(0)
    frozen = dict(build_report(read_sweep(sweep.folder.path), time.time()).sections())
    assert all_of_it["order"] == list(frozen)
    assert {"course", "parameters", "work"} <= frozen.keys()
    for part in ("best-configuration", "top-trials", "course"):
        assert all_of_it["parts"][part] == frozen[part]
    trial = claim(sweep, StaleTrialReaper(sweep), Lease())
    assert trial is not None
    assert sections.look()
    update = sections.since(all_of_it["version"])
    assert {"top", "running", "work"} <= update["parts"].keys()
    assert not {"course", "parameters", "best-configuration"} & update["parts"].keys()
    assert update["order"].index("parameters") == update["order"].index("course") + 1, "it stays where it was"
    assert f"process {Lease().owner.pid}" in update["parts"]["running"]


def test_buttons_do_what_commands_do(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 9}, "retry": {"max": 0}})
    trial = claim(sweep, StaleTrialReaper(sweep), Lease())
    assert trial is not None
    fail(sweep, trial, "on purpose", died=True)
    assert "1 trials wait again" in act(sweep, "retry", {"trials": "all"})
    act(sweep, "enqueue", {"point": "model.schedule: Cosine, model.optimizer.lr: 4e-3"})
    found = pretend(sweep, 2)
    assert found[1] == {"model.optimizer.lr": 4e-3, "model.schedule": "Cosine"}
    for action, content, told in (
        ("enqueue", {"point": "model.rate: 1"}, "no parameter of this sweep"),
        ("enqueue", {"point": "model.optimizer.lr: 5"}, "no such value"),
        ("enqueue", {"point": "{"}, "not written as KEY: VALUE"),
        ("enqueue", {"point": ""}, "names no value"),
        ("retry", {"trials": "99"}, "not a failed one"),
        ("retry", {"trials": "x"}, "Numbers of trials"),
    ):
        with pytest.raises(UserError, match=told):
            act(sweep, action, content)
    assert "asked to stop" in act(sweep, "stop", {})
    assert sweep.study.user_attrs[STOP]


def test_nobody_reads_or_acts_without_the_token_or_by_another_name(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 9}})
    app = Desk(sweep, "secret", 8000).app()
    client = testclient.TestClient(app, base_url="http://127.0.0.1:8000")
    other = testclient.TestClient(app, base_url="http://evil.example:8000")
    assert client.get("/?token=secret").status_code == 200
    assert "connect-src 'self'" in client.get("/?token=secret").text
    for response in (
        client.get("/"),
        client.get("/?token=wrong"),
        client.get("/events?token=wrong"),
        other.get("/?token=secret"),
        client.post("/stop", json={}),
        client.post("/stop?token=secret", json={}),
        other.post("/stop", json={}, headers={"X-Token": "secret"}),
    ):
        assert response.status_code == 403
    assert STOP not in again(sweep).study.user_attrs
    assert client.post("/enqueue", content=b"{", headers={"X-Token": "secret"}).status_code == 400
    assert client.post("/stop", json={}, headers={"X-Token": "secret"}).status_code == 200
    assert again(sweep).study.user_attrs[STOP]


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "gpt_lightning", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def until(page: Any, wanted: str) -> None:
    for _ in range(1200):
        if page.evaluate(wanted):
            return
        page.wait_for_timeout(100)
    raise AssertionError(wanted)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(_BROWSER is None, reason="no Chromium (Debian: apt-get install chromium)")
def test_a_browser_follows_a_sweep_that_runs(tmp_path: Path) -> None:
    """From the first trial on; its buttons enqueue a trial and stop the sweep."""
    playwright: Any = pytest.importorskip("playwright.sync_api")
    space = {"model.optimizer.lr": {"distribution": "log_grid", "min": 1e-3, "max": 0.128}}
    file = write_sweep(tmp_path, {"parameters": space, "budget": {"trials": 40}, "method": "random"})
    with started("sweep", "run", str(file)):
        _wait(lambda: (tmp_path / "runs" / "s" / "study.db").exists() and any((tmp_path / "runs/s/trials").iterdir()))
        with started("sweep", "watch", "s") as watch, playwright.sync_playwright() as driver:
            assert watch.stdout is not None
            url = re.search(r"http\S+", watch.stdout.readline())
            assert url is not None
            browser = driver.chromium.launch(executable_path=_BROWSER, args=["--no-sandbox", "--disable-gpu"])
            page, wrong = browser.new_page(viewport={"width": 360, "height": 800}), list[str]()
            page.on("pageerror", lambda problem: wrong.append(str(problem)))
            page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
            page.goto(url[0])
            until(page, "!!document.querySelector('section[data-part=running] td')")
            until(page, "!!document.querySelector('section[data-part=course] .js-plotly-plot')")
            rows = "document.querySelectorAll('section[data-part=top-trials] tbody tr').length"
            before = page.evaluate(rows)
            until(page, f"{rows} > {before}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            page.fill("#point", "model.optimizer.lr: 0.128")
            page.click("text=Enqueue")
            until(page, "document.querySelector('#answer').textContent.startsWith('It is the next')")
            until(page, "document.querySelector('main').textContent.includes('0.1280')")
            page.once("dialog", lambda dialog: dialog.accept())
            page.click("text=Stop the sweep")
            until(page, "document.querySelector('#answer').textContent.includes('asked to stop')")
            until(page, "!document.querySelector('section[data-part=running]')")
            browser.close()
            assert wrong == []


def _wait(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.bench
def test_an_update_of_200_trials_takes_less_than_200_milliseconds_of_work(tmp_path: Path) -> None:
    from gpt_lightning.tuning.trial.mailbox import Mailbox, Report

    sweep = bare_sweep(tmp_path, {"method": "random", "budget": {"trials": 200}, "parameters": {
        "model.optimizer.lr": {"distribution": "log_uniform", "min": 1e-4, "max": 1.0},
        "model.config.dropout": {"min": 0.0, "max": 0.5}}})  # fmt: skip
    pretend(sweep, 199, on_disk=True)
    for entry in sweep.entries():
        box = Mailbox(sweep.folder.trial(entry.first), "start")
        for n in range(40):
            box.post(Report(n, 10 * n, 1000 * n, {"val/loss": 2.0 + 3.0 / (n + 1)}, total_tokens=40_000))
    sections, taken = Sections(again(sweep)), []
    sections.look()
    trial = claim(sweep, StaleTrialReaper(sweep), Lease())
    assert trial is not None
    for n in range(5):
        sweep.study._storage.set_trial_user_attr(trial._trial_id, "reports", [[0, 0, 0, 1.0, ""]] * n)
        begun = time.process_time()
        assert sections.look() == (n > 0 or sections.version == 2)
        taken.append(time.process_time() - begun)
    print(f"\nupdates: {[f'{1000 * each:.0f} ms' for each in taken]}")
    assert sorted(taken)[2] <= 0.2

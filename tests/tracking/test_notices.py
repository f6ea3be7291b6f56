"""Alerts on their way: over loopback, to programs, and to receivers that fail."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tracking.notifications import (
    AlertEvent,
    Command,
    Notifier,
    Receiver,
    Webhook,
    cut_alerts,
    write_alert_event,
)
from gpt_lightning.training.watch.alerting import Watchdog

received: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        received.append(json.loads(body))
        self.send_response(500 if "refuse" in self.path else 204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    received.clear()
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def notice(step: int = 7) -> AlertEvent:
    return write_alert_event("run-1", step, "LossSpike", "train/loss is 9")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "alerts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_webhook_gets_the_object(tmp_path: Path, address: str) -> None:
    postman = Notifier(tmp_path, [Webhook(address)])
    postman.send(notice())
    postman.close()
    assert received == lines(tmp_path)
    assert received[0]["message"] == "train/loss is 9"
    assert received[0]["run"] == "run-1"


def test_failures_are_told_and_stop_nobody(tmp_path: Path, address: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Receiver):
        def deliver(self, notice: AlertEvent) -> None:
            raise KeyError("mine")

    absent = Command(["no-such-program-anywhere"])
    failing = Command([sys.executable, "-c", "raise SystemExit(3)"])
    postman = Notifier(tmp_path, [Webhook(f"{address}/refuse"), absent, failing, Broken(), Webhook(address)])
    with caplog.at_level(logging.WARNING):
        postman.send(notice())
        postman.close()
    assert len(received) == 2, "the last receiver is reached all the same"
    assert len([record for record in caplog.records if "not delivered" in record.getMessage()]) == 4


def test_a_silent_receiver_does_not_hold_up_training(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        postman = Notifier(tmp_path, [Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.2)])
        started = time.perf_counter()
        postman.send(notice())
        assert time.perf_counter() - started < 0.15
        postman.close(seconds=5.0)


def test_commands_read_the_object(tmp_path: Path) -> None:
    place = tmp_path / "got.json"
    program = f"import sys; open({str(place)!r}, 'w').write(sys.stdin.read())"
    postman = Notifier(tmp_path, [Command([sys.executable, "-c", program])])
    postman.send(notice())
    postman.close()
    assert json.loads(place.read_text(encoding="utf-8")) == lines(tmp_path)[0]


def test_alerts_behind_a_checkpoint_are_forgotten(tmp_path: Path) -> None:
    postman = Notifier(tmp_path, [])
    for step in (1, 5, 9):
        postman.send(notice(step))
    with (tmp_path / "alerts.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "ru')  # cut off by a kill
    cut_alerts(tmp_path, 5)
    assert [line["step"] for line in lines(tmp_path)] == [1, 5]


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///etc/passwd", "host", "http://"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        Webhook(url)


def test_watchdog_says_where_threads_stand_once_for_each_hang(tmp_path: Path) -> None:
    position = [0]
    told: list[str] = []
    dog = Watchdog(tmp_path, lambda: position[0], seconds=0.2, report=told.append)
    dog.start()

    def wait_for(count: int) -> None:
        end = time.monotonic() + 10
        while len(told) < count and time.monotonic() < end:
            time.sleep(0.02)

    wait_for(1)
    time.sleep(0.5)
    assert len(told) == 1
    position[0] = 1
    wait_for(2)
    dog.stop()
    assert len(told) == 2
    stacks = (tmp_path / "hang-1.txt").read_text(encoding="utf-8")
    assert "test_watchdog_says_where_threads_stand" in stacks
    assert "nothing has moved for 0.2 s" in stacks
    assert (tmp_path / "hang-2.txt").exists()

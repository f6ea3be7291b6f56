"""A web server on this machine with the habits, good and bad, of those that people download corpora from."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HABITS = ("ranges", "no ranges", "chunked", "gzip on the fly", "no size")
"""How a server may answer and be right."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, files: dict[str, bytes], habit: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.habit = files, habit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        data = self.server.files.get(self.path.lstrip("/").partition("?")[0])
        if data is None or (self.server.habit == "refused" and body):
            self.send_response(404 if data is None else 500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers.get("Range", "")
        if self.server.habit in ("ranges", "broken once") and wanted:
            self.send_range(data, wanted, body)
            return
        self.send_response(200)
        getattr(self, "send_" + self.server.habit.replace(" ", "_"))(data, body)

    def send_whole(self, data: bytes, body: bool, promised: int | None = None) -> None:
        self.send_header("Content-Length", str(len(data) if promised is None else promised))
        self.end_headers()
        if body:
            self.wfile.write(data)

    send_ranges = send_no_ranges = send_refused = send_whole

    def send_range(self, data: bytes, wanted: str, body: bool) -> None:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else len(data) - int(last)
        stop = min(int(last) + 1 if first and last else len(data), len(data))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_whole(data[start:stop], body)

    def send_chunked(self, data: bytes, body: bool, *, whole: bool = True) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not body:
            return
        for start in range(0, len(data), 1000):
            part = data[start : start + 1000]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if whole:
            self.wfile.write(b"0\r\n\r\n")

    def send_gzip_on_the_fly(self, data: bytes, body: bool) -> None:
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            self.send_chunked(data, body)
            return
        self.send_header("Content-Encoding", "gzip")
        self.send_whole(gzip.compress(data), body)

    def send_stored_as_encoding(self, data: bytes, body: bool) -> None:
        """As Apache and nginx may be set up to send files whose name ends in .gz."""
        self.send_header("Content-Encoding", "gzip")
        self.send_whole(data, body)

    def send_no_size(self, data: bytes, body: bool) -> None:
        self.send_header("Connection", "close")
        self.end_headers()
        if body:
            self.wfile.write(data)
        self.close_connection = True

    def send_broken_off(self, data: bytes, body: bool) -> None:
        self.send_whole(data[: len(data) // 2] if body else data, body, len(data))
        self.close_connection = True

    def send_broken_once(self, data: bytes, body: bool) -> None:
        self.send_broken_off(data, body)

    def send_broken_chunk(self, data: bytes, body: bool) -> None:
        self.send_chunked(data[: len(data) // 2], body, whole=False)
        self.close_connection = True


@contextmanager
def serve(files: dict[str, bytes], habit: str = "ranges") -> Iterator[str]:
    """The files behind a URL, for as long as the block lasts.

    Args:
        files: Content by name. May be changed while serving.
        habit: One of ``HABITS``, or a way to fail: "broken off" (fewer bytes than promised, then the connection ends),
            "broken chunk" (the same in a chunked answer), "broken once" (parts are sent whole), "refused" (all requests
            but HEAD are answered by 500).
    """

    server = _Server(files, habit)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

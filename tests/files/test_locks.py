from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import filelock
import pytest

from gpt_lightning.errors import RunFolderError
from gpt_lightning.files import locks, markers
from gpt_lightning.files.locks import FileLock, LockHeld, is_locked, read_holder, read_last_words
from gpt_lightning.files.markers import MarkerLock, find_file_system
from gpt_lightning.files.processes import ProcessIdentity

HOLD = """
import sys
from pathlib import Path
from gpt_lightning.files.locks import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
    print("over", flush=True)
"""


@contextmanager
def _holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(path)]
    # A process group of its own: a stop from the terminal is ignored in one that nobody could continue.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


@pytest.fixture(params=["kernel", "marker"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file, on a file system with locks and on one without."""
    if request.param == "marker":
        _without_locks(monkeypatch, errno.ENOLCK)
    return tmp_path / "a.lock"


def _without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock, "lock_descriptor", refuse)
    monkeypatch.setattr(locks, "_try_shared", refuse)


def test_one_at_a_time_and_asking_changes_nothing(path: Path) -> None:
    assert not is_locked(path)
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    for _ in range(2):
        assert is_locked(path)
    with pytest.raises(LockHeld, match=rf"host .*, process {os.getpid()}, since \d{{4}}-"):
        second.acquire(wait=False)
    first.release()
    first.release()
    assert not is_locked(path)
    second.acquire(wait=False)
    second.release()
    assert os.listdir(path.parent) == ["a.lock"]


def test_threads_exclude_each_other(path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with FileLock(path):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == 1


def test_the_lock_of_the_dead_is_free(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with _holder(path) as child:
        with pytest.raises(LockHeld, match=f"process {child.pid}"):
            FileLock(path).acquire(wait=False)
        child.kill()
        child.wait()
        assert not is_locked(path)
        FileLock(path).acquire(wait=False)


def test_asking_never_makes_a_taker_fail(tmp_path: Path) -> None:
    path, over = tmp_path / "a.lock", threading.Event()
    path.touch()

    def ask() -> None:
        while not over.is_set():
            is_locked(path)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(50):
            lock = FileLock(path)
            lock.acquire(wait=False)
            lock.release()
    finally:
        over.set()
        asking.join()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _without_locks(monkeypatch, number)
    monkeypatch.setattr(locks, "_told", set())
    kind, mount = find_file_system(tmp_path)
    for _ in range(2):
        with FileLock(tmp_path / "a.lock"):
            assert (tmp_path / "a.lock.held").exists()
    assert caplog.messages == [
        f"The file system {kind} at {mount} has no locks ({os.strerror(number)}): files .held serve instead"
    ]


def test_another_error_of_the_disk_is_no_missing_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        FileLock(tmp_path / "a.lock").acquire()
    assert not (tmp_path / "a.lock.held").exists()


def test_a_marker_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from gpt_lightning.files.markers import MarkerLock\n"
        "lock = MarkerLock(Path(sys.argv[1])); lock.acquire(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], check=True)
    assert (tmp_path / "m").exists()
    assert not MarkerLock(tmp_path / "m").is_there()
    lock, end = MarkerLock(tmp_path / "m"), time.monotonic() + 60
    while not lock.try_acquire():
        assert time.monotonic() < end
        time.sleep(0.05)
    lock.release()


def test_a_marker_of_a_living_process_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers, "_CRASHED_SECONDS", 0.0)
    first, second = MarkerLock(tmp_path / "m"), MarkerLock(tmp_path / "m")
    first.acquire()
    for _ in range(5):
        assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


def test_a_marker_of_another_machine_goes_after_long_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").write_text("4711\nelsewhere\n")
    lock = MarkerLock(tmp_path / "m")
    assert not lock.try_acquire()
    assert not lock.try_acquire()
    assert lock.is_there()
    monkeypatch.setattr(markers, "_CRASHED_SECONDS", 0.0)
    os.utime(tmp_path / "m")
    assert not lock.try_acquire(), "it has just been touched"
    assert not lock.try_acquire()
    assert lock.try_acquire()
    lock.release()


@pytest.mark.parametrize("target", ["missing", "there"])
def test_a_link_is_never_followed(target: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("the user's")
    (tmp_path / "a.lock").symlink_to(tmp_path / target)
    with pytest.raises(RunFolderError, match=r"a\.lock is a link"):
        FileLock(tmp_path / "a.lock").acquire()
    assert not is_locked(tmp_path / "a.lock")
    assert read_holder(tmp_path / "a.lock") is None
    assert (tmp_path / "there").read_text() == "the user's"
    assert not (tmp_path / "missing").exists()


def test_nor_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.lock")
    with pytest.raises(RunFolderError, match="no file at all"):
        FileLock(tmp_path / "a.lock").acquire()


def test_a_removed_file_guards_nothing(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    first.acquire()
    (tmp_path / "a.lock").unlink()
    second.acquire(wait=False)
    assert is_locked(tmp_path / "a.lock")
    first.release()
    assert is_locked(tmp_path / "a.lock")
    second.release(remove=True)
    assert os.listdir(tmp_path) == []


def test_last_words_stay_until_the_next_holder(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire()
    assert read_last_words(path) == ""
    lock.release(last_words="it was the disk\n")
    assert read_last_words(path) == "it was the disk\n"
    assert read_holder(path) is None
    lock.acquire()
    assert read_last_words(path) == ""
    lock.release()
    assert path.read_text() == ""


def test_a_note_that_is_being_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    whole = json.dumps(ProcessIdentity.of(os.getpid()).plain() | {"since": "now"})
    path.write_text(whole[:20])
    threading.Timer(0.03, path.write_text, [whole]).start()
    holder = read_holder(path)
    assert holder is not None
    assert holder.process == ProcessIdentity.of(os.getpid())
    path.write_text("no JSON")
    assert read_holder(path, tries=2) is None


def _held_elsewhere(path: Path) -> None:
    other = replace(ProcessIdentity.of(os.getpid()), host="elsewhere")
    path.write_text(json.dumps({**asdict(other), "since": "now", "beats": True}))


def test_a_silent_holder_of_another_machine_has_crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_SILENT_SECONDS", 0.05)
    monkeypatch.setattr(locks, "_BEAT_SECONDS", 0.05)
    _held_elsewhere(tmp_path / "a.lock")
    lock = FileLock(tmp_path / "a.lock", beats=True)
    lock.acquire(wait=False)
    lock.release()


def test_one_that_beats_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_SILENT_SECONDS", 30.0)
    monkeypatch.setattr(locks, "_BEAT_SECONDS", 0.05)
    path, over = tmp_path / "a.lock", threading.Event()
    _held_elsewhere(path)

    def beat() -> None:
        while not over.wait(0.01):
            os.utime(path)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(LockHeld, match="host elsewhere"):
            FileLock(path, beats=True).acquire(wait=False)
    finally:
        over.set()
        beating.join()


def test_a_long_holder_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_BEAT_SECONDS", 0.01)
    path = tmp_path / "a.lock"
    lock = FileLock(path, beats=True)
    lock.acquire()
    os.utime(path, (0, 0))
    end = time.monotonic() + 60
    while path.stat().st_mtime == 0:
        assert time.monotonic() < end
        time.sleep(0.01)
    lock.release()


def test_ctrl_z_waits_for_the_end_of_a_short_lock(tmp_path: Path) -> None:
    with _holder(tmp_path / "a.lock") as child:
        identity = ProcessIdentity.of(child.pid)
        child.send_signal(signal.SIGTSTP)
        time.sleep(0.1)
        assert not identity.stopped(), "or nobody else could claim anything until it is continued"
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "over\n"
        while not identity.stopped():
            time.sleep(0.01)
        FileLock(tmp_path / "a.lock").acquire(wait=False)
        child.send_signal(signal.SIGCONT)
        assert child.wait(60) == 0


def test_a_stopped_holder_is_named_with_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "_SAY_AFTER_SECONDS", 0.2)
    with _holder(tmp_path / "a.lock") as child:
        child.send_signal(signal.SIGSTOP)
        while not ProcessIdentity.of(child.pid).stopped():
            time.sleep(0.01)
        with pytest.raises(LockHeld, match=rf"stopped: continue it with fg or kill -CONT {child.pid}"):
            FileLock(tmp_path / "a.lock").acquire(wait=False)

        class LetGo(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                child.kill()

        handler = LetGo()
        logging.getLogger(locks.__name__).addHandler(handler)
        try:
            with FileLock(tmp_path / "a.lock"):
                pass
        finally:
            logging.getLogger(locks.__name__).removeHandler(handler)
    assert f"Waiting for host {ProcessIdentity.of(os.getpid()).host}, process {child.pid}" in caplog.text

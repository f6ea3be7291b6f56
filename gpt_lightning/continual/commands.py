"""``gpt-lightning continual``: the file written, a round run, rounds run whenever there is something to learn."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from gpt_lightning.continual.rounds import STAGES, News, list_rounds, look, run_round
from gpt_lightning.continual.settings import TEMPLATE, Continual, read_continual
from gpt_lightning.errors import ConfigError, FolderInUseError, StopRequested, TrainingError
from gpt_lightning.files.atomic import write_text_atomically
from gpt_lightning.files.locks import FileLock, LockHeld
from gpt_lightning.registry.versions import now

log = logging.getLogger("gpt_lightning")
_FAILURES = 3
"""Of one round, after which watching ends: it would fail for ever."""


def init_command(file: str = "continual.yaml", name: str = "chat") -> None:
    """Write a commented file for continual run.

    Example: gpt-lightning continual init continual.yaml --name chat

    Args:
        file: What to write; an existing one is left as it is.
        name: Of the registered model.
    """
    path = Path(file)
    if path.exists():
        raise ConfigError(f"{path} exists", fix="Name another file.")
    write_text_atomically(path, TEMPLATE.format(file=file, name=name))
    sys.stdout.write(f"wrote {path}: edit it, then gpt-lightning continual run {path} --dry_run true\n")


def run_command(file: str, dry_run: bool = False, until: str = STAGES[-1]) -> None:
    """Learn from new feedback: build the data, fit from the base with replay, register, gate, promote.

    Go on after a kill with the same command: what was finished is not done again. Where there is nothing new, it says
    so. Exit code 3 where the new version did not pass the gate.

    Example: gpt-lightning continual run continual.yaml

    Args:
        file: As continual init writes it.
        dry_run: Say what would be done, and write nothing.
        until: Stop after this stage: data, train, register, judge or promote.
    """
    continual = read_continual(Path(file))
    if until not in STAGES:
        raise ConfigError("There is no such stage", got=until, allowed=", ".join(STAGES))
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    if dry_run:
        continual.gate.check_files()
        sys.stdout.write(_describe(continual, look(continual)))
        return
    with _stopping():
        found = run_round(continual, until)
    if found is None:
        news = look(continual)
        sys.stdout.write(
            f"nothing new since version {news.base}: {news.new:,} new rows of {news.rows:,}, "
            f"and a round takes {continual.min_rows:,}\n"
        )
    else:
        settled = found.settled
        sys.stdout.write(f"{found.folder}: version {settled.version or 'none yet'}, {_stand(settled.passed)}\n")


def _stand(passed: bool | None) -> str:
    return "not judged yet" if passed is None else f"the gate was {'passed' if passed else 'not passed'}"


def _describe(continual: Continual, news: News) -> str:
    if news.round is not None:
        begins = f"goes on with {news.round.folder}, from version {news.round.settled.base}"
    elif news.new < continual.min_rows:
        begins = f"nothing: {news.new:,} new rows, and a round takes {continual.min_rows:,}"
    else:
        begins = f"begins with version {news.base}"
    replay = continual.replay
    repeated = "nothing" if replay is None else f"{replay.share:.0%} of the windows from {', '.join(replay.sources)}"
    lines = {
        "round": begins,
        "rows": f"{news.rows:,} of {continual.kind} to train on, {news.new:,} of them new",
        "replay": repeated,
        "gate": ", ".join([*continual.gate.better, "the rows that were set aside"]),
        "then": f"{continual.model}@{continual.promote}" if continual.promote else "no alias is moved",
    }
    return "".join(f"{title:<7} {text}\n" for title, text in lines.items())


class _Stop(BaseException):
    """SIGTERM; no ``Exception``, or whoever catches those (logging does) would keep it to himself."""


@contextmanager
def _stopping() -> Iterator[None]:
    """SIGTERM ends the process between two instructions; training has its own way.

    Raises:
        StopRequested: It came.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stop

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Stop:
        raise StopRequested("SIGTERM", 0) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def watch_command(file: str, look_seconds: float = 60.0, round_hours: float = 0.0, rounds: int | None = None) -> None:
    """Run a round whenever there are enough new rows, until it is stopped; one process per file.

    SIGTERM and Ctrl-C stop it, also within a round, which goes on with the next start.

    Example: gpt-lightning continual watch continual.yaml --round_hours 24

    Args:
        file: As continual init writes it; read anew before every round.
        look_seconds: How often to look for new rows.
        round_hours: Least time from the beginning of one round to that of the next; 24 = at most daily.
        rounds: Stop after so many; null = never.
    """
    if not look_seconds > 0 or not round_hours >= 0:
        raise ConfigError(
            "The times of continual watch are out of range",
            got={"look_seconds": look_seconds, "round_hours": round_hours},
            allowed="look_seconds above 0, round_hours 0 or more",
        )
    place = read_continual(Path(file)).place
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / "watch.lock", beats=True)
    try:
        lock.acquire(wait=False)
    except LockHeld as held:
        raise FolderInUseError(f"{place} is watched by {held}", fix="One is enough.") from held
    try:
        with _stopping():
            _watch(file, look_seconds, 3600 * round_hours, rounds)
    finally:
        lock.release()


def _watch(file: str, look_seconds: float, round_seconds: float, rounds: int | None) -> None:
    done, failed, earliest, told = 0, 0, 0.0, ""
    while rounds is None or done < rounds:
        continual = read_continual(Path(file))
        news = look(continual)
        if time.monotonic() >= earliest and (news.round is not None or news.new >= continual.min_rows):
            earliest = time.monotonic() + round_seconds
            code = _run_child(file)
            newest = next(reversed(list_rounds(continual.place)), None)
            if newest is not None and newest.settled.ended is not None:
                _say(f"{newest.folder}: version {newest.settled.version}, {_stand(newest.settled.passed)}")
                done, failed, told = done + 1, 0, ""
                continue
            failed += 1
            if code == ConfigError.exit_code or failed == _FAILURES:
                raise TrainingError(
                    "A round does not come to its end", got=f"exit code {code} {failed} times", fix="See above."
                )
            _say(f"the round ended with exit code {code}; it goes on")
            earliest = time.monotonic() + look_seconds
        found = f"{news.new:,} new rows since version {news.base}, a round takes {continual.min_rows:,}"
        if found != told:
            _say(found)
            told = found
        time.sleep(look_seconds)


def _run_child(file: str) -> int:
    """A round in a process of its own, so that its memory is given back whatever happens."""
    child = subprocess.Popen([sys.executable, "-m", "gpt_lightning", "continual", "run", file])
    try:
        return child.wait()
    except (_Stop, KeyboardInterrupt):
        child.terminate()
        child.wait()
        raise


def _say(text: str) -> None:
    sys.stderr.write(f"{now()} {text}\n")
    sys.stderr.flush()

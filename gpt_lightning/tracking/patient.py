"""Event files that keep the errors of their disk: TensorBoard writes in a thread, where nobody would catch them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard.summary.writer import event_file_writer

from gpt_lightning.errors import MachineError


class PatientFile:
    """A file that stops to write when it first cannot.

    Args:
        file: Open for writing.
        path: What to call it.

    Attributes:
        problem: Why it stopped; None = it did not.
    """

    def __init__(self, file: Any, path: Path) -> None:
        self._file, self._path = file, path
        self.problem: MachineError | None = None

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.problem is None:
            try:
                action()
            except OSError as error:
                self.problem = cannot_write(self._path, error)

    def write(self, data: bytes) -> None:
        """As of a file."""
        self._attempt(lambda: self._file.write(data))

    def flush(self) -> None:
        """As of a file."""
        self._attempt(self._file.flush)

    def close(self) -> None:
        """As of a file."""
        self._attempt(self._file.close)

    @property
    def closed(self) -> bool:
        """As of a file."""
        return bool(self._file.closed)


def cannot_write(path: Path, error: OSError) -> MachineError:
    """What to say of a file of a run that a disk refuses."""
    return MachineError(
        f"{path} could not be written: {error.strerror or error}",
        fix="What was saved is intact: mend that (make room on the disk), then continue with --resume auto.",
    )


@contextmanager
def patient_event_files(folder: Path) -> Iterator[list[PatientFile]]:
    """The event files that are begun in the body are patient; they are listed."""
    begun: list[PatientFile] = []
    module = vars(event_file_writer)
    record_writer = module["RecordWriter"]

    def begin(file: Any) -> Any:
        begun.append(PatientFile(file, folder))
        return record_writer(begun[-1])

    module["RecordWriter"] = begin
    try:
        yield begun
    finally:
        module["RecordWriter"] = record_writer

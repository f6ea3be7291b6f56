"""One family of errors for everything a user can mend.

    UserError                    exit code
    ├── ConfigError                  2   a setting is unknown, of the wrong type or out of range
    ├── DataError                    3   text, tokens, tokenizer or store do not fit
    ├── CheckpointError              3   a checkpoint is missing, damaged or of another run
    ├── RunFolderError               3   a run folder is in use, or holds something else
    │   └── FolderInUseError         3   another process writes there
    └── TrainingError                4   training had to stop
        ├── DivergedError            4   a loss or gradient is not finite: with these settings it would be so again
        ├── OutOfMemoryError         4   the sizes do not fit into memory: smaller ones would
        └── MachineError             4   the disk, the network or the memory failed: goes on when that is mended
    StopRequested             130, 143   not a mistake: Ctrl-C or another signal asked us to stop, and the work is saved
    EndedEarly                           not a mistake either: whoever compares runs has seen enough of this one

Every message answers four questions in one line: what happened, what was found, what is allowed, what to do next.
The constructor asks for them one by one so that none is forgotten. Anything that is not a ``UserError`` is a bug of
ours and keeps its traceback.
"""

from __future__ import annotations

_NOTHING = object()


class UserError(Exception):
    """A mistake the user can mend, told in one line.

    Args:
        problem: What happened, naming the setting or file as the user typed it; no full stop.
        got: The offending value, shown with ``repr`` (strings) or ``str`` (anything else).
        allowed: What would have been accepted.
        fix: The next step, a whole sentence; a command where there is one.
    """

    exit_code = 2

    def __init__(self, problem: str, *, got: object = _NOTHING, allowed: str = "", fix: str = "") -> None:
        found = "" if got is _NOTHING else f": got {got!r}"
        limits = f" (allowed: {allowed})" if allowed else ""
        advice = f" {fix}" if fix else ""
        super().__init__(f"{problem}{found}{limits}.{advice}")

    def __reduce__(self) -> tuple[object, ...]:
        """From the finished line, when one process tells another."""
        return _remake, (type(self), self.args)


def _remake(kind: type[UserError], args: tuple[object, ...]) -> UserError:
    return kind.__new__(kind, *args)


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(UserError):
    """Text, tokens, tokenizer or store do not fit together."""

    exit_code = 3


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, unsafe or of another run."""

    exit_code = 3


class RunFolderError(UserError):
    """A run folder is in use by another process, or holds something that must not be overwritten."""

    exit_code = 3


class FolderInUseError(RunFolderError):
    """Another process, perhaps on another machine, writes into the folder now."""


class TrainingError(UserError):
    """Training had to stop; what was saved before is intact."""

    exit_code = 4


class DivergedError(TrainingError):
    """A loss, a gradient or a weight is not finite any more; the same settings would end so again."""


class MachineError(TrainingError):
    """The disk, the network or the memory of the machine failed; the same run goes on when that is mended."""


class OutOfMemoryError(TrainingError):
    """Tensors found no room, or will find none: smaller sizes would."""


_NO_MEMORY = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "alloc_cpu.cpp"),
    *("calculation overflowed", "multiplication overflow", "invalid buffer size"),
)
"""What torch says, on whatever device, where a tensor finds no room, or is of a size that no machine has."""


def explain_memory(error: BaseException, advice: str) -> OutOfMemoryError | None:
    """One line in the place of an error that says that memory did not suffice; None for any other error.

    Args:
        error: Of torch or Python.
        advice: A whole sentence: what to change.
    """
    text = " ".join(str(error).split())
    if not isinstance(error, MemoryError):
        torchs = isinstance(error, RuntimeError) and not isinstance(error, UserError)
        if not torchs or not any(sign in text.lower() for sign in _NO_MEMORY):
            return None
    sentences = text.split(". ")
    return OutOfMemoryError(f"Out of memory ({'. '.join(sentences[:2]) or type(error).__name__})", fix=advice)


class StopRequested(Exception):
    """A signal asked the program to stop and the state was saved at ``step`` (optimizer steps)."""

    exit_code = 143

    def __init__(self, signal_name: str, step: int) -> None:
        self.signal_name, self.step = signal_name, step
        if signal_name == "SIGINT":
            self.exit_code = 130  # as shells say of Ctrl-C
        super().__init__(f"stopped by {signal_name} {f'after saving step {step}' if step else 'before the first step'}")


class EndedEarly(Exception):
    """Whoever compares runs has seen enough of this one; the text says why. The run did not fail."""

"""What a file system and an operating system are asked for, once for all packages: the lowest layer above the errors.

    atomic.py      a file that appears whole or not at all, durable where asked
    sealing.py     JSON with a checksum over itself
    locks.py       one process at a time, on any file system (filelock)
    markers.py     the same where the file system has no locks
    processes.py   who a process is, whether it lives, what memory and cores there are (psutil)

What only some systems have (``fcntl``, ``/proc``, ``SIGUSR1``, ``setsid`` ...) is used here and nowhere else;
``tests/files/test_elsewhere.py`` runs the package without it.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from gpt_lightning.files.atomic import write_text_durably
    >>> from gpt_lightning.files.locks import FileLock, is_locked
    >>> folder = Path(tempfile.mkdtemp())
    >>> with FileLock(folder / "a.lock"):
    ...     write_text_durably(folder / "a.txt", "whole or not at all")
    ...     is_locked(folder / "a.lock")
    True
    >>> is_locked(folder / "a.lock")
    False
"""

"""The store: one SQLite file that only grows, except where a person asks to be forgotten.

A row is acknowledged when it is on the disk (WAL, ``synchronous=FULL``): after a kill or a power cut every acknowledged
row is there, once. Several processes may write. Nothing is changed once it is written, which triggers see to; a row is
deleted only behind its tombstone, so that an old export does not bring it back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from gpt_lightning.errors import ConfigError, DataError, MachineError
from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.feedback.redaction import Redact, find_redaction

_FORMAT = 1
_WAIT_SECONDS = 60.0
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE interactions (key TEXT PRIMARY KEY, user TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE feedback (key TEXT PRIMARY KEY, interaction TEXT NOT NULL REFERENCES interactions (key),
                       user TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE builds (fingerprint TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (fingerprint, key));
CREATE TABLE deleted (key TEXT PRIMARY KEY);
CREATE INDEX feedback_of_interaction ON feedback (interaction);
CREATE INDEX interactions_of_user ON interactions (user);
CREATE INDEX feedback_of_user ON feedback (user);
"""
_GUARDS = "".join(
    f"""
CREATE TRIGGER {table}_stay BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'rows are never changed'); END;
CREATE TRIGGER {table}_last BEFORE DELETE ON {table} WHEN NOT EXISTS (SELECT 1 FROM deleted WHERE key = OLD.key)
    BEGIN SELECT RAISE(ABORT, 'rows are deleted with their user only'); END;
"""
    for table in ("interactions", "feedback")
)


@dataclass(frozen=True)
class Deletion:
    """What a deletion took away.

    Attributes:
        interactions: Number of requests and answers.
        feedback: Number of judgements, others' of these answers included.
        builds: Fingerprints of data sets that had used any of it.
    """

    interactions: int
    feedback: int
    builds: Sequence[str]


class FeedbackStore:
    """The store in a file.

    Args:
        path: The file; made where it is missing.
        redact: What is taken out of every text before it is written.

    Raises:
        ConfigError: It is the address of a database server.
        DataError: The file is something else, or of a newer version.
        MachineError: It cannot be opened or written.
    """

    def __init__(self, path: Path | str, *, redact: Redact | None = None) -> None:
        if "://" in str(path):
            raise ConfigError(
                "The store of feedback is a file; database servers are not supported", got=str(path).partition("://")[0],
                allowed="a path such as feedback.db",
            )  # fmt: skip
        self.path, self._redact = Path(path), redact or str
        self._lock = threading.RLock()
        with self._telling():
            self._base = sqlite3.connect(
                self.path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._telling():
                self._open()
        except BaseException:
            self._base.close()
            raise
        self._salt = self._ask("SELECT value FROM facts WHERE name = 'salt'")[0][0]

    def _open(self) -> None:
        for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
            self._base.execute(f"PRAGMA {setting}")
        with self._transaction():
            version = self._base.execute("PRAGMA user_version").fetchone()[0]
            if version > _FORMAT:
                raise DataError(
                    f"{self.path} is of a newer version", got=version, allowed=str(_FORMAT), fix="Update gpt-lightning."
                )
            if version == 0:
                if self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise DataError(f"{self.path} is a database of something else", fix="Name another file.")
                for statement in _split(_TABLES + _GUARDS):
                    self._base.execute(statement)
                self._base.execute("INSERT INTO facts VALUES ('salt', ?)", (secrets.token_hex(16),))
                self._base.execute(f"PRAGMA user_version = {_FORMAT}")

    def __enter__(self) -> FeedbackStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._base.close()

    def hash_user(self, user: str) -> str:
        """What stands for a user in this store: salted, so that trying names finds nobody. Empty stays empty."""
        return hashlib.sha256(f"{self._salt}\n{user}".encode()).hexdigest()[:24] if user else ""

    def add_interaction(self, interaction: Interaction) -> bool:
        """Keep a request and its answer; whether it is new.

        Raises:
            MachineError: The disk refuses.
        """
        cleaned = replace(
            interaction,
            prompt=self._redact(interaction.prompt) if isinstance(interaction.prompt, str)
            else [{**each, "content": self._redact(each["content"])} for each in interaction.prompt],
            answers=[self._redact(each) for each in interaction.answers],
        )  # fmt: skip
        return self._insert("INSERT INTO interactions SELECT ?, ?, ?", cleaned.id, cleaned.user, _pack(cleaned))

    def add_feedback(self, feedback: Feedback) -> bool:
        """Keep what somebody said; whether it is new: the same key again changes nothing.

        Raises:
            DataError: There is no such answer, or the key was used for something else.
            MachineError: The disk refuses.
        """
        value = self._redact(feedback.value) if isinstance(feedback.value, str) else feedback.value
        cleaned = replace(feedback, value=value, comment=self._redact(feedback.comment))
        known = self.find_interaction(cleaned.interaction)
        if known is None and not self._is_deleted(cleaned.key):
            raise DataError(
                "There is no answer of this id", got=cleaned.interaction[:80], allowed="ids of kept answers"
            )
        if known is not None and cleaned.choice >= len(known.answers):
            raise DataError("There is no such choice", got=cleaned.choice, allowed=f"0 to {len(known.answers) - 1}")
        content = _pack(cleaned)
        statement = "INSERT INTO feedback SELECT ?, ?, ?, ?"
        if self._insert(statement, cleaned.key, cleaned.interaction, cleaned.user, content):
            return True
        before = self._ask("SELECT content FROM feedback WHERE key = ?", cleaned.key)
        if before and {**json.loads(before[0][0]), "time": ""} != {**json.loads(content), "time": ""}:
            raise DataError("The key was used for other feedback", got=cleaned.key[:80], fix="Use a new key.")
        return False

    def _insert(self, statement: str, key: str, *values: str) -> bool:
        """A row, unless its key is there or was deleted."""
        rule = " WHERE NOT EXISTS (SELECT 1 FROM deleted WHERE key = ?) ON CONFLICT (key) DO NOTHING"
        with self._lock, self._telling():
            return self._base.execute(statement + rule, (key, *values, key)).rowcount == 1

    def _is_deleted(self, key: str) -> bool:
        return bool(self._ask("SELECT 1 FROM deleted WHERE key = ?", key))

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Rows that are kept all together or not at all, and acknowledged at the end of the block; others wait."""
        with self._lock, self._telling(), self._transaction():
            yield

    def find_interaction(self, key: str) -> Interaction | None:
        """A request and its answer by its id; None where there is none."""
        found = self._ask("SELECT content FROM interactions WHERE key = ?", key)
        return Interaction(**json.loads(found[0][0])) if found else None

    def interactions(self) -> list[Interaction]:
        """All of them, by id."""
        return [Interaction(**json.loads(row[0])) for row in self._ask("SELECT content FROM interactions ORDER BY key")]

    def feedback(self, interaction: str | None = None) -> list[Feedback]:
        """All of it, or that of one answer, by key."""
        where, values = ("", ()) if interaction is None else (" WHERE interaction = ?", (interaction,))
        rows = self._ask(f"SELECT content FROM feedback{where} ORDER BY key", *values)
        return [Feedback(**json.loads(row[0])) for row in rows]

    def record_build(self, fingerprint: str, keys: Sequence[str]) -> None:
        """Note which rows a data set is made of; ``keys`` are those of feedback."""
        with self._lock, self._telling(), self._transaction():
            rows = [(fingerprint, key) for key in keys]
            self._base.executemany("INSERT OR IGNORE INTO builds VALUES (?, ?)", rows)

    def builds(self) -> dict[str, list[str]]:
        """Fingerprint of every data set -> keys of the feedback that it is made of, deleted ones included."""
        found: dict[str, list[str]] = {}
        for fingerprint, key in self._ask("SELECT fingerprint, key FROM builds ORDER BY fingerprint, key"):
            found.setdefault(fingerprint, []).append(key)
        return found

    def delete_user(self, user: str) -> Deletion:
        """Forget what a user asked and said, and what others said about answers to that user.

        Args:
            user: The hash, see ``hash_user``.

        Raises:
            DataError: The empty hash, which stands for everybody unknown.
        """
        if not user:
            raise DataError("Nobody is named", fix="Name the user as the requests did.")
        of_user = "SELECT key FROM interactions WHERE user = ?1"
        said = f"SELECT key FROM feedback WHERE user = ?1 OR interaction IN ({of_user})"
        with self._lock, self._telling():
            with self._transaction():
                ask = self._base.execute
                builds = ask(
                    f"SELECT DISTINCT fingerprint FROM builds WHERE key IN ({said}) ORDER BY 1", (user,)
                ).fetchall()
                ask(f"INSERT OR IGNORE INTO deleted {said} UNION {of_user}", (user,))
                num_feedback = ask(f"DELETE FROM feedback WHERE key IN ({said})", (user,)).rowcount
                num_interactions = ask("DELETE FROM interactions WHERE user = ?1", (user,)).rowcount
            # What was written lies in the log of SQLite until it is taken over.
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Deletion(num_interactions, num_feedback, [row[0] for row in builds])

    def _ask(self, question: str, *values: str) -> list[Any]:
        with self._lock, self._telling():
            return self._base.execute(question, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk is full, the folder is missing, somebody holds it for long
            raise MachineError(f"The store {self.path} cannot be used ({error})") from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is no store of feedback, or damaged ({error})") from error


def open_feedback(path: str, redact: str = "none", *, create: bool = False) -> FeedbackStore:
    """The store that a command names.

    Args:
        path: The file.
        redact: As ``find_redaction`` takes.
        create: Whether a new one is made where there is none.

    Raises:
        UserError: There is none, or it cannot be used.
    """
    if not create and "://" not in path and not Path(path).is_file():
        raise DataError("There is no store of feedback", got=path, fix="serve --feedback FILE makes one.")
    return FeedbackStore(path, redact=find_redaction(redact))


def _split(script: str) -> Iterator[str]:
    """The statements of a script, so that all of them are in one transaction."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _pack(record: Interaction | Feedback) -> str:
    return json.dumps(asdict(record), ensure_ascii=False, sort_keys=True)

"""Requests and their answers, written down so that they can be asked again.

One JSON object per line: path, body (with the seed that was drawn where none was given), fingerprint, and each choice's
token ids, text and reason. It holds what people wrote: it is off unless asked for, and readable by its owner only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.requests import Completion
from gpt_lightning.serving.calls import Call
from gpt_lightning.serving.versions import Version


class RequestLog:
    """A file that grows by a line for each answer.

    Args:
        path: May exist; lines are added.

    Raises:
        ConfigError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as problem:
            raise ConfigError(f"The log {path} cannot be written ({problem.strerror})") from problem

    def write(
        self, path: str, body: Mapping[str, Any], call: Call, version: Version, completions: Sequence[Completion]
    ) -> None:
        """Add an answer."""
        line = {
            "path": path,
            "body": {**body, "seed": call.requests[0].seed},
            "fingerprint": version.fingerprint,
            "answers": describe_answers(completions),
        }
        # One write, so that lines of several processes do not mix.
        os.write(self._file, (json.dumps(line, ensure_ascii=False) + "\n").encode())


def describe_answers(completions: Sequence[Completion]) -> list[list[Any]]:
    """What makes two answers the same: ids, text and reason of every choice, and its log-probabilities to the bit."""
    return [
        [list(each.ids), each.text, each.finish_reason, [entry.logprob for entry in each.logprobs or ()]]
        for each in completions
    ]


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that was cut by a kill at the end is left out.

    Raises:
        DataError: It cannot be read, or holds something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"The log {path} cannot be read ({problem})") from problem
    found = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = json.loads(line)
            found.append({key: entry[key] for key in ("path", "body", "fingerprint", "answers")})
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{path} line {number} is no request of a server's log", fix="Pass a file of serve --request_log."
            ) from None
    return found

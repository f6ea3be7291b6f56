"""Names under which models are asked for, and the versions that stand behind them.

A file of aliases (YAML: a name and a folder per line) is followed while the server runs: a name that points elsewhere
gets its new version as soon as that is loaded, for requests that come from then on. What runs ends on the version it
began with, which is given up with the last of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from gpt_lightning.errors import ConfigError, UserError
from gpt_lightning.serving.api_errors import ApiError
from gpt_lightning.serving.versions import Version

_LOG = logging.getLogger(__name__)


class Aliases:
    """The table of names.

    Args:
        sources: What each name points to.
        load: Makes a version of a source.
        file: Where ``sources`` were read from, to be followed; None = they do not change.

    Raises:
        UserError: A model cannot be loaded.
    """

    def __init__(self, sources: Mapping[str, str], load: Callable[[str], Version], *, file: Path | None = None) -> None:
        self._load, self._file = load, file
        # Two names of one source share its version.
        self._versions: dict[str, Version] = {}
        self._created = int(time.time())
        self._seen = b"" if file is None else file.read_bytes()
        self._table = self._load_all(sources)

    @classmethod
    def follow(cls, file: Path, load: Callable[[str], Version]) -> Aliases:
        """The names of a file, which is followed by ``refresh``."""
        return cls(read_aliases(file), load, file=file)

    @property
    def names(self) -> list[str]:
        """All names, in their order."""
        return list(self._table)

    def find(self, name: str) -> Version:
        """The version behind a name now.

        Raises:
            ApiError: There is no such name.
        """
        version = self._table.get(name)
        if version is None:
            raise ApiError(
                f"There is no model {name[:60]!r} here (allowed: {', '.join(self._table)}).",
                status=404,
                param="model",
                code="model_not_found",
            )
        return version

    def describe(self, name: str) -> dict[str, Any]:
        """A name as OpenAI's model object, with what it stands for."""
        version = self.find(name)
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "gpt_lightning",
            "system_fingerprint": version.fingerprint,
            "context_length": version.capacity,
            "max_tokens": version.max_tokens,
        }

    async def refresh(self) -> bool:
        """Look into the file; whether a name changed. What cannot be read or loaded leaves all names as they are."""
        if self._file is None:
            return False
        try:
            content = self._file.read_bytes()
            if content == self._seen:
                return False
            self._seen = content
            # In a thread: requests go on meanwhile.
            self._table = await asyncio.to_thread(self._load_all, read_aliases(self._file))
        except (OSError, UserError) as problem:
            _LOG.error("aliases stay as they are: %s", problem)
            return False
        return True

    def _load_all(self, sources: Mapping[str, str]) -> dict[str, Version]:
        versions = {
            source: self._versions.get(source) or self._load(source) for source in sorted(set(sources.values()))
        }
        self._versions = versions
        return {name: versions[source] for name, source in sources.items()}


def read_aliases(file: Path) -> dict[str, str]:
    """A file of aliases.

    Raises:
        ConfigError: It cannot be read, or is no table of names and folders.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ConfigError(f"The models of {file} cannot be read ({' '.join(str(problem).split())})") from problem
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(each, str) for pair in found.items() for each in pair)
    ):
        raise ConfigError(
            f"{file} is no table of models", got=type(found).__name__, allowed="lines such as  chat: runs/quickstart-1"
        )
    return found

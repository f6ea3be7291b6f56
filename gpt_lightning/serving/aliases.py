"""Names under which models are asked for, and the versions that stand behind them.

A file of aliases (YAML, a name per line) is followed while the server runs, and so are names of registered models: a
name that points elsewhere gets its new version as soon as that is loaded, for requests that come from then on. What
runs ends on the version it began with, which is given up with the last of them.

    chat: runs/quickstart-1                                     a run, a checkpoint, a folder of another library
    help: help@production                                       what an alias of the registry stands for
    poems: {base: runs/quickstart-1, adapter: runs/lora-1}      an adapter; those of one base share a batch
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gpt_lightning.checkpoints.registered import find_registered
from gpt_lightning.errors import ConfigError, UserError
from gpt_lightning.serving.api_errors import ApiError
from gpt_lightning.serving.settings import Source
from gpt_lightning.serving.versions import Loader, Version, Versions

_LOG = logging.getLogger(__name__)


class Aliases:
    """The table of names.

    Args:
        sources: What each name points to.
        load: Makes the versions of a base and its adapters.
        file: Where ``sources`` were read from, to be followed; None = they do not change.

    Raises:
        UserError: A model cannot be loaded.
    """

    def __init__(self, sources: Mapping[str, Source], load: Loader, *, file: Path | None = None) -> None:
        self._load, self._file = load, file
        self._loaded: dict[tuple[str, tuple[str, ...]], Versions] = {}
        self._created = int(time.time())
        self._told = ""
        self._sources, self._seen = sources, _resolve(sources)
        self._table = self._load_all(self._seen)

    @classmethod
    def follow(cls, file: Path, load: Loader) -> Aliases:
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
        """Look what names point to; whether one changed. What cannot be read or loaded leaves all as they are."""
        try:
            wanted = _resolve(self._sources if self._file is None else read_aliases(self._file))
            if wanted == self._seen:
                return False
            self._seen = wanted
            # In a thread: requests go on meanwhile.
            self._table = await asyncio.to_thread(self._load_all, wanted)
        except (OSError, UserError) as problem:
            if str(problem) != self._told:  # once: it is looked at every second
                _LOG.error("the models stay as they are: %s", problem)
            self._told = str(problem)
            return False
        except Exception:  # following must not end with what one version does
            _LOG.exception("the models stay as they are")
            return False
        return True

    def _load_all(self, sources: Mapping[str, Source]) -> dict[str, Version]:
        """One engine for each base, with all its adapters; what is loaded already is taken over."""
        wanted: dict[str, set[str]] = {}
        for source in sources.values():
            wanted.setdefault(source.base, set()).update([] if source.adapter is None else [source.adapter])
        keys = {base: (base, tuple(sorted(adapters))) for base, adapters in wanted.items()}
        self._loaded = {key: self._loaded.get(key) or self._load(*key) for key in keys.values()}
        return {name: self._loaded[keys[source.base]][source.adapter] for name, source in sources.items()}


def _resolve(sources: Mapping[str, Source]) -> dict[str, Source]:
    """The same with the folders that names of registered models stand for now."""

    def folder(text: str) -> str:
        return str(find_registered(text) or text)

    return {
        name: Source(folder(each.base), None if each.adapter is None else folder(each.adapter))
        for name, each in sources.items()
    }


def read_aliases(file: Path) -> dict[str, Source]:
    """A file of aliases.

    Raises:
        ConfigError: It cannot be read, or is no table of names and folders.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ConfigError(f"The models of {file} cannot be read ({' '.join(str(problem).split())})") from problem
    if not isinstance(found, dict) or not found:
        raise ConfigError(
            f"{file} is no table of models", got=type(found).__name__, allowed="lines such as  chat: runs/quickstart-1"
        )
    return {str(name): _read_source(name, value, file) for name, value in found.items()}


def _read_source(name: Any, value: Any, file: Path) -> Source:
    given = {"base": value} if isinstance(value, str) else value
    fits = isinstance(given, dict) and {"base"} <= given.keys() <= {"base", "adapter"}
    if fits and all(isinstance(each, str) for each in (name, *given.values())):
        return Source(**given)
    raise ConfigError(
        f"{file} has a model that points nowhere",
        got={name: value},
        allowed="FOLDER, or {base: FOLDER, adapter: FOLDER}",
    )

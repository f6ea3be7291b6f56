"""Readers for tests, with the options of ``PrepareSettings`` as keywords."""

from __future__ import annotations

from typing import Any

from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.data.readers.readers import Reader
from gpt_lightning.data.readers.sources import open_sources


def open_all(sources: list[str], **options: Any) -> list[Reader]:
    """The readers of some sources."""
    return open_sources(sources, PrepareSettings(**options).reading)

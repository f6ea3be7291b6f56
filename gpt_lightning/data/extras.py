"""Packages that only some formats need: imported when such a file is met, and asked for by the exact command."""

from __future__ import annotations

import importlib
from typing import Any

from gpt_lightning.errors import DataError


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional dependency.

    Args:
        module: Name to import.
        extra: Which of our extras installs it.

    Raises:
        DataError: It is not installed; names the pip command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(
            f"This needs the package {package}, which is not installed ({error})",
            fix=f"Run: pip install 'gpt-lightning[{extra}]'",
        ) from error

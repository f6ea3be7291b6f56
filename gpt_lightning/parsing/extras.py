"""Packages that only some uses need: imported when they are met, and asked for by the exact command."""

from __future__ import annotations

import importlib
from typing import Any

from gpt_lightning.errors import DataError, UserError


def import_extra(module: str, extra: str, what: str = "This needs", kind: type[UserError] = DataError) -> Any:
    """Import a module of an optional dependency.

    Args:
        module: Name to import.
        extra: Which of our extras installs it.
        what: Beginning of the message: what needs it.
        kind: Of the error.

    Raises:
        UserError: Of that kind: it is not installed; names the pip command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise kind(
            f"{what} the package {package}, which is not installed ({error})",
            fix=f"Run: pip install 'gpt-lightning[{extra}]'",
        ) from error

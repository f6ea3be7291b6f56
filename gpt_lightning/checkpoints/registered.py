"""Names of registered models, such as ``chat@production``, and the folders that they stand for.

    models/chat/
        versions/3f2a9c01b7de/    a version, shaped like the folder of a run; never changed
        aliases.json              which version each alias stands for; replaced by one rename
        history.jsonl             every change of an alias

Read here, so that every command that takes a run takes such a name; written by the package ``registry``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.errors import CheckpointError
from gpt_lightning.files.sealing import unseal

MODELS = Path("models")
VERSIONS_DIR, ALIASES_FILE = "versions", "aliases.json"
ID_DIGITS = 12
_REFERENCE = re.compile(r"(?P<model>[^@]+)@(?P<wanted>[A-Za-z0-9_-]+)")
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")
_ID_BEGIN = re.compile(rf"[0-9a-f]{{6,{ID_DIGITS}}}")


@dataclass(frozen=True)
class Aliases:
    """What aliases stand for at one moment.

    Attributes:
        versions: Version of each alias.
        head: The change of ``history.jsonl`` after which it was so; None = there was none yet.
    """

    versions: Mapping[str, str]
    head: str | None = None


def model_folder(name: str) -> Path:
    """Where a registered model lies: in ``models/``, or where its name says if that is a path."""
    return Path(name) if "/" in name else MODELS / name


def find_model(name: str) -> Path:
    """The folder of a registered model.

    Raises:
        CheckpointError: There is none of that name.
    """
    folder = model_folder(name)
    if not (folder / VERSIONS_DIR).is_dir():
        known = sorted(each.parent.name for each in MODELS.glob(f"*/{VERSIONS_DIR}"))
        raise CheckpointError(
            f"There is no registered model {name!r}",
            allowed=", ".join(known) or "none is registered here",
            fix="Register one: gpt-lightning models add NAME RUN.",
        )
    return folder


def read_aliases(folder: Path) -> Aliases:
    """The aliases of a registered model; none where there are none yet.

    Raises:
        CheckpointError: The file is damaged.
    """
    file = folder / ALIASES_FILE
    try:
        found = unseal(json.loads(file.read_text(encoding="utf-8")))
        return Aliases({str(alias): str(version) for alias, version in found["aliases"].items()}, str(found["head"]))
    except FileNotFoundError:
        return Aliases({})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file} is damaged ({error}), and nobody knows what the aliases stand for",
            fix="Restore it from a copy; what they stood for is in history.jsonl beside it.",
        ) from error


def list_versions(folder: Path) -> list[str]:
    """Versions of a registered model, in the order of their names."""
    place = folder / VERSIONS_DIR
    return sorted(path.name for path in place.iterdir() if _ID.fullmatch(path.name)) if place.is_dir() else []


def find_version(folder: Path, wanted: str) -> str:
    """The version that an alias, or the beginning of a version's name, stands for.

    Args:
        folder: Of the registered model.
        wanted: An alias, or six digits or more of a version.

    Raises:
        CheckpointError: There is none, or several begin so.
    """
    aliases, versions = read_aliases(folder).versions, list_versions(folder)
    if wanted in aliases:
        return aliases[wanted]
    found = [each for each in versions if _ID_BEGIN.fullmatch(wanted) and each.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    raise CheckpointError(
        f"{folder} has {'several versions' if found else 'no alias or version'} {wanted!r}",
        allowed=", ".join([*aliases, *versions[-8:]]) or "nothing is there yet",
        fix="See gpt-lightning models list.",
    )


def find_registered(path: Path | str) -> Path | None:
    """The folder of the version that NAME@ALIAS or NAME@VERSION stands for now; None for what is no such name.

    Raises:
        CheckpointError: There is no such model, alias or version.
    """
    match = _REFERENCE.fullmatch(str(path))
    if match is None or Path(path).exists():
        return None
    folder = find_model(match["model"])
    return folder / VERSIONS_DIR / find_version(folder, match["wanted"])

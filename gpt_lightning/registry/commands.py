"""``gpt-lightning models``: versions registered, shown, compared, promoted, rolled back."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.registered import (
    MODELS,
    VERSIONS_DIR,
    find_model,
    find_version,
    model_folder,
    read_aliases,
)
from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.strict_yaml import flatten
from gpt_lightning.registry.gates import read_report
from gpt_lightning.registry.history import PRODUCTION, promote, read_history, rollback
from gpt_lightning.registry.mirroring import mirror_model
from gpt_lightning.registry.versions import Version, add_version, find_user, read_version, read_versions
from gpt_lightning.reports.text_table import format_table


def list_command(models: str = str(MODELS), json: bool = False) -> None:
    """List registered models: what each alias stands for, since when, and how many versions there are.

    Example: gpt-lightning models list

    Args:
        models: Folder of registered models.
        json: Write one JSON array instead of a table.
    """
    rows = [row for folder in sorted(Path(models).glob(f"*/{VERSIONS_DIR}")) for row in _describe(folder.parent)]
    if json:
        sys.stdout.write(json_format.dumps(rows, indent=1) + "\n")
    elif not rows:
        sys.stdout.write(f"No model is registered in {models}. Register one: gpt-lightning models add NAME RUN\n")
    else:
        sys.stdout.write(format_table(list(rows[0]), [list(row.values()) for row in rows]))


def _describe(folder: Path) -> list[dict[str, Any]]:
    versions = len(read_versions(folder))
    since = {change.alias: change for change in read_history(folder)}
    found: list[dict[str, Any]] = [
        {"model": folder.name, "alias": alias, "version": version, "since": since[alias].time, "by": since[alias].who}
        for alias, version in read_aliases(folder).versions.items()
    ]
    empty = {"model": folder.name, "alias": None, "version": None, "since": None, "by": None}
    return [{**row, "versions": versions} for row in found or [empty]]


def add_command(
    name: str,
    run: str,
    prefer: str = "best",
    parent: str | None = None,
    data: list[str] | None = None,
    note: str = "",
) -> None:
    """Register a run's checkpoint as a version of a model. The files are linked, not copied, where the disk can.

    Example: gpt-lightning models add chat runs/quickstart-1
    Example: gpt-lightning models promote chat 3f2a9c01b7de

    Args:
        name: Of the registered model; a new one is made.
        run: Run folder or checkpoint folder.
        prefer: Which checkpoint of a run folder: best or last.
        parent: The version that training began with: an alias or a version.
        data: Data sets of gpt-lightning feedback build that it was trained on.
        note: What is to be said about it.
    """
    known = dict(_read_build(Path(each)) for each in data or [])
    version = add_version(model_folder(name), run, prefer=prefer, parent=parent, data=known, note=note)
    sys.stdout.write(f"{name}@{version.id}: step {version.step:,} of {version.source}\n")


def _read_build(folder: Path) -> tuple[str, str]:
    """Fingerprint and place of a data set of ``feedback build``."""
    file = folder / "build.json"
    try:
        return str(json_format.loads(file.read_text(encoding="utf-8"))["fingerprint"]), str(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder} is no data set of feedback ({error})", allowed="folders that gpt-lightning feedback build made"
        ) from error


def show_command(name: str, json: bool = False) -> None:
    """Show a version: where it comes from, what it was trained on, what stands for it, what gates found.

    Example: gpt-lightning models show chat@production

    Args:
        name: NAME@ALIAS, NAME@VERSION, or NAME alone for all of its versions.
        json: Write JSON.
    """
    model, _, wanted = name.partition("@")
    folder = find_model(model)
    versions = [read_version(folder, wanted)] if wanted else read_versions(folder)
    if json:
        sys.stdout.write(json_format.dumps([asdict(each) for each in versions], indent=1) + "\n")
    elif wanted:
        sys.stdout.write("".join(f"{title:<10} {text}\n" for title, text in _portray(folder, versions[0])))
    else:
        rows = [
            [each.id, each.added, each.step, _loss(each), ", ".join(_names(folder, each)), each.source]
            for each in versions
        ]
        sys.stdout.write(format_table(["version", "added", "step", "loss", "aliases", "source"], rows))


def _portray(folder: Path, version: Version) -> list[tuple[str, object]]:
    gates = [(each.id, read_report(folder, version.id, each.id)) for each in read_versions(folder)]
    return [
        ("version", f"{version.id} ({version.digest})"),
        ("aliases", ", ".join(_names(folder, version)) or "none"),
        ("added", f"{version.added} by {version.added_by}"),
        ("source", f"{version.source}, step {version.step:,}"),
        ("parent", version.parent or "none"),
        *((("data"), f"{fingerprint[:12]}  {what}") for fingerprint, what in version.data.items()),
        *(
            ("gate", f"{'passed' if each.passed else 'failed'} against {other}, {each.time}")
            for other, each in gates
            if each
        ),
        ("loss", _loss(version)),
        ("note", version.note or "none"),
        ("files", ", ".join(version.files)),
    ]


def _names(folder: Path, version: Version) -> list[str]:
    return [alias for alias, each in read_aliases(folder).versions.items() if each == version.id]


def _loss(version: Version) -> object:
    return (version.card.get("validation") or {}).get("value")


def diff_command(name: str, first: str, second: str) -> None:
    """Show what differs between two versions: architecture, settings, data, validation.

    Example: gpt-lightning models diff chat production 3f2a9c01b7de

    Args:
        name: Of the registered model.
        first: Alias or version.
        second: Alias or version.
    """
    folder = find_model(name)
    one, other = (_facts(read_version(folder, each)) for each in (first, second))
    rows = [[key, one.get(key), other.get(key)] for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    if not rows:
        sys.stdout.write("They are the same.\n")
    else:
        headers = ["", f"{first} {find_version(folder, first)}", f"{second} {find_version(folder, second)}"]
        sys.stdout.write(format_table(headers, [[key, _short(a), _short(b)] for key, a, b in rows]))


def _facts(version: Version) -> dict[str, Any]:
    known = {"step": version.step, "parent": version.parent, "note": version.note, "source": version.source}
    return {**known, **{f"data {each[:12]}": what for each, what in version.data.items()}, **flatten(version.card)}


def _short(value: object) -> object:
    return value if value is None or isinstance(value, (int, float)) else str(value)[:60]


def promote_command(name: str, version: str, alias: str = PRODUCTION, why: str = "", force: bool = False) -> None:
    """Let an alias stand for a version: one rename. Servers follow; whatever fails leaves the old one or the new one.

    A version that is to replace another one needs a passed gate (gpt-lightning models gate).

    Example: gpt-lightning models promote chat 3f2a9c01b7de --why "answers in Chinese"

    Args:
        name: Of the registered model.
        version: Version, or an alias.
        alias: What is to stand for it.
        why: The reason; stays in the history.
        force: Without a passed gate; needs a reason.
    """
    change = promote(find_model(name), version, alias, who=find_user(), why=why, force=force)
    if change is None:
        sys.stdout.write(f"{name}@{alias} is version {version} already\n")
    else:
        sys.stdout.write(f"{name}@{alias} is version {change.version} now; before: {change.before or 'none'}\n")


def rollback_command(name: str, alias: str = PRODUCTION, to: str | None = None, why: str = "") -> None:
    """Let an alias stand for the version before again, or for an earlier one. No gate is asked: it has served before.

    Example: gpt-lightning models rollback chat --why "answers became rude"

    Args:
        name: Of the registered model.
        alias: Which alias.
        to: An earlier version of it; null = the one before.
        why: The reason; stays in the history.
    """
    change = rollback(find_model(name), alias, who=find_user(), why=why, to=to)
    sys.stdout.write(f"{name}@{alias} is version {change.version} again; before: {change.before}\n")


def history_command(name: str, alias: str | None = None, json: bool = False) -> None:
    """Show who moved which alias, when, why, from what to what.

    Example: gpt-lightning models history chat

    Args:
        name: Of the registered model.
        alias: Only this one.
        json: Write one JSON array instead of a table.
    """
    changes = read_history(find_model(name), alias)
    if json:
        sys.stdout.write(json_format.dumps([asdict(each) for each in changes], indent=1) + "\n")
        return
    rows: Sequence[Sequence[object]] = [
        [each.time, each.alias, f"{each.action}{' (forced)' if each.forced else ''}", each.before, each.version,
         each.who, each.why] for each in changes
    ]  # fmt: skip
    sys.stdout.write(format_table(["time", "alias", "change", "from", "to", "who", "why"], rows))


def mirror_command(name: str, uri: str) -> None:
    """Bring MLflow's registry to the same versions and aliases. One way; run it again after every promotion.

    Example: gpt-lightning models mirror chat sqlite:///mlflow.db

    Args:
        name: Of the registered model.
        uri: Of MLflow's registry: http://..., or sqlite:///FILE.
    """
    done = mirror_model(find_model(name), uri)
    new, moved = (", ".join(each) or "none" for each in (done.versions, done.aliases))
    sys.stdout.write(f"versions that are new there: {new}\naliases that were set: {moved}\n")

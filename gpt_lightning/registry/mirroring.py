"""Versions and aliases of a model in MLflow's registry too, for those who look there; ours stays the one that counts.

    version 3f2a9c01b7de   a version of MLflow's, with its source, parent, data, step and digest as tags
    production             the same alias there

One way, and the same again changes nothing. What MLflow has besides (other versions, other aliases) is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_lightning.checkpoints.registered import VERSIONS_DIR, read_aliases
from gpt_lightning.errors import ConfigError, MachineError
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.registry.versions import Version, read_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TAG = "gpt_lightning.version"


@dataclass(frozen=True)
class Mirrored:
    """What a mirror had to do.

    Attributes:
        versions: Versions that were new there.
        aliases: Aliases that stood for something else there.
    """

    versions: list[str]
    aliases: list[str]


def mirror_model(folder: Path, uri: str) -> Mirrored:
    """Bring MLflow's registry to what a registered model is.

    Args:
        folder: Of the registered model; its name is the name there.
        uri: Of MLflow's registry: ``http://...``, ``sqlite:///mlflow.db``.

    Raises:
        ConfigError: MLflow is not installed.
        MachineError: The registry refuses, or cannot be reached.
    """
    mlflow, *_ = (
        import_extra(module, "mlflow", "models mirror needs", ConfigError)
        for module in ("mlflow", "sqlalchemy", "alembic")
    )
    try:
        return _mirror(folder, mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri))
    except mlflow.exceptions.MlflowException as error:
        raise MachineError(
            f"MLflow's registry at {uri} refuses ({' '.join(str(error).split())[:300].rstrip('.')})",
            fix="What was written there is right; run it again when that is mended.",
        ) from error


def _mirror(folder: Path, client: MlflowClient) -> Mirrored:
    name = folder.name
    aliases = read_aliases(folder).versions
    if not list(client.search_registered_models(f"name = '{name}'")):
        client.create_registered_model(name)
    known = {each.tags[_TAG]: str(each.version) for each in _search(client, name) if _TAG in each.tags}
    new = [version for version in read_versions(folder) if version.id not in known]
    for version in new:
        source = (folder / VERSIONS_DIR / version.id).resolve().as_uri()
        made = client.create_model_version(name, source, tags=_describe(version), description=version.note or None)
        known[version.id] = str(made.version)
    there = {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()}
    moved = [alias for alias, version in aliases.items() if there.get(alias) != known[version]]
    for alias in moved:
        client.set_registered_model_alias(name, alias, known[aliases[alias]])
    return Mirrored([version.id for version in new], moved)


def _search(client: MlflowClient, name: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _describe(version: Version) -> dict[str, str]:
    known = {"digest": version.digest, "parent": version.parent, "step": version.step, "source": version.source}
    data = {f"data.{fingerprint[:12]}": what for fingerprint, what in version.data.items()}
    return {_TAG: version.id, **{f"gpt_lightning.{key}": str(value) for key, value in {**known, **data}.items()}}

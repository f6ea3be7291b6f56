"""Versions and aliases in MLflow's registry: brought there once, left alone where nothing has changed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.registry.history import promote
from gpt_lightning.registry.mirroring import Mirrored, mirror_model
from tests.registry.versions import register


def test_what_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    register(Path("models/chat"), 1)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["models", "mirror", "chat", "sqlite:///mlflow.db"]) == 2
    assert "pip install 'gpt-lightning[mlflow]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_versions_and_aliases_are_there_too(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    folder, uri = tmp_path / "chat", f"sqlite:///{tmp_path / 'mlflow.db'}"
    one, other = register(folder, 1, 2)
    promote(folder, one.id, "production", who="test")
    assert mirror_model(folder, uri) == Mirrored(sorted([one.id, other.id]), ["production"])
    assert mirror_model(folder, uri) == Mirrored([], [])
    promote(folder, other.id, "production", who="test", why="test", force=True)
    assert mirror_model(folder, uri) == Mirrored([], ["production"])
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_model_version_by_alias("chat", "production")
    assert found.tags["gpt_lightning.version"] == other.id
    assert found.source.endswith(f"/chat/versions/{other.id}")
    assert found.tags["gpt_lightning.digest"] == other.digest

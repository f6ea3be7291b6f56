"""Configurations that come along: found where the user has none of that name, never in place of the user's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.shipped import (
    copy_command,
    find_shipped,
    list_command,
    resolve_arguments,
    shipped_files,
    suggest_shipped,
)
from gpt_lightning.training.commands import trainer_command
from gpt_lightning.tuning.spec.reading import read_spec

ROOT = Path(__file__).parents[2]
QUICK = ROOT / "configs" / "quickstart.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_yaml_of_both_folders_is_one() -> None:
    files = {
        f"{folder}/{each.relative_to(ROOT / folder)}"
        for folder in ("configs", "sweeps")
        for each in (ROOT / folder).rglob("*.yaml")
    }
    assert set(shipped_files()) == files >= {"configs/quickstart.yaml", "sweeps/base/tiny.yaml"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("fit --config configs/quickstart.yaml", f"fit --config {QUICK}"),
        ("fit --config ./configs/quickstart.yaml", f"fit --config {QUICK}"),
        ("fit --config=quickstart --trainer.max_steps 5", f"fit --config={QUICK} --trainer.max_steps 5"),
        ("-c quickstart.yaml fit", f"-c {QUICK} fit"),
        ("fit --config lora", f"fit --config {ROOT}/configs/finetune/lora.yaml"),
        ("sweep run sweeps/optimizer.yaml", f"sweep run {ROOT}/sweeps/optimizer.yaml"),
        ("generate quickstart --prompt quickstart", "generate quickstart --prompt quickstart"),
        ("fit --config tiny", "fit --config tiny"),
        ("generate runs/a --prompt configs/quickstart.yaml", "generate runs/a --prompt configs/quickstart.yaml"),
        ("fit --data.source=configs/quickstart.yaml", "fit --data.source=configs/quickstart.yaml"),
        ("fit --run.name quickstart", "fit --run.name quickstart"),
    ],
)
def test_what_is_typed_becomes_ours(typed: str, meant: str) -> None:
    assert resolve_arguments(typed.split()) == meant.split()


def test_a_file_of_the_users_is_the_users() -> None:
    Path("configs").mkdir()
    Path("configs/quickstart.yaml").write_text("trainer: {max_steps: 1}\n")
    Path("quickstart").write_text("trainer: {max_steps: 1}\n")
    typed = ["fit", "--config", "configs/quickstart.yaml", "--config=quickstart"]
    assert resolve_arguments(typed) == typed
    assert find_shipped("quickstart", bare=True) is None


def test_the_bases_of_our_sweeps_are_found_too() -> None:
    assert read_spec(ROOT / "sweeps" / "optimizer.yaml").base == (ROOT / "sweeps" / "base" / "tiny.yaml",)


def test_copies_are_the_files_and_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    copy_command(["quickstart", "sweeps/base/tiny.yaml"], to="mine")
    assert capsys.readouterr().out.split() == ["mine/configs/quickstart.yaml", "mine/sweeps/base/tiny.yaml"]
    assert Path("mine/configs/quickstart.yaml").read_bytes() == QUICK.read_bytes()
    with pytest.raises(ConfigError, match=r"mine/configs/quickstart\.yaml is there already"):
        copy_command(["lora", "quickstart"], to="mine")
    assert not Path("mine/configs/finetune").exists()
    with pytest.raises(ConfigError, match=r"quikstart.* Did you mean configs/quickstart\.yaml\?"):
        copy_command(["quikstart"])


def test_the_list_tells_purposes(capsys: pytest.CaptureFixture[str]) -> None:
    list_command()
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == len(shipped_files())
    assert any(row.startswith("configs/quickstart.yaml ") and "the first run: a small GPT" in row for row in rows)


def test_a_slip_is_told_with_what_is_near() -> None:
    assert suggest_shipped("some/quikstart.yaml") == "Did you mean configs/quickstart.yaml?"
    with pytest.raises(ConfigError, match=r"Did you mean configs/quickstart\.yaml\?"):
        trainer_command("fit", ["--config", "quikstart"])


def test_an_adaptation_of_nothing_costs_no_preparing() -> None:
    with pytest.raises(ConfigError, match="there is none to begin with: got 'LoRA'"):
        trainer_command("fit", ["--model.adaptation", "LoRA"])
    assert not list(Path().iterdir())


@pytest.mark.slow
def test_a_wheel_has_them_and_a_source_package_builds_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(ROOT, source, ignore=ignored)
    build = "from setuptools import build_meta as b; b.build_{}('../dist')"
    subprocess.run([sys.executable, "-c", build.format("sdist")], cwd=source, check=True, capture_output=True)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    subprocess.run(
        [sys.executable, "-c", build.format("wheel").replace("../", "../../")],
        cwd=unpacked,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    names = {str(each.relative_to(tmp_path / "installed")) for each in (tmp_path / "installed").rglob("*")}
    assert {f"gpt_lightning/{name}" for name in shipped_files()} <= names
    assert {"gpt_lightning/serving/page.html", "gpt_lightning/py.typed"} <= names
    assert not any(name.startswith(("tests", "configs")) for name in names)
    listed = subprocess.run(
        [sys.executable, "-m", "gpt_lightning", "configs", "list"],
        cwd=tmp_path / "installed",
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert len(listed.splitlines()) == len(shipped_files())

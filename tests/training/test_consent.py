"""A file alone runs no program and sends nothing: consent from outside of it, or from a run folder not at all."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.fitting.consent import ask_consent
from tests.selections import seldom

COMMAND = {"class_path": "Command", "init_args": {"words": ["touch", "owned"]}}
HOOK = {"class_path": "Webhook", "init_args": {"url": "https://example.org/x"}}
LOGGER = {"class_path": "lightning.pytorch.loggers.WandbLogger"}
LAMBDA = {"class_path": "LambdaCallback", "init_args": {"on_fit_start": "gpt_lightning.cli.main"}}
SAVER = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": "s3://bucket/x"}}
OUTSIDE: dict[str, tuple[dict[str, Any], str]] = {
    "Command": ({"monitor": {"tell": [COMMAND]}}, "runs the program touch owned"),
    "Webhook": ({"monitor": {"tell": [HOOK]}}, "sends alerts to https://example.org/x"),
    "WandB": ({"monitor": {"trackers": ["CSV", "WandB"]}}, "to Weights & Biases"),
    "MLflow": (
        {"monitor": {"trackers": [{"class_path": "MLflow", "init_args": {"uri": "http://example.org"}}]}},
        "to http://example.org",
    ),
    "WandbLogger": ({"trainer": {"logger": LOGGER}}, "to a server"),
    "LambdaCallback": ({"trainer": {"callbacks": [LAMBDA]}}, "calls gpt_lightning.cli.main"),
    "ModelCheckpoint": ({"trainer": {"callbacks": [SAVER]}}, "writes to s3://bucket/x"),
}
INSIDE: list[dict[str, Any]] = [
    {"monitor": {"trackers": ["CSV", "MLflow", {"class_path": "WandB", "init_args": {"offline": True}}]}},
    {"trainer": {"logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "x"}}}},
    {"trainer": {"callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"dirpath": "x"}}]}},
]


def write(settings: dict[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_yaml(settings), encoding="utf-8")
    return path


def parse(*args: str, command: str = "fit", typed: bool = True) -> Any:
    line = TrainerCommandLine(command, args, typed=typed)
    ask_consent(line)
    return line.config


@pytest.mark.parametrize("name", ["Command", "WandB", *seldom(*sorted(OUTSIDE.keys() - {"Command", "WandB"}))])
def test_a_file_is_refused_and_consent_is_listed(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, what = OUTSIDE[name]
    file = write(settings, tmp_path / "elsewhere.yaml")
    with pytest.raises(ConfigError) as refused:
        parse(f"--config={file}")
    assert f"in {file}:" in str(refused.value)
    assert what in str(refused.value)
    assert f"add --allow_outside {name}, or set GPT_LIGHTNING_ALLOW_OUTSIDE={name}" in str(refused.value)
    with pytest.raises(ConfigError):
        parse(f"--config={file}", "--allow_outside=Another")
    with caplog.at_level(logging.WARNING):
        parse(f"--config={file}", f"--allow_outside=Another,{name}")
        assert f"allowed: {name} " in caplog.text
        assert what in caplog.text
    monkeypatch.setenv("GPT_LIGHTNING_ALLOW_OUTSIDE", name)
    parse(f"--config={file}")


def test_what_is_typed_needs_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    typed = '[{"class_path": "Command", "init_args": {"words": ["true"]}}]'
    assert len(parse(f"--monitor.tell={typed}").monitor.tell) == 1
    own = write({"monitor": {"tell": [], "trackers": []}, "trainer": {"logger": None}}, tmp_path / "resolved.yaml")
    assert len(parse(f"--config={own}", f"--monitor.tell={typed}").monitor.tell) == 1, "an empty entry names nothing"
    with pytest.raises(ConfigError, match="the settings of a sweep"):
        parse(f"--monitor.tell={typed}", typed=False)
    monkeypatch.setenv("GPT_LIGHTNING_MONITOR__TELL", typed)
    assert len(parse(typed=False).monitor.tell) == 1, "an environment variable is outside of every file"


@pytest.mark.parametrize("settings", INSIDE)
def test_what_stays_here_needs_none(settings: dict[str, Any], tmp_path: Path) -> None:
    parse(f"--config={write(settings, tmp_path / 'a.yaml')}")


def test_a_file_cannot_allow_itself(tmp_path: Path) -> None:
    file = write({"allow_outside": "all", **OUTSIDE["Command"][0]}, tmp_path / "sly.yaml")
    with pytest.raises(ConfigError, match="consent comes from outside"):
        parse(f"--config={file}")


@pytest.mark.parametrize("consent", ["", "all"])
def test_a_run_folder_is_inert(consent: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = {
        "monitor": {"tell": [COMMAND, HOOK], "trackers": ["CSV", "WandB"]},
        "trainer": {"logger": LOGGER, "callbacks": [LAMBDA, {"class_path": "DeviceStatsMonitor"}]},
    }
    file = write(settings, tmp_path / "copied-1" / "config.yaml")
    (file.parent / "manifest.json").write_text('{"starts": []}', encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        config = parse(f"--config={file}", f"--allow_outside={consent}")
    assert config.monitor.tell == []
    assert [each.class_path.rpartition(".")[2] for each in config.monitor.trackers] == ["CSV"]
    assert config.trainer.logger is None
    assert [each.class_path.rpartition(".")[2] for each in config.trainer.callbacks] == ["DeviceStatsMonitor"]
    assert caplog.text.count("left out, since settings of a run folder") == 5
    (file.parent / "manifest.json").unlink()
    with pytest.raises(ConfigError):
        parse(f"--config={file}")


def test_commands_that_train_nothing_tell_nobody(tmp_path: Path) -> None:
    file = write(OUTSIDE["Command"][0], tmp_path / "a.yaml")
    assert parse(f"--config={file}", command="validate").monitor.tell == []


def test_code_of_ones_own_is_listed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_TRUST_MODULES", "tests")
    with caplog.at_level(logging.WARNING):
        parse(
            "--trainer.callbacks=[tests.training.forked.KillAt]",
            '--trainer.callbacks.point=""',
            "--trainer.callbacks.step=1",
        )
    assert "code of a module of your own, tests.training.forked.KillAt" in caplog.text

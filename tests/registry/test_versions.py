"""A version is its content: named by it, linked, checked, and told where it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.cli import main
from gpt_lightning.errors import CheckpointError
from gpt_lightning.registry.versions import add_version, read_version, using_data
from tests.registry.versions import judge, register, write_run


def test_a_version_outlives_its_run(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    (version,) = register(folder, 3)
    assert (version.step, version.data, version.card["model"]) == (3, {"data3": "text3.txt"}, {"n_layer": 3})
    checkpoint = folder / "versions" / version.id / "checkpoints" / "step-000000003"
    state = tmp_path / "run-3" / "checkpoints" / "step-000000003" / "state.pt"
    assert (checkpoint / "state.pt").samefile(state)
    state.unlink()
    assert torch.equal(read_checkpoint(checkpoint)["weight"], torch.full((4,), 3.0))
    assert read_version(folder, version.id[:7]) == version


def test_the_same_content_is_the_same_version(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    first, again = (add_version(folder, write_run(tmp_path / place, 1), who="test") for place in ("a", "b"))
    other = add_version(folder, write_run(tmp_path, 2), who="test")
    assert first == again
    assert first.id != other.id
    assert sorted(path.name for path in (folder / "versions").iterdir()) == sorted([first.id, other.id])


def test_a_damaged_checkpoint_is_not_registered(tmp_path: Path) -> None:
    run = write_run(tmp_path, 1)
    state = run / "checkpoints" / "step-000000001" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match="is damaged"):
        add_version(tmp_path / "chat", run / "checkpoints" / "step-000000001")
    assert not (tmp_path / "chat").exists()


def test_an_adapter_takes_its_base_along(tmp_path: Path) -> None:
    facts = {"base": {"sha256": "0", "path": "elsewhere"}}
    run = tmp_path / "lora"
    write_checkpoint(run / "checkpoints", step=1, state={"a": torch.ones(1)}, facts=facts)
    with pytest.raises(CheckpointError, match="its base does not lie beside it"):
        add_version(tmp_path / "chat", run)
    write_checkpoint(run / "base", step=9, state={"w": torch.ones(1)})
    version = add_version(tmp_path / "chat", run)
    place = tmp_path / "chat" / "versions" / version.id
    assert torch.equal(read_checkpoint(place / "base" / "step-000000009")["w"], torch.ones(1))
    write_checkpoint(run / "base", step=9, state={"w": torch.zeros(1)})
    assert add_version(tmp_path / "chat", run).id != version.id  # another base is another model


def test_versions_that_used_data_are_found_through_their_parents(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    first = add_version(folder, write_run(tmp_path, 1), data={"build": "feedback"})
    child = add_version(folder, write_run(tmp_path, 2), parent=first.id)
    other = add_version(folder, write_run(tmp_path, 3))
    assert {each.id for each in using_data(folder, ["build"])} == {first.id, child.id}
    assert [each.id for each in using_data(folder, ["data3"])] == [other.id]
    assert using_data(folder, ["unknown"]) == []


def test_the_commands_tell_the_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # names of users and machines differ in length
    monkeypatch.chdir(tmp_path)

    def say(*words: str) -> str:
        assert main(["models", *words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert "models add NAME RUN" in say("list")
    ids = [say("add", "chat", str(write_run(tmp_path, number))).split()[0][5:-1] for number in (1, 2)]
    assert say("promote", "chat", ids[0]) == f"chat@production is version {ids[0]} now; before: none\n"
    assert main(["models", "promote", "chat", ids[1]]) == 3
    assert "has not passed the gate" in capsys.readouterr().err
    judge(Path("models/chat"), *(read_version(Path("models/chat"), each) for each in reversed(ids)))
    say("promote", "chat", ids[1])
    assert f"{ids[0]} again; before: {ids[1]}" in say("rollback", "chat", "--why", "rude")
    (row,) = json.loads(say("list", "--json", "true"))
    assert (row["model"], row["alias"], row["version"], row["versions"]) == ("chat", "production", ids[0], 2)
    story = json.loads(say("history", "chat", "--json", "true"))
    assert [each["why"] for each in story] == ["the first version", "the gate was passed", "rude"]
    assert "rude" in say("history", "chat")
    assert "passed against" in say("show", f"chat@{ids[1]}")
    assert ids[1] in say("show", "chat")
    assert "config.data.source" in say("diff", "chat", *ids)
    assert say("diff", "chat", ids[0], "production") == "They are the same.\n"

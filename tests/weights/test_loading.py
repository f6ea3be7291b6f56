"""A model out of a checkpoint alone: which one, verified, and refused with names when it does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.errors import CheckpointError
from gpt_lightning.weights.checking import check_fit, decoder_weights
from gpt_lightning.weights.loading import load_model
from gpt_lightning.weights.starting import read_initial_weights
from tests.generation.models import TINY, tiny_model, write_run


def same_weights(model: torch.nn.Module, seed: int) -> bool:
    wanted = tiny_model(seed).state_dict()
    return all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("prefer", "best", "seed"), [("best", 1, 1), ("last", 1, 2), ("best", None, 2)], ids=["best", "last", "no best"]
)
def test_run_folder_gives_the_preferred_checkpoint(tmp_path: Path, prefer: str, best: int | None, seed: int) -> None:
    loaded = load_model(write_run(tmp_path / "run", best=best), prefer=prefer)
    assert same_weights(loaded.model, seed)
    assert loaded.path.name == f"step-{seed:09d}"


def test_loaded_model_is_ready_to_use(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    loaded = load_model(str(run / CHECKPOINTS_DIR / "step-000000001"))
    assert not loaded.model.training
    assert loaded.model.config == TINY
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("né")) == "né"
    tokens = torch.arange(16)[None]
    assert torch.equal(loaded.model(tokens), tiny_model(1)(tokens))


def test_damaged_newest_is_passed_over_and_a_damaged_choice_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    state = run / CHECKPOINTS_DIR / "step-000000002" / "state.pt"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 4
    state.write_bytes(data)
    assert same_weights(load_model(run).model, 1)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_model(state.parent)


def test_checkpoint_of_somebody_else_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / CHECKPOINTS_DIR, step=1, state={"state_dict": tiny_model().state_dict()})
    with pytest.raises(CheckpointError, match=r"does not describe its model.*gpt-lightning fit"):
        load_model(tmp_path)


def test_weights_from_files_and_folders_have_the_decoder_s_own_names(tmp_path: Path) -> None:
    names = set(tiny_model().state_dict())
    run = write_run(tmp_path / "run")
    found = read_initial_weights(run)
    assert (set(found.weights), found.path.name, found.config) == (names, "step-000000002", TINY)
    for number, content in enumerate((tiny_model().state_dict(), {"state_dict": tiny_model().state_dict()})):
        file = tmp_path / f"weights-{number}.pt"
        torch.save(content, file)
        found = read_initial_weights(str(file))
        assert (set(found.weights), found.path, found.config) == (names, file, None)


def test_only_the_prefix_is_taken_off() -> None:
    value = torch.zeros(1)
    assert list(decoder_weights({"model.a.model.b": value, "c": value})) == ["a.model.b", "c"]


def test_every_misfit_is_counted_and_the_first_are_named() -> None:
    weights = dict(tiny_model().state_dict())
    check_fit(weights, tiny_model(), "here")
    weights["extra"] = torch.zeros(1)
    weights["final_norm.weight"] = torch.zeros(9)
    del weights["final_norm.bias"]
    with pytest.raises(CheckpointError) as told:
        check_fit(weights, tiny_model(), "here")
    text = str(told.value)
    assert "here holds another architecture" in text
    assert "final_norm.bias is missing" in text
    assert "extra is unknown" in text
    assert "final_norm.weight is (9,), needed (8,)" in text
    with pytest.raises(CheckpointError, match=r"; and \d+ more"):
        check_fit({}, tiny_model(), "here")


def test_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "ran"),))  # type: ignore[return-value]

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="would run code"):
        read_initial_weights(tmp_path / "trap.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("address", ["http://example.com/a.pt", "s3://bucket/run"])
def test_addresses_are_refused(address: str) -> None:
    for read in (read_initial_weights, load_model):
        with pytest.raises(CheckpointError, match="local disks only"):
            read(address)

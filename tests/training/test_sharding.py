"""FSDP2 and tensor parallelism on gloo processes: the curve of one process, and checkpoints for any number of them.

The processes are started as torchrun starts them; ``test_launchers`` uses the real one, and Lightning's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.checkpoints import folder as checkpoint_folder
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints, verify_checkpoint
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.training.engine import sharded_strategy
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.runs.run_folder import read_metrics
from gpt_lightning.weights.command import export_checkpoint
from gpt_lightning.weights.loading import load_model
from gpt_lightning.weights.starting import read_initial_weights
from tests.selections import seldom
from tests.training.forked import TINY, run_child, write_corpus
from tests.training.test_resume_exact import assert_equal, outcome
from tests.training.together import fit, run_together

STEPS = 6
GPT2 = {"model": {"config": {"dropout": 0.0}}, "trainer": {"max_steps": STEPS}}
MODERN = {
    "model": {
        "config": {
            "n_head": 4,
            "n_kv_head": 2,
            "n_embd": 32,
            "head_dim": 12,
            "norm": "rms",
            "mlp": "swiglu",
            "rope_theta": 10000.0,
            "qk_norm": True,
            "bias": False,
            "tie_embeddings": False,
            "value_embeddings": True,
            "smear": True,
            "bigram_rows": 64,
            "dropout": 0.0,
        }
    },
    "trainer": {"max_steps": STEPS},
}
GRID = {"class_path": "ModelParallelStrategy", "init_args": {"data_parallel_size": 2, "tensor_parallel_size": 2}}
ONE = {"devices": 1, "accumulate_grad_batches": 2}
FSDP2 = {"devices": 2, "strategy": "fsdp2"}
TP = {"devices": 2, "strategy": "tp", "accumulate_grad_batches": 2}
BOTH = {"devices": 4, "strategy": GRID}


def changed(settings: dict[str, Any], trainer: dict[str, Any], **model: Any) -> dict[str, Any]:
    return {"model": {**settings["model"], **model}, "trainer": {**settings["trainer"], **trainer}}


def curve(folder: Path) -> dict[str, list[float]]:
    names = ("train/loss", "optim/grad_norm", "val/loss")
    return {name: [line[name] for line in read_metrics(folder) if name in line] for name in names}


def assert_same_curve(folder: Path, other: Path) -> None:
    one, two = curve(folder), curve(other)
    for name, values in one.items():
        assert values
        assert two[name] == pytest.approx(values, rel=1e-6), name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def one(place: Path) -> Path:
    """GPT-2 on one process, to the end."""
    assert run_child(place, fit, place / "one", changed(GPT2, ONE), "never") == 0
    return place / "one"


@pytest.fixture(scope="module")
def modern(place: Path) -> Path:
    """Every option that changes the shapes, on one process."""
    assert run_child(place, fit, place / "modern", changed(MODERN, ONE), "never") == 0
    return place / "modern"


@pytest.fixture(scope="module")
def fsdp2(place: Path, one: Path) -> Path:
    assert run_together(place, 2, fit, place / "fsdp2", changed(GPT2, FSDP2), "never") == [0, 0]
    return place / "fsdp2"


@pytest.fixture(scope="module")
def grid(place: Path, modern: Path) -> Path:
    """2 x 2 processes: the pieces of queries, keys and values are cut in both ways."""
    assert run_together(place, 4, fit, place / "grid", changed(MODERN, BOTH), "never") == [0] * 4
    return place / "grid"


def test_fsdp2_has_the_curve_of_one_process(fsdp2: Path, one: Path) -> None:
    assert_same_curve(fsdp2, one)


@pytest.mark.slow
def test_tensor_parallel_has_the_curve_of_one_process(place: Path, one: Path) -> None:
    assert run_together(place, 2, fit, place / "tp", changed(GPT2, TP), "never") == [0, 0]
    assert_same_curve(place / "tp", one)


@pytest.mark.slow
def test_both_at_once_have_the_curve_of_one_process(grid: Path, modern: Path) -> None:
    assert_same_curve(grid, modern)


def first_checkpoint(folder: Path) -> Path:
    return list_checkpoints(folder / CHECKPOINTS_DIR)[0]


@pytest.mark.slow
def test_initial_values_are_those_of_one_process_bit_for_bit(place: Path) -> None:
    """With a learning rate of 0 the checkpoint holds them."""
    still = changed({**GPT2, "trainer": {"max_steps": 1}}, {}, optimizer={"lr": 0.0}, parametrization="MuP")
    assert run_child(place, fit, place / "still-one", changed(still, {"devices": 1}), "never") == 0
    assert run_together(
        place, 2, fit, place / "still-tp", changed(still, {"devices": 2, "strategy": "tp"}), "never"
    ) == [0, 0]
    alone, team = (dict(outcome(place / name)[1]["weights"]) for name in ("still-one", "still-tp"))
    assert_equal(team, alone)


def test_two_processes_go_on_as_one(place: Path, fsdp2: Path, one: Path) -> None:
    """What the pieces hold is what one process would have saved; then both go the same way."""
    checkpoint = first_checkpoint(fsdp2)
    settings = changed(GPT2, ONE)
    assert run_child(place, fit, place / "fsdp2-one", settings, str(checkpoint)) == 0
    assert_same_curve(place / "fsdp2-one", one)


@pytest.mark.slow
def test_one_process_goes_on_as_two(place: Path, fsdp2: Path, one: Path) -> None:
    checkpoint = first_checkpoint(one)
    assert run_together(place, 2, fit, place / "one-fsdp2", changed(GPT2, FSDP2), str(checkpoint)) == [0, 0]
    assert_same_curve(place / "one-fsdp2", one)


def test_the_same_processes_go_on_bit_for_bit(place: Path, fsdp2: Path) -> None:
    assert run_together(place, 2, fit, place / "again", changed(GPT2, FSDP2), str(first_checkpoint(fsdp2))) == [0, 0]
    assert_equal(outcome(place / "again"), outcome(fsdp2))


@pytest.mark.slow
def test_another_way_of_cutting_goes_on(place: Path, grid: Path, modern: Path) -> None:
    """2 x 2, then tensor parallelism alone, on the most complicated model."""
    settings = changed(MODERN, TP)
    assert run_together(place, 2, fit, place / "grid-tp", settings, str(first_checkpoint(grid))) == [0, 0]
    assert_same_curve(place / "grid-tp", modern)


@pytest.mark.parametrize("name", seldom("Muon", "Lion"))
def test_other_optimizers_on_shares(place: Path, name: str) -> None:
    settings = changed({**GPT2, "trainer": {"max_steps": 3}}, {}, optimizer=name)
    assert run_child(place, fit, place / f"{name}-one", changed(settings, ONE), "never") == 0
    assert run_together(place, 2, fit, place / f"{name}-two", changed(settings, FSDP2), "never") == [0, 0]
    assert_same_curve(place / f"{name}-two", place / f"{name}-one")


@pytest.mark.slow
def test_a_batch_ramp_is_the_same_for_a_team(place: Path) -> None:
    """Two processes of a team take one micro-batch together, so the ramp has as many of them as on one process."""
    ramp = {"class_path": "LinearRamp", "init_args": {"start_tokens": 64, "length": 2}}
    settings = {**GPT2, "data": {"global_batch_tokens": 128, "batch_ramp": ramp}, "trainer": {"max_steps": 4}}
    assert run_child(place, fit, place / "ramp-one", settings, "never") == 0
    team = {**settings, "trainer": {"max_steps": 4, "devices": 2, "strategy": "tp"}}
    assert run_together(place, 2, fit, place / "ramp-team", team, "never") == [0, 0]
    assert_same_curve(place / "ramp-team", place / "ramp-one")


@pytest.mark.slow
def test_mixed_precision_has_the_curve_of_one_process(place: Path) -> None:
    """Gathered in bfloat16, kept in float32. Sums of bfloat16 gradients over processes are float32, hence rel."""
    settings = changed({**GPT2, "trainer": {"max_steps": 3, "precision": "bf16-mixed"}}, {})
    assert run_child(place, fit, place / "mixed-one", changed(settings, ONE), "never") == 0
    assert run_together(place, 2, fit, place / "mixed-two", changed(settings, FSDP2), "never") == [0, 0]
    print(curve(place / "mixed-one"), curve(place / "mixed-two"))
    weights = outcome(place / "mixed-two")[1]["weights"]
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert_same_curve(place / "mixed-two", place / "mixed-one")


def fill_disk_of_one(folder: Path, settings: dict[str, Any]) -> None:
    """Process 1 cannot write the second checkpoint."""
    real = checkpoint_folder.write_tensors

    def write(path: Path, content: Any) -> dict[str, Any]:
        if path.name == "pieces-00001.pt" and "000000005" in path.parent.name:
            raise OSError(28, "No space left on device")
        return real(path, content)

    vars(sharded_strategy)["write_tensors"] = write
    fit(folder, settings, "never")


def test_a_process_that_cannot_write_stops_all_and_leaves_nothing_behind(place: Path) -> None:
    folder = place / "full"
    assert run_together(place, 2, fill_disk_of_one, folder, changed(GPT2, FSDP2)) == [4, 4]
    assert "the disk is full" in (place / "error.txt").read_text(encoding="utf-8")
    assert sorted(path.name for path in (folder / CHECKPOINTS_DIR).iterdir()) == ["step-000000003"]
    verify_checkpoint(folder / CHECKPOINTS_DIR / "step-000000003")


def test_a_refused_start_ends_all_processes(place: Path, fsdp2: Path) -> None:
    """The first finds a run in the folder; the others are told instead of waiting."""
    assert run_together(place, 2, fit, fsdp2, changed(GPT2, FSDP2), "never") == [3, 3]
    assert "already holds a run" in (place / "error.txt").read_text(encoding="utf-8")


def measure(folder: Path, settings: dict[str, Any], checkpoint: Path) -> None:
    run = build(TINY, settings, {"data.source": str(folder.parent / "corpus.txt")}, command="validate")
    values = run.validate(checkpoint)
    if run.trainer.is_global_zero:
        folder.write_text(json.dumps(values), encoding="utf-8")


def test_validation_on_shares_and_of_pieces(place: Path, grid: Path, modern: Path) -> None:
    """A checkpoint in pieces, read by one process, by two of a team, and by those of another run's whole one."""
    checkpoint = list_checkpoints(grid / CHECKPOINTS_DIR)[-1]
    assert run_child(place, measure, place / "alone.json", changed(MODERN, ONE), checkpoint) == 0
    assert run_together(place, 2, measure, place / "team.json", changed(MODERN, TP), checkpoint) == [0, 0]
    alone, team = (json.loads((place / name).read_text()) for name in ("alone.json", "team.json"))
    assert team == pytest.approx(alone, rel=1e-6)
    assert alone["val/loss"] == pytest.approx(curve(grid)["val/loss"][-1], rel=1e-6)


def test_export_puts_the_pieces_together(grid: Path, tmp_path: Path) -> None:
    """The folder and the file hold what the pieces hold, and the model loads from all three."""
    source = list_checkpoints(grid / CHECKPOINTS_DIR)[-1]
    export_checkpoint(str(source), str(tmp_path / "whole"), consolidate=True)
    export_checkpoint(str(source), str(tmp_path / "weights.pt"), consolidate=True)
    state = read_checkpoint(source)
    (whole,) = list_checkpoints(tmp_path / "whole" / CHECKPOINTS_DIR)
    assert sorted(path.name for path in whole.iterdir()) == ["manifest.json", "state.pt"]
    assert_equal(read_checkpoint(whole), state)
    assert (tmp_path / "whole" / "config.yaml").exists()
    one, other = load_model(source).model.state_dict(), load_model(tmp_path / "whole").model.state_dict()
    assert_equal(dict(one), dict(other))
    assert_equal(read_initial_weights(tmp_path / "weights.pt").weights, read_initial_weights(source).weights)


def test_export_refuses_what_it_does_not_know(grid: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either these or --consolidate"):
        export_checkpoint(str(grid), str(tmp_path / "whole"), consolidate=True, verify=True)
    with pytest.raises(CheckpointError, match="exists"):
        export_checkpoint(str(grid), str(tmp_path), consolidate=True)
    (tmp_path / "file").touch()
    for name in ("whole", "whole.pt"):
        with pytest.raises(CheckpointError, match="file is a file"):
            export_checkpoint(str(grid), str(tmp_path / "file" / name), consolidate=True)


def test_lost_pieces_are_noticed(grid: Path, tmp_path: Path) -> None:
    copy = tmp_path / "step-000000003"
    shutil.copytree(first_checkpoint(grid), copy)
    (copy / "pieces-00002.pt").unlink()
    with pytest.raises(CheckpointError, match=r"pieces-00002.pt is missing"):
        read_checkpoint(copy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainer.strategy": "tp", "trainer.devices": 3}, "n_head=2.*allowed: 1, 2"),
        ({"trainer.strategy": "tp", "model.config.n_head": 4, "model.config.n_kv_head": 1}, "n_kv_head=1"),
        ({"trainer.strategy": "tp", "model.optimizer": "Muon"}, "Muon needs whole matrices"),
        ({"trainer.strategy": "fsdp2", "model.ema_decay": 0.99}, "Leave model.ema_decay out"),
        ({"trainer.strategy": "fsdp2", "model.optimizer": "ScheduleFree"}, "The optimizer ScheduleFree needs every"),
        ({"trainer.strategy": "fsdp2", "model.nonfinite": "Rollback"}, "nonfinite Rollback needs .*nonfinite Skip"),
        ({"trainer.strategy": "fsdp2", "trainer.precision": "16-mixed"}, "bf16-mixed"),
        ({"trainer.strategy.class_path": "FSDPStrategy"}, "fsdp2"),
        ({"trainer.strategy": "fsdp_cpu_offload"}, "first generation.*fsdp2"),
        ({"trainer.strategy": "FSDP", "model.ema_decay": 0.99}, "Leave model.ema_decay out"),
        (
            {
                "trainer.strategy.class_path": "ModelParallelStrategy",
                "trainer.strategy.init_args.data_parallel_size": 2,
                "trainer.strategy.init_args.tensor_parallel_size": 3,
            },
            "2 x 3",
        ),
    ],
)
def test_what_cannot_be_sharded_is_refused_before_anything_is_built(
    place: Path, settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
    base = {"data.source": str(place / "corpus.txt"), "trainer.devices": 2}
    with pytest.raises(ConfigError, match=message):
        build(TINY, base, settings)

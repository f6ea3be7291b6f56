"""``plot-schedule`` through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import WSD
from gpt_lightning.training.profiling.plot_schedule import read_curve

_ROOT = Path(__file__).parents[2]


def test_curve_is_the_rate_of_the_run(tmp_path: Path) -> None:
    config = tmp_path / "wsd.yaml"
    config.write_text(
        "model: {schedule: {class_path: WSD, init_args: {decay: 25%, final_factor: 0.0}}, optimizer: {lr: 0.5}}\n"
        "trainer: {max_steps: 40, accumulate_grad_batches: 2}\ndata: {batch_size: 3, block_size: 5}\n"
    )
    curve = read_curve([f"--config={config}"], "wsd")
    expected = WSD(decay=10)
    assert curve.points == [(step + 1.0, 0.5 * expected.factor(step, Horizon(40, 1))) for step in range(40)]
    assert curve.name == "wsd: WSD, peak 0.5, 40 steps, 1,200 tokens"


def test_length_in_tokens_and_long_runs() -> None:
    curve = read_curve(["--run.max_tokens=100000", "--data.batch_size=1", "--data.block_size=10"], "long")
    assert curve.points[0][0] == 1
    assert curve.points[-1][0] == 10_000
    assert len(curve.points) <= 2001


def test_every_config_is_a_curve_and_settings_hold_for_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("model: {schedule: Linear, optimizer: {class_path: Muon, init_args: {lr: 0.02}}}\n")
    output = tmp_path / "new" / "rates.svg"
    args = ["--config", str(_ROOT / "configs/quickstart.yaml"), "-c", str(other), "--trainer.max_steps", "70"]
    assert main(["plot-schedule", *args, "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "a  quickstart: WSD" in shown
    assert "b  other: Linear, peak 0.02, 70 steps" in shown
    assert shown.count("70 steps,") == 2
    assert output.read_text().count('stroke-width="2.5"') == 2


def test_without_a_config_the_settings_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot-schedule", "--model.schedule", "Cyclic", "--trainer.max_steps", "50"]) == 0
    assert "settings: Cyclic, peak 0.001, 50 steps" in capsys.readouterr().out


def test_a_batch_ramp_is_told() -> None:
    settings = ["--data.batch_size=1", "--data.block_size=10", "--data.global_batch_tokens=40"]
    ramp = ["--data.batch_ramp=LinearRamp", "--data.batch_ramp.start_tokens=10", "--data.batch_ramp.length=6"]
    curve = read_curve([*settings, *ramp, "--trainer.max_steps=8"], "ramp")
    assert curve.name.endswith("8 steps, 200 tokens, batch 10 to 40 tokens from step 6 on")


@pytest.mark.parametrize(
    ("devices", "strategy", "steps"),
    [
        ("2", "ddp", 500),
        ("[0,1]", "ddp", 500),
        ("0,1", "ddp", 500),
        ("2", "fsdp2", 500),
        ("2", "tp", 1000),
        ("auto", "tp", 1000),
    ],
)
def test_processes_count_by_their_streams(devices: str, strategy: str, steps: int) -> None:
    data = ["--run.max_tokens=100000", "--data.batch_size=10", "--data.block_size=10"]
    curve = read_curve([*data, f"--trainer.devices={devices}", f"--trainer.strategy={strategy}"], "many")
    assert f"{steps:,} steps" in curve.name


def test_a_team_larger_than_this_machine_is_drawn_too() -> None:
    strategy = ["--trainer.strategy=ModelParallelStrategy", "--trainer.strategy.tensor_parallel_size=4"]
    assert (
        "50 steps, 5,000 tokens"
        in read_curve(
            [*strategy, "--trainer.max_steps=50", "--data.batch_size=10", "--data.block_size=10"], "large"
        ).name
    )


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--model.schedule", "WSD"], "depends on data: got 'trainer.max_epochs=None'"),
        (["--trainer.max_steps", "5", "--output", "a.gif"], "writes SVG and PNG: got 'a.gif'"),
        (["--trainer.max_steps", "5", "--model.schedle", "WSD"], "Did you mean --model.schedule?"),
        (["--config"], "expected one argument"),
        (["--trainer.max_steps", "5", "-o", "/dev/null/a.png"], "The picture cannot be written, "),
        (["--model.schedule", "Piecewise"], "Required: --model.schedule.points (allowed: "),
        (["--trainer.max_steps", "5", "--model.schedule", "WSD", "--model.schedule.decay", "9"], "longer than the run"),
    ],
)
def test_mistakes_are_one_line(args: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot-schedule", *args]) == 2
    message = capsys.readouterr().err
    assert part in message
    assert message.count("\n") == 1

"""What fit and its siblings answer before anything slow is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.expectations import list_settings
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.fitting.front import check_arguments
from gpt_lightning.training.fitting.help_pages import TOPICS, help_page
from gpt_lightning.training.fitting.options import class_settings, known_settings

MISTAKES = [
    ("fit", [], "fit alone would train GPT-2 with 124 million parameters. A first run"),
    (
        "fit",
        ["my.txt"],
        "To train on that text: gpt-lightning fit --config configs/quickstart.yaml --data.source my.txt.",
    ),
    ("fit", ["a.yaml"], "Write gpt-lightning fit --config a.yaml."),
    ("fit", ["quickstart"], "Write gpt-lightning fit --config configs/quickstart.yaml."),
    ("fit", ["runs/old-1"], "gpt-lightning fit --resume runs/old-1."),
    ("validate", ["runs/old-1"], "gpt-lightning validate --checkpoint runs/old-1."),
    ("fit", ["--learning_rate", "1e-3"], "--learning_rate (command line). Did you mean --model.optimizer.lr?"),
    ("fit", ["--learning-rate=1e-3"], "Did you mean --model.optimizer.lr?"),
    ("fit", ["--trainer.epochs", "3"], "Did you mean --trainer.max_epochs?"),
    ("fit", ["--trainer.max_step", "5"], "--trainer.max_step (command line). Did you mean --trainer.max_steps?"),
    ("fit", ["--trainer.fast_dev_run", "1"], "no setting trainer.fast_dev_run here. Use --trainer.max_steps 2"),
    ("fit", ["--data.zzz", "1"], "(allowed: block_size, batch_size"),
    ("fit", ["--model.optimizer.lrr", "1"], "Did you mean --model.optimizer.lr?"),
    ("fit", ["--model.optimizer=Muon", "--model.optimizer.momentun=1"], "Did you mean --model.optimizer.momentum?"),
    ("fit", ["--config", "a.yaml"], "no setting trainer.max_step (a.yaml:2). Did you mean trainer.max_steps?"),
    ("fit", ["--config", "quickstart"], "Did you mean configs/quickstart.yaml?"),
    ("predict", ["--generate.top_kk", "3"], "Did you mean --generate.top_k?"),
]
FINE = [
    ["--config", "configs/quickstart.yaml", "--model.optimizer.init_args.lr", "1e-3", "--print_config"],
    ["--model.optimizer.class_path=Muon", "--model.optimizer.momentum=0.9", "--monitor.alerts+=NonFinite"],
    ["--trainer.callbacks.dirpath", "x", "--data.mixture.sources.a.weight=1", "--model", "{config: {n_layer: 2}}"],
    ["--data", "{block_size: 8}", "--model.schedule.help", "WSD", "--model.config.n_layer", "-1"],
    ["-max_steps", "5"],  # refused later, by name
]
"""To be decided by the parser."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "configs").mkdir()
    shipped = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
    (tmp_path / "configs" / "quickstart.yaml").write_bytes(shipped.read_bytes())
    (tmp_path / "a.yaml").write_text("trainer:\n  max_step: 5\n", encoding="utf-8")
    (tmp_path / "runs" / "old-1" / "checkpoints").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["fit", "validate", "predict"])
def test_the_settings_are_those_of_the_parser(command: str) -> None:
    parser = TrainerCommandLine(command, []).parser
    assert known_settings(command).keys() - {"print_config"} == list_settings(parser).keys()


@pytest.mark.parametrize(("command", "args", "told"), MISTAKES)
def test_mistakes(command: str, args: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_arguments(command, args)
    assert told in str(refused.value)


@pytest.mark.parametrize("args", FINE)
def test_what_may_be_right_goes_on(args: list[str]) -> None:
    check_arguments("fit", args)


def test_arguments_of_classes_of_ones_own_are_left_to_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_TRUST_MODULES", "mine")
    check_arguments("fit", ["--model.optimizer=mine.Adam", "--model.optimizer.spin=1"])


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("GPT_LIGHTNING_TRIANER__MAX_STEPS", "GPT_LIGHTNING_TRAINER__MAX_STEPS"),
        ("GPT_LIGHTNING_TRAINER__MAX_STEP", "GPT_LIGHTNING_TRAINER__MAX_STEPS"),
        ("GPT_LIGHTNING_TRAINER_MAX_STEPS", "GPT_LIGHTNING_TRAINER__MAX_STEPS"),
        ("GPT_LIGHTNING_MODEL_CONFIG__N_LAYER", "GPT_LIGHTNING_MODEL__CONFIG__N_LAYER"),
        ("GPT_LIGHTNING_DATA__BLOKSIZE", "GPT_LIGHTNING_DATA__BLOCK_SIZE"),
    ],
)
def test_misspelt_variables(variable: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError) as refused:
        check_arguments("fit", ["--config=configs/quickstart.yaml"])
    assert f"The environment variable {variable} sets nothing" in str(refused.value)
    assert meant in str(refused.value)


@pytest.mark.parametrize("variable", ["CACHE", "CACHE_GB", "RUN_FOLDER", "TOP_K", "GENERATE__TOP_K", "STEP", "RUNS"])
def test_variables_of_others_are_left_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GPT_LIGHTNING_{variable}", "1")
    check_arguments("fit", ["--config=configs/quickstart.yaml"])


def test_a_variable_alone_may_say_what_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_CONFIG", "configs/quickstart.yaml")
    check_arguments("fit", [])


@pytest.mark.parametrize("topic", [each for each in TOPICS if each != "all"])
def test_topics(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help", topic]) == 0
    text = capsys.readouterr().out
    section = "model" if topic == "optim" else topic
    assert f"  --{section}." in text
    settings = known_settings("fit")
    wanted = [key for key in settings if key.startswith(f"{topic}.")]
    assert all(f"--{key}" in text for key in wanted)
    if topic == "optim":
        assert all(f" {name}" in text for name in class_settings(settings)["model.schedule"])


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_help_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, help_page("fit").splitlines()[6:-5])) <= max(50, min(columns, 100))


def test_no_such_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help", "dat"]) == 2
    assert "Did you mean --help data?" in capsys.readouterr().err


def test_nothing_heavy_is_imported() -> None:
    code = """if True:
        import sys
        from gpt_lightning.cli import main
        for args in (
            ["fit"], ["fit", "--lr", "1"], ["fit", "--help", "optim"], ["fit", "-c", "a.yaml"], ["doctor", "--help"],
            ["bench", "--trainer.max_step=3"], ["plot-schedule", "--help"], ["generate", "--help"], ["serve", "--help"],
            ["evaluate", "ppl", "run", "--outptu=x"], ["export", "--help"], ["sweep", "ladder", "--help"],
        ):
            assert main(args) == (2 if "--help" not in args else 0), args
        print(sorted({"torch", "lightning", "jsonargparse", "numpy", "rich"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['jsonargparse']", "for the rules of trust; a fifth of a second"

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.parser import StrictParserMixin
from gpt_lightning.parsing.strict_yaml import read_yaml
from tests.parsing.examples import Linear, Model, Shape, build_parser


def test_sources_merge_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_LR", "1e-5")
    monkeypatch.setenv("GPT_LIGHTNING_MODEL__SHAPE__N_HEAD", "8")
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("max_steps: 1\nmodel:\n  shape: {n_layer: 3, dropout: 1e-1}\n")
    second.write_text("max_steps: 2\nmodel:\n  shape: {n_layer: 5}\n")
    given = build_parser().parse_args(["-c", str(first), "-c", str(second), "--model.shape.n_layer", "7"])
    assert (given.lr, given.max_steps) == (1e-5, 2)
    assert vars(given.model.shape) == {"n_layer": 7, "n_head": 8, "bias": True, "dropout": 0.1, "name": None}


def test_classes_are_chosen_by_short_name() -> None:
    parser = build_parser()
    model = parser.instantiate(parser.parse_args(["--model.curve", "Linear", "--model.curve.decay", "9"])).model
    assert isinstance(model, Model)
    assert isinstance(model.curve, Linear)
    assert (model.curve.decay, model.shape) == (9, Shape())


def test_dumped_config_reads_back_equal(tmp_path: Path) -> None:
    parser = build_parser()
    given = parser.parse_args(["--lr", "1e-3", "--source", "1e-3", "--model.curve=Linear", "--model.shape.name=no"])
    path = tmp_path / "config.yaml"
    path.write_text(parser.dump(given))
    again = parser.parse_args(["--config", str(path)])
    assert again.lr == 1e-3
    assert again.source == "1e-3"
    assert again.model == given.model
    assert read_yaml(path)["source"] == "1e-3"


@pytest.mark.parametrize("text", ["a: 1, a: 2", "{x", "# not a comment", "key: *x", "[1", "- -", "no", "12:30"])
def test_text_settings_take_any_text(text: str) -> None:
    assert build_parser().parse_args([f"--source={text}"]).source == text


def test_file_of_comments_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "defaults.yaml"
    path.write_text("# all defaults\n")
    assert build_parser().parse_args(["-c", str(path)]).max_steps == 100


def test_variables_of_other_commands_do_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_PROMPT", "x")
    monkeypatch.setenv("GPT_LIGHTNING_TRAINER__MAX_STEPS", "3")
    # Would reach a class anywhere below, if the parsers of single classes read the environment.
    monkeypatch.setenv("GPT_LIGHTNING_WARMUP", "77")
    given = build_parser().parse_args(["--model.curve", "Linear"])
    assert given.model.curve.init_args.warmup == 10


def test_error_of_a_constructor_passes_unchanged() -> None:
    parser = build_parser()
    given = parser.parse_args(["--model.tail.n_layer", "-3"])
    with pytest.raises(ConfigError, match=r"^n_layer is a count: got -3"):
        parser.instantiate(given)


def test_parse_object_raises_the_same_errors() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean --model\.shape\.n_layer\?"):
        build_parser().parse_object({"model": {"shape": {"n_layr": 3}}})


def test_room_imports_neither_torch_nor_lightning() -> None:
    code = "import sys, gpt_lightning.parsing.command; print({'torch', 'lightning', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


TRAINER = [
    ("--trainer.max_step=5", "There is no setting --trainer.max_step (command line). Did you mean --trainer.max_steps"),
    ("--max_steps=5", "Did you mean --trainer.max_steps?"),
    ("--trainer.max_steps=five", "got 'five' (allowed: a whole number)"),
    ("--trainer.precision=bf17", "got 'bf17' (allowed: 64, 32, 16 or "),
    ("--trainer.callbacks+=ModelChekpoint", "Did you mean ModelCheckpoint?"),
    ("--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitr=x", "Did you mean --trainer.callbacks.monitor?"),
    (
        "--trainer.logger=TensorboardLogger",
        "(one or a list) or true or false or null). Did you mean TensorBoardLogger?",
    ),
    ("--trainer.callbacks+=LambdaCallback --trainer.callbacks.on_fit_start=os.abort", "got 'os.abort'"),
    ("--trainer.strategy.foo=3", "There is no setting --trainer.strategy.foo"),
]


def test_trainer_arguments_of_lightning() -> None:
    from lightning.pytorch import Trainer
    from lightning.pytorch.cli import LightningArgumentParser

    class TrainerParser(StrictParserMixin, LightningArgumentParser):
        pass

    def build() -> TrainerParser:
        parser = TrainerParser(prog="gpt-lightning fit")
        parser.add_argument("-c", "--config", action="config")
        parser.add_lightning_class_args(Trainer, "trainer")
        return parser

    for line, expected in TRAINER:
        with pytest.raises(ConfigError) as caught:
            build().parse_args(line.split(" "))
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    given = build().parse_args(["--trainer.max_steps", "5", "--trainer.callbacks+=ModelCheckpoint"])
    assert given.trainer.max_steps == 5
    assert given.trainer.callbacks[0].class_path == "lightning.pytorch.callbacks.ModelCheckpoint"

"""The user typed one letter wrong: one line, the whole key, where it came from, and what to type instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt_lightning import cli
from gpt_lightning.commands import COMMANDS, Command
from gpt_lightning.errors import ConfigError
from tests.parsing.examples import build_parser

FIT = "tests.parsing.test_mistakes"


def run_fit(command: str, args: list[str]) -> None:
    parser = build_parser()
    parser.instantiate(parser.parse_args(args))


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(COMMANDS, "fit", Command(FIT, "run_fit", "Train.", "Training", typed=False))
    monkeypatch.chdir(tmp_path)


COMMAND_LINE = [
    # misspelt keys: in each part, with a part missing, abbreviated, with dashes, with one dash, without dashes
    ("--max_step 5", "no setting --max_step (command line). Did you mean --max_steps?"),
    ("--max-steps 5", "Did you mean --max_steps?"),
    ("--maxsteps=5", "Did you mean --max_steps?"),
    ("--Max_Steps 5", "Did you mean --max_steps?"),
    ("-max_steps 5", "two dashes: got '-max_steps'. Did you mean --max_steps?"),
    ("max_steps=5", "two dashes: got 'max_steps=5'. Did you mean --max_steps?"),
    ("--lrr 1e-3", "Did you mean --lr?"),
    ("--n_layer 3", "Did you mean --model.shape.n_layer?"),
    ("--model.n_layer 3", "Did you mean --model.shape.n_layer?"),
    ("--model.shap.n_layer 3", "Did you mean --model.shape.n_layer?"),
    ("--modl.shape.n_layer 3", "Did you mean --model.shape.n_layer?"),
    ("--model.shape.n_layr 3", "Did you mean --model.shape.n_layer?"),
    ("--model.shape.n_layers 3", "Did you mean --model.shape.n_layer?"),
    ("--model.shape.n_layer=3 --model.shap.n_hed 3", "Did you mean --model.shape.n_head?"),
    ("--model.shape.zzz 3", "(allowed: n_layer, n_head, bias, dropout, name)"),
    ("--model.curve.warmp 3", "Did you mean --model.curve.warmup?"),
    ("--model.curve Linear --model.curve.deca 3", "Did you mean --model.curve.decay?"),
    ("--model.tail.n_haed 3", "Did you mean --model.tail.n_head?"),
    ("--warmup 3", "Did you mean --model.curve.warmup?"),
    ("--model.kind.x 3", "no setting --model.kind.x"),
    # wrong values
    ("--max_steps five", "--max_steps does not accept this value: got 'five' (allowed: a whole number)."),
    ("--max_steps 1e3", "got '1e3' (allowed: a whole number). For example --max_steps 1000."),
    ("--max_steps 0.5", "got '0.5' (allowed: a whole number)"),
    ("--max_steps", "--max_steps needs a value (allowed: a whole number). For example --max_steps 100."),
    ("--lr fast", "got 'fast' (allowed: a number). For example --lr 0.0003."),
    ("--lr 1e-3x", "got '1e-3x' (allowed: a number)"),
    ("--lr 0,001", "got '0,001' (allowed: a number)"),
    (
        "--model.shape.bias maybe",
        "--model.shape.bias does not accept this value: got 'maybe' (allowed: true or false).",
    ),
    ("--model.kind gtp", "got 'gtp' (allowed: gpt, bert)"),
    ("--model.betas [0.9]", "got '[0.9]' (allowed: a list of 2 values)"),
    ("--model.sizes 3,4", "--model.sizes '[3,4]'."),
    ("--model.sizes [a]", "got '[a]' (allowed: a list, each a whole number or null)"),
    ("--model.counts {a:b}", "(allowed: a mapping {name: value} or null)"),
    ("--model.tail.n_layer x", "--model.tail.n_layer does not accept this value: got 'x' (allowed: a whole number)"),
    ("--model.curve.warmup soon", "--model.curve.warmup does not accept this value: got 'soon'"),
    ("--model 3", "--model is a group of settings: got '3'"),
    ("--model.shape small", "is a group of settings: got 'small' (allowed: n_layer, n_head"),
    ("--model.shape.n_layer -1", "n_layer is a count: got -1 (allowed: >= 1). Say --model.shape.n_layer 2."),
    # wrong classes
    ("--model.curve Cosin", "got 'Cosin' (allowed: Cosine, Linear). Did you mean Cosine?"),
    ("--model.curve cosine", "Did you mean Cosine?"),
    ("--model.curve exponential", "got 'exponential' (allowed: Cosine, Linear)"),
    ("--model.curve Shape", "got 'Shape' (allowed: Cosine, Linear)"),
    ("--model.curves [Cosin]", "Did you mean Cosine?"),
    ("--model.curves+=Liner", "--model.curves does not accept this value: got 'Liner'"),
    ("--model.curve tests.parsing.examples.Cosin", "Did you mean Cosine?"),
    ("--model.curve tests.parsing.examples.Shape", "(allowed: Cosine, Linear)"),
    ("--model.curve.help Cosin", "--model.curve.help knows no such class: got 'Cosin'"),
    # code that must not be imported
    ("--model.curve antigravity.Cosine", "names code that a setting may not run: got 'antigravity.Cosine'"),
    ("--model.curve my_models.Wave", "If you trust it, set GPT_LIGHTNING_TRUST_MODULES=my_models."),
    ("--model.hook os.abort", "--model.hook names code that a setting may not run: got 'os.abort'"),
    ("--model.hook torch.hub.load", "a setting may not run: got 'torch.hub.load'"),
    # arguments that are no options
    ("quickstart.yaml", "Unexpected argument: got 'quickstart.yaml'. Options are written --name value"),
    ("--source my text.txt", "Unexpected argument: got 'text.txt'"),
    ("--print_config=al", "--print_config has no such flag: got 'al' (allowed: skip_default, skip_unset)"),
    # config files that are not there
    ("--config", "--config needs a file"),
    ("--config nowhere/quickstart.yaml", "does not exist, nor does its folder: got 'nowhere/quickstart.yaml'"),
    ("--config http://example.org/a.yaml", "does not exist"),
    ("--config .", "--config needs a file, not a folder: got '.'"),
    ("--config {lr: fast}", "--lr does not accept this value: got 'fast'"),
]

FILES = [
    ("lr: 1e-3\nmax_step: 5\n", "no setting max_step (run.yaml:2). Did you mean max_steps?"),
    (
        "model:\n  shap:\n    n_layer: 3\n",
        "no setting model.shap.n_layer (run.yaml:3). Did you mean model.shape.n_layer?",
    ),
    (
        "model:\n  shape:\n    n_layr: 3\n",
        "no setting model.shape.n_layr (run.yaml:3). Did you mean model.shape.n_layer?",
    ),
    ("model:\n  shape:\n    n_layer: two\n", "model.shape.n_layer in run.yaml:3 does not accept this value: got 'two'"),
    (
        "lr: fast\n",
        "lr in run.yaml:1 does not accept this value: got 'fast' (allowed: a number). For example lr: 0.0003.",
    ),
    ("model:\n  curve: Cosin\n", "model.curve in run.yaml:2 does not accept this value: got 'Cosin'"),
    ("model:\n  curve:\n    class_path: Cosin\n", "model.curve in run.yaml:3 does not accept this value"),
    (
        "model:\n  curve:\n    class_path: Linear\n    init_args:\n      floor: 1\n",
        "no setting model.curve.floor (run.yaml:5)",
    ),
    ("model:\n  curve:\n    warmup: soon\n", "model.curve.warmup in run.yaml:3 does not accept this value: got 'soon'"),
    (
        "model:\n  curve:\n    class_path: os.system\n",
        "model.curve in run.yaml:3 names code that a setting may not run",
    ),
    ("model: 3\n", "model in run.yaml:1 is a group of settings: got 3"),
    ("model:\n  shape: [3]\n", "model.shape in run.yaml:2 is a group of settings: got [3]"),
    ("- lr\n", "run.yaml is not a config file: got 'list'"),
    ("just words\n", "run.yaml is not a config file: got 'str'"),
    ("lr: 1\nlr: 2\n", "run.yaml:2: key 'lr' is given twice, in lines 1 and 2"),
    ("lr: [1\nmax_steps: 3\n", "run.yaml:2: "),
    ("lr: 1\n\tmax_steps: 3\n", "run.yaml:2: "),
    ("lr: !!python/object/apply:os.abort []\n", "run.yaml:1: tags that construct objects are refused"),
    ("a: &a [*a]\n", "run.yaml:1: an alias refers to the value it is part of"),
]


def check_line(code: int, error: str, expected: str) -> None:
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert expected in error


@pytest.mark.usefixtures("fit")
@pytest.mark.parametrize(("line", "expected"), COMMAND_LINE)
def test_command_line(line: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--config", line[9:]] if line.startswith("--config {") else line.split(" ")
    check_line(cli.main(["fit", *args]), capsys.readouterr().err, expected)


@pytest.mark.usefixtures("fit")
@pytest.mark.parametrize(("text", "expected"), FILES)
def test_config_file(text: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text(text)
    check_line(cli.main(["fit", "--config=run.yaml"]), capsys.readouterr().err, expected)


@pytest.mark.usefixtures("fit")
def test_missing_config_file_names_its_neighbour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "quickstart.yaml").write_text("lr: 1\n")
    (tmp_path / "other.yaml").write_text("lr: 1\n")
    code = cli.main(["fit", "-c", "quikstart.yaml"])
    check_line(code, capsys.readouterr().err, f"does not exist in {tmp_path}: got 'quikstart.yaml'. Did you mean quick")


@pytest.mark.usefixtures("fit")
@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MAX_STEPS", "five", "GPT_LIGHTNING_MAX_STEPS (max_steps) does not accept this value: got 'five'"),
        ("MODEL__SHAPE__BIAS", "on_", "For example GPT_LIGHTNING_MODEL__SHAPE__BIAS=true."),
        ("MODEL__SHAPE__N_LAYR", "3", "sets nothing. Did you mean GPT_LIGHTNING_MODEL__SHAPE__N_LAYER?"),
        ("TRUST_MODULES", "my models", "Only modules can be trusted: got 'my models'"),
        ("CONFIG", "nowhere.yaml", "The config file does not exist"),
    ],
)
def test_environment(
    variable: str,
    value: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"GPT_LIGHTNING_{variable}", value)
    check_line(cli.main(["fit"]), capsys.readouterr().err, expected)


@pytest.mark.usefixtures("fit")
def test_of_two_files_the_wrong_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.yaml").write_text("max_steps: 3\n")
    Path("bad.yaml").write_text("# a comment\nmax_steps: three\n")
    code = cli.main(["fit", "-c", "good.yaml", "-c", "bad.yaml", "--max_steps", "7"])
    check_line(code, capsys.readouterr().err, "max_steps in bad.yaml:2")


@pytest.mark.usefixtures("fit")
def test_message_of_a_future_jsonargparse_is_passed_on() -> None:
    with pytest.raises(ConfigError, match=r"^something new\.$"):
        build_parser().error("something new\n  with details")

"""fit, validate, test and predict as typed: what they print, write, and take from a run's own config."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.errors import DivergedError
from gpt_lightning.parsing.strict_yaml import dump_yaml, load_yaml, read_yaml
from gpt_lightning.training.modules.nonfinite import BadStep, Stop
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.selections import seldom
from tests.training.forked import TINY, write_corpus


def write_config(folder: Path) -> None:
    data = {**TINY["data"], "source": "corpus.txt", "test_fraction": 0.2}
    trainer = {**TINY["trainer"], "max_steps": 4}
    run = {**TINY["run"], "sample_tokens": 5, "expected_val_loss": 5.0}
    text = dump_yaml({**TINY, "data": data, "trainer": trainer, "run": run})
    (folder / "tiny.yaml").write_text(text, encoding="utf-8")


CALM = ["--model.optimizer.lr=1e-3", "--trainer.gradient_clip_val=0.5", "--model.schedule.warmup=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    write_corpus(folder)
    write_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        assert main(["fit", "--config=tiny.yaml"]) == 0
    return folder


@pytest.fixture(autouse=True)
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "place"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


def told(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert main(list(args)) == 0
    return capsys.readouterr().out


def values(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(\S+/\S+) +(\S+)$", text, flags=re.MULTILINE)}


def test_fit_says_what_was_reached_and_what_to_type_next(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = told(capsys, "fit", "--config=tiny.yaml")
    loss = read_metrics(place / "runs" / "tiny-2")[-1]["val/loss"]
    assert re.search(r"model [\d,]+ parameters \| data [\d,]+ train .* \| 4 steps of 64 tokens", text)
    assert "Done: 4 steps, 256 tokens." in text
    assert f"Validation loss  {loss:.4f} nats per token   (expected 5.000, difference {loss - 5:+.3f})" in text
    assert "Bits per byte" in text
    assert "Sample (temperature 0.8, top-k 50):\nThe " in text
    assert "Run folder: runs/tiny-2" in text
    commands = re.findall(r"^  (monitor|report|generate|sweep) +(.+)$", text, flags=re.MULTILINE)
    assert [name for name, _ in commands] == ["monitor", "report", "generate", "sweep"]
    assert commands[2][1].startswith("gpt-lightning generate runs/tiny-2 ")
    assert commands[3][1].startswith("gpt-lightning sweep run tiny.yaml ")


def test_progress_goes_to_stderr_with_all_its_parts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config=tiny.yaml"]) == 0
    line = capsys.readouterr().err.strip().splitlines()[-1]
    loss = read_metrics(place / "runs" / "tiny-2")[-1]["val/loss"]
    assert re.fullmatch(rf"step 4/4  loss \S+  val {loss:.4f}  lr \S+  \S+ tokens/s  ETA 0:00", line)


def test_fit_without_validation_still_ends_well(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "fit", "--config=tiny.yaml", "--trainer.limit_val_batches=0")
    assert "Done: 4 steps" in text
    assert "Not validated" in text


def test_a_prompt_the_vocabulary_lacks_does_not_fail_a_finished_run(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, "fit", "--config=tiny.yaml", "--data.tokenizer=chars", "--run.prompt=\N{SNOWMAN}")
    assert "Done: 4 steps" in text
    assert re.search(r"No sample of run.prompt: Character .*U\+2603", text)


def test_what_to_type_next_can_be_typed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names with spaces, and a vocabulary that does not know run.prompt."""
    shutil.copy("tiny.yaml", "my tiny.yaml")
    args = ["--config=my tiny.yaml", "--data.tokenizer=chars", "--run.prompt=\N{SNOWMAN}", "--run.dir=runs/a 'b"]
    lines = re.findall(r"^  \w+ +gpt-lightning (.+)$", told(capsys, "fit", *args), flags=re.MULTILINE)
    words = [shlex.split(line) for line in lines]
    assert words[1] == ["runs", "report", "runs/a 'b"]
    assert words[3][:3] == ["sweep", "run", "my tiny.yaml"]
    assert words[2][:3] == ["generate", "runs/a 'b", "--prompt"]
    assert words[2][3] in (place / "corpus.txt").read_text(encoding="utf-8")
    assert told(capsys, *words[2], "--max_tokens=3")


def test_a_failure_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config=tiny.yaml", "--model.optimizer.lr=1e30", "--run.name=wild"]) == 4
    assert capsys.readouterr().err.count("Training stopped before step") == 1


def test_the_advice_after_a_failure_can_be_followed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(place / "runs/tiny-1/checkpoints/step-000000004")
    with pytest.raises(DivergedError) as told_so:
        Stop().meet(BadStep(4, math.nan, math.nan, 1.0), [])
    advice = shlex.split(str(told_so.value).partition("last checkpoint with ")[2].rstrip("."))
    assert main(["fit", "--config=tiny.yaml", "--resume=auto", *CALM]) == 3, "other settings are another run"
    assert "Done: 4 steps" in told(capsys, "fit", "--config=tiny.yaml", *advice, *CALM)
    rates = [line["optim/lr/matrix"] for line in read_metrics(place / "runs/tiny-1") if "optim/lr/matrix" in line]
    assert rates[-1] <= 1e-3 < rates[-2], "the new rate from step 4 on"


def test_a_run_that_skipped_to_its_end_has_no_sample(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After one step at such a rate every loss is NaN; the run ends, and says so instead of a traceback."""
    wild = ["--model.optimizer.lr=1e30", "--model.nonfinite=Skip", "--model.nonfinite.max_steps=99"]
    out = told(capsys, "fit", "--config=tiny.yaml", *wild, "--run.dir=wild", "--trainer.max_steps=4")
    assert "No sample of run.prompt: The model's logits are not finite" in out
    assert main(["generate", "wild", "--prompt=The "]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "earlier checkpoint" in said.err


def test_resume_of_a_finished_run_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "fit", "--config=tiny.yaml", "--resume=auto")
    assert "Nothing to do: runs/tiny-1 had already reached step 4." in text
    assert text.count("Sample") == 0
    assert "Nothing to do" in told(capsys, "fit", "--resume=runs/tiny-1"), "a run brings its own config"


def test_manifest_and_config_explain_the_run(place: Path) -> None:
    manifest = json.loads((place / "runs/tiny-1/manifest.json").read_text())
    (start,) = manifest["starts"]
    assert start["seed"] == 1337
    assert start["resumed_step"] is None
    assert re.fullmatch(r"[0-9a-f]{64}", start["data_fingerprint"])
    config = read_yaml(place / "runs/tiny-1/config.yaml")
    assert config["model"]["config"]["vocab_size"] == 257, "what was taken from the data is written down"
    assert config["trainer"]["max_steps"] == 4


def test_validate_needs_nothing_but_the_checkpoint(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its number is the one that training logged at the same step."""
    found = values(told(capsys, "validate", "--checkpoint=runs/tiny-1/checkpoints/step-000000004"))
    logged = [line for line in read_metrics(place / "runs/tiny-1") if "val/loss" in line][-1]
    assert found.keys() == {"val/loss", "val/perplexity", "val/bits_per_byte"}
    for name, value in found.items():
        assert value == pytest.approx(logged[name], rel=1e-6, abs=1e-6)


def test_test_measures_the_test_split(capsys: pytest.CaptureFixture[str]) -> None:
    found = values(told(capsys, "test", "--checkpoint", "runs/tiny-1"))
    assert found.keys() == {"test/loss", "test/perplexity", "test/bits_per_byte"}
    assert found["test/perplexity"] == pytest.approx(math.exp(found["test/loss"]), rel=1e-4)
    assert found["test/loss"] != values(told(capsys, "validate", "--checkpoint", "runs/tiny-1"))["val/loss"]


@pytest.mark.parametrize("batch_size", [7, *seldom(1)])
def test_predictions_cover_the_split_and_agree_with_validation(
    place: Path, capsys: pytest.CaptureFixture[str], batch_size: int
) -> None:
    """Every window in order, every token once; their mean is the validation loss."""
    output = told(capsys, "predict", "--checkpoint=runs/tiny-1", f"--data.eval_batch_size={batch_size}").strip()
    assert output == "runs/tiny-1/predictions.jsonl"
    lines = [json.loads(line) for line in Path(output).read_text(encoding="utf-8").splitlines()]
    assert [line["window"] for line in lines] == list(range(len(lines)))
    assert all(len(line["tokens"]) == len(line["log_probabilities"]) for line in lines)
    assert all(value <= 0 for line in lines for value in line["log_probabilities"])
    assert "".join(line["text"] for line in lines) in (place / "corpus.txt").read_text(encoding="utf-8")
    scores = [value for line in lines for value in line["log_probabilities"]]
    loss = values(told(capsys, "validate", "--checkpoint=runs/tiny-1"))["val/loss"]
    assert -sum(scores) / len(scores) == pytest.approx(loss, abs=1e-5)
    first = lines[0]
    assert first["loss"] == pytest.approx(-sum(first["log_probabilities"]) / len(first["tokens"]), abs=1e-5)


def test_print_config_can_be_read_back(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = told(capsys, "fit", "--config=tiny.yaml", "--model.optimizer.lr=0.5", "--print_config")
    (place / "printed.yaml").write_text(printed, encoding="utf-8")
    assert load_yaml(printed)["model"]["optimizer"]["init_args"]["lr"] == 0.5
    assert told(capsys, "fit", "--config=printed.yaml", "--print_config") == printed


def test_environment_variables_name_and_shorten_a_run(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_RUN__NAME", "first")
    monkeypatch.setenv("GPT_LIGHTNING_SEED_EVERYTHING", "3")
    assert "Run folder: runs/first-1" in told(capsys, "fit", "--config=tiny.yaml")
    assert json.loads((place / "runs/first-1/manifest.json").read_text())["starts"][0]["seed"] == 3


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_lists_the_settings(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, command, "--help")
    for setting in ("--config", "--model.config.n_layer", "--data.source", "--trainer.max_steps", "--run.dir"):
        assert setting in text
    assert len(text.splitlines()) < 80, "a first page"
    assert "--help data|model|optim|trainer|run|monitor|all" in text
    options = set(re.findall(r"^ {1,6}(--\w+)", text, flags=re.MULTILINE))
    assert ("--resume" in options) == ("--init_from" in options) == (command == "fit")
    assert ("--checkpoint" in options) == (command != "fit")

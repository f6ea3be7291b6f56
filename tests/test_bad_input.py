"""What a person can do wrong, end to end: one line, the value, the way out, exit code 2 or 3, no traceback.

Every case runs the command line in process on a text of two kilobytes and a model of a few thousand parameters. The
second process on a run folder is tested in ``tests/training/test_stopping.py``, since it needs one.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from gpt_lightning.cli import main
from gpt_lightning.training.fitting.command_line import TrainerParser
from tests.training.forked import TINY, write_corpus


def write_config(folder: Path) -> Path:
    """TINY for two steps on ``corpus.txt``, as a file."""
    settings = {
        **TINY,
        "data": {**TINY["data"], "source": "corpus.txt"},
        "trainer": {**TINY["trainer"], "max_steps": 2},
    }
    path = folder / "tiny.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, a config, a store and a finished run; copied for every test."""
    folder = tmp_path_factory.mktemp("prepared")
    write_corpus(folder)
    write_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        made = ["--source=corpus.txt", "--tokenizer=bytes", "--val_fraction=0.1", "--store=store"]
        assert main(["prepare", *made]) == 0
        assert main(["fit", "--config=tiny.yaml", "--data.store=store", "--run.dir=done"]) == 0
    return folder


@pytest.fixture(autouse=True)
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "place"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder


Refusal = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run a command that must fail; what it told."""

    def run(*args: str, code: int) -> str:
        capsys.readouterr()
        assert main(list(args)) == code
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert told.count("\n") == 1, told
        assert "Traceback" not in told
        return told

    return run


def fit(*args: str) -> list[str]:
    return ["fit", "--config=tiny.yaml", *args]


def assert_told(text: str, *parts: str) -> None:
    missing = [part for part in parts if part not in text]
    assert not missing, f"{missing} not in: {text}"


def skip_where_there_is(args: list[str]) -> None:
    """Asking for a GPU is a mistake only where there is none."""
    if torch.accelerator.is_available() and any("gpu" in arg or "cuda" in arg for arg in args):
        pytest.skip("this machine has an accelerator")


FILES = [
    ("model:\n  config:\n    n_layr: 3\n", ["model.config.n_layr (bad.yaml:3)", "Did you mean model.config.n_layer?"]),
    ("trainer:\n  max_step: 3\n", ["trainer.max_step (bad.yaml:2)", "Did you mean trainer.max_steps?"]),
    ("trainer:\n  max_steps: soon\n", ["trainer.max_steps in bad.yaml:2", "'soon'", "a whole number"]),
    ("model:\n  schedule: Cosin\n", ["bad.yaml:2", "'Cosin'", "Constant, Cosine", "Did you mean Cosine?"]),
    ("trainer: 5\n", ["trainer in bad.yaml:1", "got 5", "accelerator"]),
    ("trainer:\n  max_steps: 3\n  max_steps: 4\n", ["bad.yaml:3", "'max_steps' is given twice, in lines 2 and 3"]),
    ("trainer:\n\tmax_steps: 3\n", ["bad.yaml:2", "the line is indented by a tab"]),
    ("- a\n- b\n", ["bad.yaml", "'list'", "key: value"]),
    ("a: !!python/object/apply:os.system [ls]\n", ["bad.yaml:1", "tags that construct objects are refused"]),
]


@pytest.mark.parametrize(("text", "parts"), FILES, ids=range(len(FILES)))
def test_mistake_in_a_file_names_file_and_line(place: Path, refused: Refusal, text: str, parts: list[str]) -> None:
    (place / "bad.yaml").write_text(text, encoding="utf-8")
    assert_told(refused(*fit("--config=bad.yaml"), code=2), *parts)


def test_alias_bomb_is_refused_in_under_a_second(place: Path, refused: Refusal) -> None:
    levels = "abcdefghijklmnop"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise(levels)]
    (place / "bomb.yaml").write_text("\n".join(lines), encoding="utf-8")
    start = time.perf_counter()
    told = refused(*fit("--config=bomb.yaml"), code=2)
    assert time.perf_counter() - start < 1
    assert_told(told, "bomb.yaml:", "aliases")


SETTINGS: list[tuple[int, list[str], list[str]]] = [
    # the command line
    (2, ["--trainer.max_step=5"], ["--trainer.max_step ", "Did you mean --trainer.max_steps?"]),
    (2, ["--res=auto"], ["--res ", "Did you mean", "--resume?"]),
    (2, ["--model.config.n_layer=two"], ["--model.config.n_layer", "'two'", "a whole number"]),
    (2, ["--model.optimizer=Adamm"], ["'Adamm'", "AdamW", "Did you mean AdamW?"]),
    (2, ["--model.schedule=torch.nn.Linear"], ["'torch.nn.Linear'", "Cosine"]),
    (2, ["--config=tinny.yaml"], ["'tinny.yaml'", "Did you mean tiny.yaml?"]),
    (2, ["stray"], ["'stray'", "--name value"]),
    # text
    (3, ["--data.source=nowhere.txt"], ["'nowhere.txt'", "corpus.txt"]),
    (3, ["--data.source=builtin:foo"], ["'builtin:foo'", "builtin:pydoc"]),
    (3, ["--data.source=[]"], ["got []", "--data.source"]),
    # sizes
    (3, ["--data.block_size=4000"], ["4000", "block_size from 1 to 2050"]),
    (2, ["--model.config.block_size=8"], ["got 16", "1 to 8", "--data.block_size 8"]),
    (3, ["--model.config.vocab_size=100"], ["token id 256", "got 100", "vocab_size >= 257"]),
    (3, ["--data.batch_size=400"], ["400 windows", "only 127", "batch_size to 127"]),
    (2, ["--model.config.n_head=3"], ["n_embd", "got 16", "multiples of 3", "15 or 18"]),
    (2, ["--model.config.dropout=1.5"], ["dropout", "1.5", "0 <= dropout < 1"]),
    # training
    (2, ["--model.optimizer.lr=-0.1"], ["optimizer.lr", "-0.1", "0 or more"]),
    (2, ["--model.schedule.warmup=500"], ["500 steps", "at most 2 steps"]),
    (
        2,
        ["--trainer.max_steps=10", "--model.schedule=WSD", "--model.schedule.warmup=6", "--model.schedule.decay=6"],
        ["6"],
    ),
    (2, ["--run.max_tokens=100"], ["trainer.max_steps", "run.max_tokens", "one of"]),
    (2, ["--run.validate_every=0"], ["run.validate_every", "got 0", "100%"]),
    (2, ["--trainer.gradient_clip_val=-1"], ["trainer.gradient_clip_val", "-1", "above 0"]),
    (2, ["--seed_everything=-1"], ["seed_everything", "-1", "0 to 4294967295"]),
    # machine
    (2, ["--trainer.accelerator=gpu"], ["gpu", "This machine has: cpu", "trainer.accelerator"]),
    (2, ["--trainer.devices=0"], ["devices='0'", "devices"]),
    (2, ["--trainer.strategy=ddpp"], ["ddpp", "strategy"]),
    (2, ["--trainer.precision=16-mixed"], ["16-mixed", "CPU", "precision"]),
    # folders
    (3, ["--run.dir=corpus.txt"], ["corpus.txt is a file", "--run.dir"]),
    (3, ["--run.dir=corpus.txt/below"], ["corpus.txt/below", "cannot be written", "--run.dir"]),
    (3, ["--run.dir=done"], ["done already holds a run", "--resume auto"]),
    (2, ["--run.dir="], ["run.dir is empty", "--run.dir runs/NAME"]),
    (2, ["--run.name=a/b"], ["run.name", "'a/b'", "--run.dir"]),
    # what exists
    (
        3,
        ["--data.store=store", "--data.tokenizer=chars"],
        ["Store store", "'bytes' there, 'chars' wanted", "--data.store"],
    ),
    (3, ["--resume=nowhere"], ["No usable checkpoint in nowhere", "gpt-lightning fit"]),
    (2, ["--resume="], ["--resume is empty", "--resume auto"]),
    (3, ["--init_from=nowhere"], ["No usable checkpoint in nowhere"]),
    (3, ["--init_from=corpus.txt"], ["corpus.txt is not a torch checkpoint", "torch.save"]),
    (3, ["--init_from=done", "--model.config.n_layer=3"], ["another architecture", "blocks.2", "model.config"]),
    (2, ["--init_from=done", "--resume=done"], ["--init_from", "--resume", "one of them"]),
    (3, ["--resume=done", "--model.config.n_layer=3"], ["model.config.n_layer: 2 -> 3", "--init_from", "drop them"]),
    (3, ["--resume=done", "--data.source=other.txt"], ["data_fingerprint", "->", "--init_from"]),
]
SELDOM: list[tuple[int, list[str], list[str]]] = [
    (2, ["--model.schedule=os.system"], ["'os.system'"]),
    (3, ["--data.source=*.md"], ["'*.md'", "No file matches", "corpus.txt"]),
    (3, ["--data.tokenizer=gpt22"], ["'gpt22'", "Did you mean gpt2?"]),
    (2, ["--data.val_fraction=1.5"], ["data.val_fraction", "1.5", "0 <= share < 1"]),
    (2, ["--data.predict_split=vall"], ["'vall'", "train, val, test"]),
    (2, ["--data.batch_size=0"], ["data.batch_size", "got 0", ">= 1"]),
    (2, ["--model.optimizer.lr=nan"], ["--model.optimizer.lr", "'nan'", "a number"]),
    (2, ["--model.schedule.warmup=soon"], ["schedule.warmup", "'soon'", "20M tokens"]),
    (2, ["--trainer.max_steps=0"], ["trainer.max_steps", "got 0", ">= 1"]),
    (2, ["--run.save_every=often"], ["run.save_every", "'often'"]),
    (2, ["--trainer.accumulate_grad_batches=0"], ["trainer.accumulate_grad_batches", "got 0", ">= 1"]),
    (2, ["--trainer.log_every_n_steps=0"], ["trainer.log_every_n_steps", "got 0", ">= 1"]),
    (2, ["--trainer.accelerator=cuda"], ["cuda", "This machine has: cpu", "trainer.accelerator"]),
    (2, ["--trainer.accelerator=tpuu"], ["tpuu", "trainer.accelerator"]),
    (2, ["--trainer.precision=8-bit"], ["--trainer.precision", "'8-bit'", "bf16-mixed"]),
    (3, ["--run.dir=/proc/new"], ["/proc/new", "cannot be written", "--run.dir"]),
    (2, ["--run.keep_checkpoints=0"], ["run.keep_checkpoints", "got 0", ">= 1"]),
    (3, ["--data.store=/proc/new"], ["/proc", "--data.store"]),
    (3, ["--resume=store"], ["No usable checkpoint in store", "gpt-lightning fit"]),
    (3, ["--resume=https://example.com/run"], ["'https://example.com/run'", "Download it first"]),
]
"""Of a kind that a row above has already."""
MISTAKES = [
    pytest.param(*row, id=" ".join(row[1]), marks=[pytest.mark.slow] if row in SELDOM else [])
    for row in (*SETTINGS, *SELDOM)
]


@pytest.mark.parametrize(("code", "args", "parts"), MISTAKES)
def test_mistake_in_a_setting_of_fit(
    place: Path, refused: Refusal, code: int, args: list[str], parts: list[str]
) -> None:
    (place / "other.txt").write_text((place / "corpus.txt").read_text().replace("word1", "WORD1"), encoding="utf-8")
    skip_where_there_is(args)
    assert_told(refused(*fit(*args), code=code), *parts)
    assert not (place / "runs").exists(), "a refused run left a folder behind"


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        pytest.param(key, instead, id=key, marks=[pytest.mark.slow] if number % 5 else [])
        for number, (key, instead) in enumerate(TrainerParser.replaced.items())
    ],
)
def test_trainer_option_that_is_replaced_names_the_replacement(refused: Refusal, key: str, instead: str) -> None:
    assert_told(refused(*fit(f"--{key}=1"), code=2), key, instead)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("", ["The corpus is empty", "text.txt", "--data.source"]), ("Too short", ["9 tokens", "got 16", "1 to 8"])],
    ids=["empty", "short"],
)
def test_text_with_nothing_to_learn(place: Path, refused: Refusal, text: str, parts: list[str]) -> None:
    (place / "text.txt").write_text(text, encoding="utf-8")
    assert_told(refused(*fit("--data.source=text.txt"), code=3), *parts)


def truncate(data: bytes) -> bytes:
    return data[:-10]


def flip_a_bit(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize(
    ("damage", "part", "split"),
    [
        (truncate, "is truncated", "train"),
        (flip_a_bit, "CRC-32", "val"),
        pytest.param(truncate, "is truncated", "val", marks=pytest.mark.slow),
        pytest.param(flip_a_bit, "CRC-32", "train", marks=pytest.mark.slow),
    ],
)
def test_damaged_shard(place: Path, refused: Refusal, damage: Callable[[bytes], bytes], part: str, split: str) -> None:
    shard = place / "store" / f"tokens-{split}-00000.bin"
    shard.write_bytes(damage(shard.read_bytes()))
    assert_told(refused(*fit("--data.store=store"), code=3), shard.name, part, "--rebuild")


def test_resume_of_a_damaged_checkpoint(place: Path, refused: Refusal) -> None:
    state = place / "done" / "checkpoints" / "step-000000002" / "state.pt"
    state.write_bytes(flip_a_bit(state.read_bytes()))
    told = refused(*fit("--data.store=store", "--run.dir=done", "--resume=auto"), code=3)
    assert_told(told, "done", "SHA-256", "start a new run")


def test_change_of_architecture_cannot_be_allowed_away(refused: Refusal) -> None:
    changed = ["--trainer.max_steps=3", "--model.config.n_layer=3", "--resume=done", "--data.store=store"]
    told = refused(*fit(*changed, "--run.allow_changes=[model.config.n_layer,trainer.max_steps]"), code=3)
    assert_told(told, "another architecture", "blocks.2")


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("GPT_LIGHTNING_TRAINER__MAX_STEP", "3", ["GPT_LIGHTNING_TRAINER__MAX_STEP sets nothing", "MAX_STEPS"]),
        ("GPT_LIGHTNING_TRAINER__MAX_STEPS", "soon", ["GPT_LIGHTNING_TRAINER__MAX_STEPS", "'soon'"]),
    ],
)
def test_environment_variable(
    refused: Refusal, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, parts: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    assert_told(refused("fit", code=2), *parts)


OTHERS: list[tuple[int, list[str], list[str]]] = [
    (2, ["generate"], ["--checkpoint"]),
    (3, ["generate", "nowhere"], ["No usable checkpoint in nowhere"]),
    (3, ["generate", "http://example.com/x.ckpt"], ["'http://example.com/x.ckpt'", "Download it first"]),
    (2, ["generate", "done", "--promt=x"], ["--promt", "Did you mean --prompt?"]),
    (2, ["generate", "done", "extra"], ["'extra'"]),
    (2, ["generate", "done", "--temperature=-1"], ["temperature", "-1", "0 or more"]),
    (2, ["generate", "done", "--temperature=nan"], ["temperature", "'nan'"]),
    (2, ["generate", "done", "--temperature=hot"], ["temperature", "'hot'", "a number"]),
    (2, ["generate", "done", "--top_k=0"], ["top_k", "got 0", "1 or more"]),
    (2, ["generate", "done", "--top_p=1.5"], ["top_p", "1.5", "at most 1"]),
    (2, ["generate", "done", "--max_tokens=-1"], ["max_tokens", "-1", "0 or more"]),
    (2, ["generate", "done", "--num_samples=0"], ["num_samples", "got 0", ">= 1"]),
    (2, ["generate", "done", "--prefer=worst"], ["'worst'", "best, last"]),
    (2, ["generate", "done", "--device=cuda"], ["'cuda'", "auto, cpu", "--device cpu"]),
    (2, ["generate", "done", "--device=cpu:x"], ["'cpu:x'", "auto, cpu", "--device cpu"]),
    (2, ["generate", "done", "--device=warp"], ["'warp'", "auto, cpu", "--device cpu"]),
    (2, ["validate", "--config=tiny.yaml"], ["validate needs a trained model", "--checkpoint"]),
    (3, ["validate", "--checkpoint=nowhere"], ["No usable checkpoint in nowhere"]),
    (3, ["validate", "--checkpoint=done", "--model.config.n_layer=3"], ["another architecture", "blocks.2"]),
    (3, ["validate", "--checkpoint=done", "--data.store=null", "--data.tokenizer=chars"], ["bytes", "chars"]),
    (3, ["test", "--checkpoint=done", "--data.store=store"], ["'test'", "--data.test_fraction"]),
    (2, ["predict", "--checkpoint=done", "--data.predict_split=foo"], ["'foo'", "train, val, test"]),
    (2, ["prepare", "--sourc=x"], ["--sourc", "Did you mean --source?"]),
    (3, ["prepare", "--source=nowhere"], ["'nowhere'", "corpus.txt"]),
]


@pytest.mark.parametrize(("code", "args", "parts"), OTHERS, ids=[" ".join(args) for _, args, _ in OTHERS])
def test_mistake_in_another_command(refused: Refusal, code: int, args: list[str], parts: list[str]) -> None:
    skip_where_there_is(args)
    assert_told(refused(*args, code=code), *parts)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--run.dir=done"], "done already holds a run. Go on with it: --resume auto."),
        (["--run.dir=corpus.txt"], "run.dir corpus.txt is a file"),
        (["--resume=nowhere"], "nowhere"),
        (["--resume=done", "--run.dir=done2"], "done2 already holds a run"),
    ],
)
def test_where_to_write_is_refused_before_the_text_is_prepared(
    refused: Refusal, args: list[str], told: str, place: Path
) -> None:
    shutil.copytree("done", "done2")
    (place / "new.txt").write_text("new words\n\n" * 200, encoding="utf-8")
    assert told in refused(*fit("--data.source=new.txt", *args), code=3)
    assert not any("new" in path.name for path in (place.parent / "cache").rglob("*"))


@pytest.mark.parametrize(
    "name", ["-rf", "a\nb", *(pytest.param(n, marks=pytest.mark.slow) for n in ("\t", " ", "a/b", ".."))]
)
def test_names_that_nobody_can_type(refused: Refusal, name: str) -> None:
    assert "run.name is not the name of a folder" in refused(*fit(f"--run.name={name}"), code=2)


def test_a_run_is_no_store(refused: Refusal) -> None:
    for args in (["data", "info", "done"], fit("--data.store=done")):
        told = refused(*args, code=3)
        assert "done is the folder of a run, not a store of tokens" in told
        assert "delete" not in told.lower()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--trainer.precision=fp8"], "For example --trainer.precision bf16-mixed."),
        (["--trainer.max_steps=1e3"], "For example --trainer.max_steps 1000."),
        (["--monitor.prompts=a"], "For example --monitor.prompts '[a]'."),
        (["--model.optimizer.betas=0.9,0.95"], "For example --model.optimizer.betas '[0.9,0.95]'."),
    ],
)
def test_examples_are_what_was_meant(refused: Refusal, args: list[str], told: str) -> None:
    assert told in refused(*fit(*args), code=2)

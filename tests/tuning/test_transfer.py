"""Transfers: a known landscape gives a known regret; the command trains, is started again, and refuses nonsense."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpt_lightning.cli import main
from gpt_lightning.errors import ConfigError, TrainingError
from gpt_lightning.tuning.scaling.fixed_trials import FixedTrials, Outcome
from gpt_lightning.tuning.scaling.transfer import TransferSpec, describe_verdicts, read_transfer, transfer
from tests.training.forked import TINY, write_corpus

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = {
    "name": "moved",
    "base": ["base.yaml"],
    "proxy": {"model.config.n_embd": 8},
    "target": {"model.config.n_embd": 16},
    "variants": {
        "standard": {},
        "mup": {"model.parametrization": {"class_path": "MuP", "init_args": {"base_width": 8}}},
    },
    "parameters": {"model.optimizer.lr": {"values": [1e-3, 1e-2, 1e-1]}},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "cache"))
    write_corpus(tmp_path)
    base = {**TINY, "data": {**TINY["data"], "source": "corpus.txt"}, "trainer": {**TINY["trainer"], "max_steps": 3}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    return tmp_path


def write(**changes: Any) -> Path:
    path = Path("transfer.yaml")
    path.write_text(yaml.safe_dump({**FILE, **changes}), encoding="utf-8")
    return path


class _Known(FixedTrials):
    """A valley whose bottom moves from lr 0.1 x decay 0.4 at the proxy to 0.4 x 0.1 at the target."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def train(self, name: str, settings: Any, at: tuple[int, ...] = ()) -> Outcome:
        self.names.append(name)
        bottom = (0.1, 0.4) if settings["width"] == 1 else (0.4, 0.1)
        x, y = (math.log2(settings[key] / best) for key, best in zip(("lr", "decay"), bottom, strict=True))
        loss = 2.0 + 0.1 * x * x + 0.05 * y * y if settings["lr"] < 3 else math.inf
        return Outcome(name, loss, 1, 1, 1, 0)


def known(rates: list[float]) -> TransferSpec:
    grid: dict[str, list[Any]] = {"lr": rates, "decay": [0.05, 0.1, 0.2, 0.4]}
    return TransferSpec("known", (), {"width": 1}, {"width": 2}, {"plain": {}}, grid, "val/loss", 1)


def test_a_known_valley_gives_a_known_regret() -> None:
    trials = _Known()
    verdict = transfer(known([0.05, 0.1, 0.2, 0.4, 0.8, 3.2]), "plain", trials, lambda _: None)
    assert verdict.transferred == {"lr": 0.1, "decay": 0.4}
    assert verdict.tuned == {"lr": 0.4, "decay": 0.1}
    assert verdict.target_loss == pytest.approx(2 + 0.1 * 4 + 0.05 * 4)
    assert verdict.regret == pytest.approx(0.6)
    assert verdict.at_edge == []
    assert len(trials.names) == len(set(trials.names)) == 24 + verdict.trials
    assert verdict.trials < 24
    assert "regret            0.6000 (30.00%)" in describe_verdicts(known([0.1]), [verdict])


def test_an_optimum_at_the_edge_of_the_grid_is_named() -> None:
    verdict = transfer(known([0.05, 0.1, 0.2]), "plain", _Known(), lambda _: None)
    assert (verdict.tuned["lr"], verdict.at_edge) == (0.2, ["lr"])


def test_a_proxy_that_never_ends_is_told() -> None:
    with pytest.raises(TrainingError, match="No run of the proxy of plain"):
        transfer(known([3.2, 6.4]), "plain", _Known(), lambda _: None)


def test_the_command_trains_and_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(parameters={"model.optimizer.lr": {"values": [1e-3, 1e-2]}}, variants={"mup": FILE["variants"]["mup"]})
    assert main(["sweep", "transfer", str(path)]) == 0
    first = capsys.readouterr().out
    assert "1 x 2 runs of the proxy" in first
    (verdict,) = json.loads(Path("runs/moved/transfer.json").read_text())
    assert verdict["regret"] == verdict["target_loss"] - verdict["tuned_loss"] >= 0
    assert verdict["trials"] == 2
    results = {path: path.stat().st_mtime_ns for path in Path("runs/moved/trials").rglob("result.json")}
    assert len(results) == 4
    assert main(["sweep", "transfer", str(path)]) == 0
    assert capsys.readouterr().out == first
    assert results == {path: path.stat().st_mtime_ns for path in Path("runs/moved/trials").rglob("result.json")}


def test_a_dry_run_trains_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "transfer", str(write()), "--dry_run", "true"]) == 0
    assert "2 x 3 runs of the proxy, and for each variant at least 3 of the target" in capsys.readouterr().out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": FILE["proxy"]}, r"transfer\.yaml:\d+: target is the proxy itself"),
        ({"parameters": {"model.optimizer.lr": {"min": 1e-3, "max": 1e-2}}}, "which is no grid of its own"),
        ({"parameters": {}}, "names nothing to vary"),
        ({"variant": {}}, "variant is not a key"),
    ],
)
def test_mistakes_are_told_with_file_and_line(place: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_transfer(write(**changes))


def test_the_shipped_transfer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = read_transfer(Path("sweeps/ladders/transfer_mup.yaml"))
    assert (list(spec.variants), len(spec.places())) == (["standard", "mup"], 6)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.study.samplers import make_sampler
from tests.tuning.sweeping import bare_sweep, pretend, write_sweep

NUMBERS = {
    "model.optimizer.lr": {"distribution": "log_uniform", "min": 1e-3, "max": 1e-1},
    "model.config.dropout": {"min": 0.0, "max": 0.5},
}


@pytest.mark.parametrize(
    "method",
    ["qmc", "cmaes", "nsga2", {"class_path": "optuna.samplers.TPESampler"}, pytest.param("gp", marks=pytest.mark.slow)],
)
def test_samplers_choose_alike_with_one_seed_and_unlike_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for package, needing in (("cmaes", ["cmaes"]), ("scipy", ["qmc", "gp"])):
        if method in needing:
            pytest.importorskip(package)
    trials = 12 if method == "gp" else 4  # the first ten are drawn before there is a model
    found = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        content = {"method": method, "parameters": NUMBERS, "seed": seed, "budget": {"trials": trials}}
        found.append(pretend(bare_sweep(tmp_path, content, name), trials))
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert len({str(values) for values in found[0]}) == trials


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"method": "grid", "parameters": NUMBERS}, "method grid needs single values"),
        ({"method": {"class_path": "os.system"}}, "package that is not trusted"),
        ({"method": {"class_path": "optuna.samplers.Nothing"}}, "cannot be imported"),
        ({"method": {"class_path": "optuna.trial.Trial"}}, "is no sampler"),
        ({"method": {"class_path": "optuna.samplers.TPESampler", "init_args": {"speed": 1}}}, "do not fit"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused(tmp_path: Path, content: dict[str, Any], told: str) -> None:
    spec_file = write_sweep(tmp_path, content)
    spec_file.write_text(spec_file.read_text().replace("base.yaml", str(tmp_path / "base.yaml")))
    with pytest.raises(ConfigError, match=told):
        make_sampler(read_spec(spec_file))

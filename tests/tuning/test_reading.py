from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.spec.reading_parameters import is_active
from gpt_lightning.tuning.spec.spec import Metric, SweepSpec

FULL = """\
name: gpt2-small-schedule
base: [base.yaml]
seed: 7
metrics:
  - {name: val/loss, goal: minimize, at: mean_last_3}
  - {name: perf/tokens_per_second, goal: maximize}
constraints:
  - {name: memory, metric: sys/peak_mem_gb, max: 38}
method: {class_path: optuna.samplers.TPESampler, init_args: {n_startup_trials: 4}}
parameters:
  model.schedule.decay:
    when: {model.schedule: WSD}
    distribution: q_uniform
    min: 0.05
    max: 0.5
    q: 0.05
  model.optimizer.lr: {distribution: log_grid, min: 2.5e-4, max: 8e-3, per_octave: 2}
  model.schedule: {values: [WSD, Cosine]}
  model.optimizer.weight_decay: {distribution: uniform, min: "0e0", max: 2e-1}
  trainer.max_steps: {min: 10, max: 20}
  ~batch: {values: [4, 8]}
derive:
  data.batch_size: "${~batch} * 2"
enqueue:
  - {model.optimizer.lr: 1.0e-3, model.schedule: WSD}
early_terminate: {type: median, report_every: 25M tokens, start_at: 30%}
reuse: {enabled: false, every: 5%, exact: true, budget: 200GB}
budget: {trials: 60, hours: 48, stop_when: {no_improvement: 20}}
repeat_best: {top_k: 3, seeds: [1, 2]}
retry: {max: 2, lease: 30s, grace: 2m}
launcher: {type: local, devices: [0, "1"], trials_per_device: 2}
"""


def read(tmp_path: Path, text: str, *changes: str) -> SweepSpec:
    (tmp_path / "base.yaml").write_text("trainer: {max_steps: 3}\n")
    path = tmp_path / "lr.yaml"
    path.write_text(text.replace("base.yaml", str(tmp_path / "base.yaml")))
    return read_spec(path, changes)


def small(parameters: str, more: str = "") -> str:
    return f"parameters:\n  model.optimizer.lr: {parameters}\n{more}"


def test_every_key_becomes_a_record(tmp_path: Path) -> None:
    spec = read(tmp_path, FULL)
    assert spec.name == "gpt2-small-schedule"
    assert spec.metrics == (Metric(at="mean_last_3"), Metric("perf/tokens_per_second", "maximize"))
    assert spec.constraints[0].excess(40.0) == 2.0
    assert spec.method.options == {"n_startup_trials": 4}
    assert spec.parameters["model.optimizer.lr"].edges() == [2.5e-4, 8e-3]
    assert spec.parameters["model.optimizer.weight_decay"].edges() == [0.0, 0.2]
    assert list(spec.parameters["trainer.max_steps"].grid() or ()) == list(range(10, 21))
    assert spec.parameters["model.schedule.decay"].grid()[:3] == [0.05, 0.1, 0.15]  # type: ignore[index]
    assert (spec.early_terminate.report_every, spec.early_terminate.start_at) == ("25M tokens", "30%")
    assert (spec.budget.trials, spec.budget.hours, spec.budget.no_improvement) == (60, 48, 20)
    assert (spec.retry.lease_seconds, spec.retry.grace_seconds) == (30.0, 120.0)
    assert (spec.reuse.enabled, spec.reuse.budget_bytes) == ("false", 200 * 10**9)
    assert spec.launcher.devices == ("0", "1")


def test_parents_come_before_what_waits_for_them(tmp_path: Path) -> None:
    parameters = read(tmp_path, FULL).parameters
    assert list(parameters).index("model.schedule") < list(parameters).index("model.schedule.decay")
    assert is_active(parameters["model.schedule.decay"], {"model.schedule": "WSD"})
    assert not is_active(parameters["model.schedule.decay"], {"model.schedule": "Cosine"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (small("{min: 1}"), "lr.yaml:2: parameters.model.optimizer.lr.max is missing"),
        (small("{min: 1, maxx: 2}"), "lr.yaml:2: parameters.model.optimizer.lr.maxx is not a key: got 2"),
        (small("{min: 1, max: 2, per_octav: 1}"), "Did you mean per_octave?"),
        (small("{min: 2, max: 1}"), "min is above max: got 2.0 (allowed: at most 1)"),
        (small("{distribution: loguniform, min: 1, max: 2}"), "Did you mean log_uniform"),
        (small("{distribution: log_uniform, min: 0, max: 2}"), "has no logarithm: got 0.0"),
        (small("{values: []}"), "is empty"),
        (small("{values: [1, 1]}"), "names a value twice: got 1"),
        (small("{values: [{class_path: A}, {class_path: A}]}"), "names a value twice"),
        (small("{values: [1, .nan]}"), "holds what is no number: got nan"),
        (small("{values: [{class_path: A, init_args: {b: [.inf]}}]}"), "holds what is no number"),
        (small("{min: 0, max: .inf}"), "max is not a number: got inf"),
        (small("{min: .nan, max: 1}"), "min is not a number: got nan"),
        (small("{min: 0, max: 10, q: .inf}"), "q is not a number"),
        (
            small("{distribution: q_log_uniform_values, min: 9, max: 15, q: 8}"),
            "has no multiple between 9 and 15: got 8.0",
        ),
        (small("{distribution: q_uniform, min: 0, max: 0.5}"), "q is missing, and steps of 1 leave one value"),
        (small("{distribution: log_normal, mu: 0, sigma: 1e6}"), "numbers that are too large"),
        (small("{distribution: log_uniform, min: -5, max: 800}", "program: a.py\n"), "no exponent of e: got 800.0"),
        (small("{distribution: beta, a: 0}"), "a is out of range: got 0"),
        (small("{values: [1]}", "retry: {lease: 1.2.3s}\n"), "retry.lease is not understood: got '1.2.3s'"),
        (small("{values: [1]}", "reuse: {budget: ..GB}\n"), "reuse.budget is not understood: got '..GB'"),
        (small("{values: [1]}", "reuse: {budget: 1e400GB}\n"), "reuse.budget is not understood"),
        (small("{values: [1]}", "reuse: {every: 1.2.3%}\n"), "reuse.every"),
        (small("{values: [1]}", "budget: {hours: .inf}\n"), "budget.hours is not a number"),
        (small("{values: [1]}", "metric: {target: .nan}\n"), "metric.target is not a number"),
        (small("{values: [1]}", "early_terminate: {type: threshold, upper: .nan}\n"), "early_terminate"),
        (small("{values: [1]}", "early_terminate: {type: median, start_at: .inf}\n"), "early_terminate"),
        (small("{values: [1]}", "early_terminate: {type: median, report_every: 1.2.3%}\n"), "early_terminate"),
        (small("{min: 0.0, max: 1.0, q: 0.25}", "enqueue: [{model.optimizer.lr: 0.3}]\n"), "the nearest is 0.25"),
        (small("3"), "is not a parameter: got 3"),
        (small("{values: [1], when: {model.schedules: WSD}}"), "waits for no parameter of this sweep"),
        (small("{values: [1]}", "methods: tpe\n"), "lr.yaml:3: methods is not a key: got 'tpe'"),
        (small("{values: [1]}", "method: tpee\n"), "Did you mean tpe?"),
        (small("{values: [1]}", "metric: {goal: smaller}\n"), "metric.goal is not known: got 'smaller'"),
        (small("{values: [1]}", "metric: {name: a, at: first}\n"), "(allowed: last, best, mean_last_5)"),
        (small("{values: [1]}", "base: nowhere.yaml\n"), "lr.yaml:3: base is not a file"),
        (small("{values: [1]}", "budget: {trials: 0}\n"), "budget.trials is out of range: got 0"),
        (small("{values: [1]}", "budget: {trials: many}\n"), "budget.trials is not a whole number: got 'many'"),
        (small("{values: [1]}", "retry: {lease: soon}\n"), "retry.lease is not understood: got 'soon'"),
        (small("{values: [1]}", "retry: {lease: 60s, grace: 70s}\n"), "too short for the lease"),
        (small("{values: [1]}", "enqueue: [{model.optimizer.lr: 5}]\n"), "no such value in this sweep: got 5"),
        (small("{values: [1]}", "enqueue: [{model.optimiser.lr: 1}]\n"), "Did you mean model.optimizer.lr?"),
        (small("{values: [1]}", "launcher: {type: slrm}\n"), "Did you mean slurm?"),
        (small("{values: [1]}", "derive: {a: '${b}', b: '${a}'}\n"), "refers to itself"),
        (small("{values: [1]}", "name: ../up\n"), "is not a folder's name"),
        (small("{values: [1]}", "early_terminate: {type: medain}\n"), "lr.yaml:3: early_terminate.type is unknown"),
        ("parameters: {}\n", "names nothing to vary"),
        ("- 1\n", "is not a sweep file"),
    ],
)
def test_a_mistake_is_one_line_with_the_place_to_mend(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_conditions_that_wait_for_each_other_are_refused(tmp_path: Path) -> None:
    text = "parameters:\n  a: {values: [1], when: {b: 2}}\n  b: {values: [2], when: {a: 1}}\n"
    with pytest.raises(ConfigError, match=r"a\.when waits for itself"):
        read(tmp_path, text)


FOREIGN = """\
program: train.py
command: [python, train.py]
project: mine
method: bayes
run_cap: 12
metric: {name: val/loss, goal: minimize, target: 2.5}
parameters:
  model.optimizer.lr: {distribution: log_uniform, min: -9.21034, max: -4.60517}
  model.optimizer.weight_decay: {value: 0.1}
  data.batch_size: {distribution: q_log_uniform_values, min: 4, max: 64, q: 4}
  trainer.max_steps: {min: 10, max: 20}
  model.config.dropout: {distribution: normal, mu: 0.2, sigma: 0.01}
  model.config: {parameters: {n_layer: {values: [1, 2]}}}
early_terminate: {type: hyperband, min_iter: 3, eta: 3, s: 2}
"""


def test_a_foreign_file_loads_unchanged(tmp_path: Path) -> None:
    spec = read(tmp_path, FOREIGN)
    assert spec.ignored == ("program", "command", "project")
    assert spec.method.name == "tpe"
    assert (spec.budget.trials, spec.budget.target) == (12, 2.5)
    assert spec.parameters["model.optimizer.lr"].edges() == pytest.approx([1e-4, 1e-2], rel=1e-4)
    assert spec.parameters["model.optimizer.weight_decay"].grid() == [0.1]
    assert spec.parameters["data.batch_size"].decode(30.0) == 32.0
    assert spec.parameters["model.config.n_layer"].grid() == [1, 2]
    assert spec.parameters["model.config.dropout"].decode(0.5) == pytest.approx(0.2)
    assert spec.early_terminate.pruner.rungs(30) == {"": (3, 9)}


RICH = """\
name: my first sweep
program: train.py
job: mine
command: [python, "${program}", --data.block_size=64, --trainer.max_steps, 30, "${args}"]
metric: {name: val/loss, goal: minimize, impute: best, impute_while_running: worst}
parameters:
  model.optimizer.lr: {distribution: inv_log_uniform, min: 4.60517, max: 9.21034}
  model.optimizer.weight_decay: {distribution: inv_log_uniform_values, min: 0.01, max: 0.1}
  model.config.dropout: {distribution: q_beta, a: 2, b: 5, q: 0.05}
  model.config.n_layer: {values: [1, 2], probabilities: [0.9, 0.1]}
early_terminate: {type: hyperband, min_iter: 3, max_iter: 27, s: 2, eta: 1.5}
"""


def test_a_foreign_file_with_everything_loads_and_what_means_nothing_is_named(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    spec = read(tmp_path, RICH)
    assert spec.name == "my-first-sweep"
    assert spec.metrics[0].impute == "best"
    assert {"job", "parameters.model.config.n_layer.probabilities", "metric.impute_while_running"} <= set(spec.ignored)
    assert spec.parameters["model.optimizer.lr"].edges() == pytest.approx([1e-4, 1e-2], rel=1e-4)
    assert spec.parameters["model.optimizer.weight_decay"].edges() == [0.01, 0.1]
    assert spec.parameters["data.block_size"].edges() == [64]
    assert spec.parameters["trainer.max_steps"].edges() == [30]
    assert spec.early_terminate.pruner.rungs(27) == {"": (12, 18)}  # 27 / 1.5^2 and 27 / 1.5


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("budget.trials=5", lambda spec: spec.budget.trials == 5),
        (
            "parameters.model.optimizer.lr.max=4e-3",
            lambda spec: spec.parameters["model.optimizer.lr"].edges()[1] == 4e-3,
        ),
        (
            "parameters.model.optimizer.lr={values: [1, 2]}",
            lambda s: s.parameters["model.optimizer.lr"].grid() == [1, 2],
        ),
        ("launcher.slurm.partition=gpu", lambda spec: spec.launcher.slurm == {"partition": "gpu"}),
        ("derive.data.batch_size=3", lambda spec: spec.derive == {"data.batch_size": 3}),
    ],
)
def test_set_changes_one_key(tmp_path: Path, change: str, seen: Any) -> None:
    assert seen(
        read(tmp_path, FULL.replace("  - {model.optimizer.lr: 1.0e-3, model.schedule: WSD}\n", "  []\n"), change)
    )


def test_set_without_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--set takes key=value"):
        read(tmp_path, FULL, "budget.trials")


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("/some/x.db", r"storage is no storage: got '/some/x\.db' .*write sqlite:////some/x\.db"),
        ("jurnal", "Did you mean journal"),
    ],
)
def test_a_storage_is_a_word_or_a_url(tmp_path: Path, storage: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(tmp_path, FULL + f"storage: {storage}\n")
    url = "sqlite:////some/x.db"
    assert read(tmp_path, FULL + f"storage: {url}\n").storage == url


def test_one_setting_under_two_names_is_refused(tmp_path: Path) -> None:
    both = small("{values: [1, 2]}", "  model.optimizer.init_args.lr: {values: [3]}\n")
    with pytest.raises(ConfigError, match=r"init_args\.lr is the setting model\.optimizer\.lr, which"):
        read(tmp_path, both)


def test_two_names_stand_side_by_side_where_only_one_can_hold(tmp_path: Path) -> None:
    def file(second: str) -> str:
        when = "when: {model.optimizer: [AdamW, Muon]}"
        return small(
            f"{{values: [1, 2], {when}}}",
            "  model.optimizer: {values: [AdamW, Muon, Lion]}\n"
            f"  model.optimizer.init_args.lr: {{values: [3], when: {{model.optimizer: {second}}}}}\n",
        )

    assert "model.optimizer.init_args.lr" in read(tmp_path, file("Lion")).parameters
    with pytest.raises(ConfigError, match=r"is the setting model\.optimizer\.lr, which"):
        read(tmp_path, file("Muon"))

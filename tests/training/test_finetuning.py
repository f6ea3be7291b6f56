"""Fine-tuning on conversations, pairs and rated answers, from a run, with what the reference says of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.errors import CheckpointError, ConfigError, DataError
from gpt_lightning.training.fitting import reference
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.fitting.summary import describe_result
from gpt_lightning.training.reuse.reuse import Reuse
from tests.training.runs import Crash, checkpoint_of, crash_at, tiny_run, weights_of
from tests.training.test_resume_exact import assert_equal

RECORDS: dict[str, list[dict[str, Any]]] = {
    "Conversation": [
        {"messages": [{"role": "user", "content": f"{n}+1"}, {"role": "assistant", "content": f"{n + 1}"}]}
        for n in range(40)
    ],
    "Preference": [{"prompt": f"{n}+1", "chosen": f"{n + 1}", "rejected": "no"} for n in range(40)],
    "Labelled": [{"text": f"{n} is", "label": ("even", "odd")[n % 2]} for n in range(40)],
    "MultiLabelled": [{"text": f"{n} is", "labels": ["odd"] * (n % 2) + ["third"] * (n % 3 == 0)} for n in range(40)],
    "Regression": [{"text": f"{n} is", "value": n / 10} for n in range(40)],
    "Tagged": [{"words": [str(n), "is"], "tags": [("even", "odd")[n % 2], "word"]} for n in range(40)],
    "Rated": [{"prompt": f"{n}+1", "completion": f"{n + n % 2}", "label": bool(n % 2)} for n in range(40)],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to start from, and records of every layout."""
    place = tmp_path_factory.mktemp("finetuning")
    (place / "corpus.txt").write_text("user: 1+1\nassistant: 2\n" * 80)
    for name, records in RECORDS.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    tiny_run({"data.source": str(place / "corpus.txt"), "data.block_size": 32, "run.dir": str(place / "base")}).fit()
    return place


def _run(base: Path, layout: str, objective: str, **settings: Any) -> Run:
    common = {
        "data.source": str(base / f"{layout}.jsonl"),
        "data.layout": layout,
        "data.packing": "Document",
        "data.block_size": 32,
        "data.val_fraction": 0.2,
        "model.objective": objective,
    }
    return tiny_run({**common, **settings}, args=[f"--init_from={base / 'base'}"])


def test_a_head_beside_an_adapter_is_trained_and_kept(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkpoint of 20 KB, and to the bit after a kill."""
    monkeypatch.chdir(tmp_path)
    settings = {"model.adaptation": "LoRA", "model.optimizer.lr": 1e-2}
    whole = _run(base, "Labelled", "Classify", **settings, **{"run.dir": "whole"}).fit()
    with pytest.raises(Crash):
        crash_at(_run(base, "Labelled", "Classify", **settings, **{"run.dir": "parts"}), 3).fit()
    again = _run(base, "Labelled", "Classify", **settings, **{"run.dir": "parts"}).fit("auto")
    assert again.metrics == whole.metrics
    told = describe_result(_run(base, "Labelled", "Classify", **settings), whole, [])
    assert "gpt-lightning evaluate classify whole --calibrate true" in told
    kept = weights_of(Path("parts"))
    assert_equal(kept, weights_of(Path("whole")))
    assert "extras.score.weight" in kept
    assert all("deltas" in name for name in kept if not name.startswith("extras."))


def test_labels_in_another_order_are_refused(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _run(base, "Labelled", "Classify", **{"run.dir": "whole"}).fit()
    turned = base / "turned.yaml"
    turned.write_text("class_path: Labelled\ninit_args: {labels: [odd, even]}\n")
    with pytest.raises(DataError, match=r"trained with the labels even, odd, and the store's are in another order"):
        _run(base, "Labelled", "Classify", **{"data.layout": str(turned)}).validate("whole")


def _refuse(*given: object) -> None:
    raise AssertionError("computed again")


@pytest.mark.parametrize(
    ("layout", "objective", "start"),
    [
        ("Preference", "DPO", 0.6931472),
        pytest.param("Conversation", "SFT", None, marks=pytest.mark.slow),
        pytest.param("Rated", "KTO", 0.5, marks=pytest.mark.slow),
        ("Labelled", "Classify", None),
        pytest.param("MultiLabelled", "MultiLabel", None, marks=pytest.mark.slow),
        pytest.param("Regression", "Regress", None, marks=pytest.mark.slow),
        pytest.param("Tagged", "TokenClassify", None, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_ends_as_the_uninterrupted_one(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    objective: str,
    start: float | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = _run(base, layout, objective, **{"run.dir": "whole", "model.optimizer.lr": 1e-2}).fit()
    if start is not None:
        first = json.loads(Path("whole/metrics.jsonl").read_text().splitlines()[0])
        assert first["train/loss"] == pytest.approx(start, abs=0.01)  # the reference has no dropout
        told = describe_result(_run(base, layout, objective), whole, [])
        assert " per token" not in told
        assert "gpt-lightning chat whole" in told
        assert {"val/accuracy", "val/clm_loss", "val/loss"} <= whole.metrics.keys()
    with pytest.raises(Crash):
        crash_at(_run(base, layout, objective, **{"run.dir": "parts", "model.optimizer.lr": 1e-2}), 3).fit()
    # Computed once: whoever goes on, and whoever measures the result, reads what is kept.
    monkeypatch.setattr(reference, "_compute", _refuse)
    again = _run(base, layout, objective, **{"run.dir": "parts", "model.optimizer.lr": 1e-2}).fit("auto")
    assert_equal(weights_of(Path("parts")), weights_of(Path("whole")))
    assert again.metrics == whole.metrics
    measured = _run(base, layout, objective).validate(checkpoint_of(Path("whole"), 6))
    assert measured["val/loss"] == pytest.approx(whole.metrics["val/loss"], rel=1e-6)


def test_the_reference_is_what_the_run_begins_from(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "data.source": str(base / "Preference.jsonl"),
        "data.layout": "Preference",
        "data.packing": "Document",
        "data.block_size": 32,
        "model.objective": "DPO",
        "run.dir": "run",
    }
    with pytest.raises(ConfigError, match=r"DPO compares with the model that training begins from.*--init_from"):
        tiny_run(settings).fit()
    _run(base, "Preference", "DPO", **{"run.dir": "first", "model.config.dropout": 0.0}).fit()
    first = json.loads(Path("first/metrics.jsonl").read_text().splitlines()[0])
    assert first["train/loss"] == pytest.approx(0.6931472, abs=1e-6)
    kept = max((cache_folder() / "derived").glob("reference-*.bin"), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(kept.read_bytes())
    content[0] ^= 1
    kept.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        _run(base, "Preference", "DPO", **{"run.dir": "second"}).fit()
    kept.with_suffix(".json").unlink()  # as the message says
    assert _run(base, "Preference", "DPO", **{"run.dir": "third"}).fit().step == 6


@pytest.mark.slow
def test_the_reference_stays_whatever_is_typed_later(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another --init_from on a resume, and a beginning that is gone."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base / "base", "begin")
    settings: dict[str, Any] = {"data.source": str(base / "Preference.jsonl"), "data.layout": "Preference"}
    settings["model.objective"] = "DPO"
    settings |= {"data.packing": "Document", "data.block_size": 32, "run.dir": "parts"}
    with pytest.raises(Crash):
        crash_at(tiny_run(settings, args=["--init_from=begin"]), 3).fit()
    tiny_run({**settings, "run.dir": "whole"}, args=["--init_from=begin"]).fit()
    shutil.rmtree("begin")
    tiny_run(settings, args=["--init_from=whole"]).fit("auto")
    assert_equal(weights_of(Path("parts")), weights_of(Path("whole")))
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "another"))
    with pytest.raises(CheckpointError, match="begin"):
        tiny_run({**settings, "run.dir": "again"}).validate("whole")


def test_pairs_are_not_learned_as_rated_answers(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="KTO needs the column desirable"):
        _run(base, "Preference", "KTO")
    with pytest.raises(DataError, match=r"DPO learns from samples of 2 rows: got .Conversation, whose samples are 1"):
        _run(base, "Conversation", "DPO")


SWEPT: dict[str, Any] = {
    "model.adaptation": {"class_path": "LoRA", "init_args": {"r": 2, "dropout": 0.1}},
    "trainer.max_steps": 40,
    "run.validate_every": 40,
    "run.save_every": 40,
}


@pytest.mark.slow
def test_twenty_trials_of_adapters_do_half_of_their_steps(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates times decays: what comes before a decay is done once for each rate; the best one alone is the same."""
    monkeypatch.chdir(tmp_path)
    store, executed = Reuse(folder=Path("prefixes"), every=1), 0
    losses: dict[tuple[float, str], float] = {}
    trials = [(rate, f"{decay}%") for decay in (30, 10, 50, 20, 40) for rate in (1e-3, 3e-3, 1e-2, 3e-2)]

    def trial(rate: float, decay: str, folder: str) -> Run:
        schedule = {"class_path": "WSD", "init_args": {"warmup": 2, "decay": decay}}
        settings = {"model.optimizer.lr": rate, "model.schedule": schedule, "run.dir": folder}
        return _run(base, "Conversation", "SFT", **SWEPT, **settings)

    for number, (rate, decay) in enumerate(trials):
        result = trial(rate, decay, f"trial-{number}").fit(reuse=store)
        executed += result.executed_steps
        losses[rate, decay] = result.metrics["val/loss"]
    assert executed <= 0.55 * 40 * len(trials)
    assert len(set(losses.values())) == len(trials)
    best = min(losses, key=losses.__getitem__)
    alone = trial(*best, "alone").fit()
    assert alone.executed_steps == 40
    assert alone.metrics["val/loss"] == losses[best]
    assert_equal(weights_of(Path("alone")), weights_of(Path(f"trial-{trials.index(best)}")))


@pytest.mark.slow
def test_the_reference_is_computed_once_for_all_trials(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "cache"))
    compute, seen = reference._compute, list[Any]()

    def counted(*given: Any) -> Any:
        seen.append(given)
        return compute(*given)

    monkeypatch.setattr(reference, "_compute", counted)
    for beta in (0.05, 0.1, 0.5):
        objective = {"class_path": "DPO", "init_args": {"beta": beta}}
        _run(base, "Preference", "DPO", **{"model.objective": objective, "run.dir": f"beta-{beta}"}).fit()
    assert len(seen) == 2, "training and validation, once each"

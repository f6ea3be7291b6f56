from __future__ import annotations

import gc
from pathlib import Path

import pytest
from sqlalchemy import event

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.study import SPACE, open_study
from gpt_lightning.tuning.study.sweep_folder import SweepFolder, find_sweep, sweep_folder_of
from gpt_lightning.tuning.trial.mailbox import Decision, Exit, Mailbox, Report, Result, read_result, write_trial_spec


def spec_of(place: Path, values: str = "[1, 2]", more: str = "") -> SweepSpec:
    (place / "base.yaml").write_text("trainer: {max_steps: 3}\n")
    (place / "s.yaml").write_text(f"base: base.yaml\nparameters: {{model.optimizer.lr: {{values: {values}}}}}\n{more}")
    return read_spec(place / "s.yaml")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_study_is_created_once_and_loaded_afterwards(storage: str) -> None:
    spec, folder = spec_of(Path(), more=f"storage: {storage}\n"), sweep_folder_of("s")
    folder.prepare(spec)
    open_study(spec, folder).ask()
    assert len(open_study(spec, folder).trials) == 1
    assert folder.database.exists() is (storage == "sqlite")


def test_connections_are_closed_not_left_to_the_collector() -> None:
    """Python 3.13 warns of each that is left."""
    spec, folder, ends = spec_of(Path()), sweep_folder_of("s"), []
    folder.prepare(spec)
    study = open_study(spec, folder)
    storage = study._storage._backend  # type: ignore[attr-defined]  # behind Optuna's cache
    event.listen(storage.engine, "close", lambda *_: ends.append("closed"))
    assert study.trials == []
    assert ends == []
    del study, storage
    gc.collect()
    assert ends
    assert set(ends) == {"closed"}


def test_a_changed_space_is_refused_with_three_ways_out() -> None:
    folder = sweep_folder_of("s")
    folder.prepare(spec_of(Path()))
    open_study(spec_of(Path()), folder)
    open_study(spec_of(Path(), more="budget: {trials: 7}\n"), folder)
    with pytest.raises(RunFolderError, match=r"parameters.model.optimizer.lr.*--fork.*--force"):
        open_study(spec_of(Path(), "[1, 3]"), folder)
    open_study(spec_of(Path(), "[1, 3]"), folder, accept_change=True)
    open_study(spec_of(Path(), "[1, 3]"), folder)


def test_a_study_of_before_numbers_were_kept_exactly_goes_on(tmp_path: Path) -> None:
    """As version 0.1.0 wrote it: values of a grid to six digits, no limits beyond what is shown."""
    spec, folder = spec_of(Path(), more="method: tpe\n"), sweep_folder_of("s")
    text = (
        Path("s.yaml")
        .read_text()
        .replace("values: [1, 2]", "distribution: log_grid, min: 1e-3, max: 2e-3, per_octave: 2")
    )
    Path("s.yaml").write_text(
        text.replace("parameters: {", "parameters: {data.batch_size: {distribution: q_uniform, min: 2, max: 8, q: 2}, ")
    )
    spec = read_spec(Path("s.yaml"))
    folder.prepare(spec)
    study = open_study(spec, folder)
    space = {key: value for key, value in study.user_attrs[SPACE]["space"].items() if key != "format"}
    space["parameters"] = {
        "model.optimizer.lr": {
            "range": "3 points from 0.001 to 0.002, 2 an octave",
            "values": [0.001, 0.00141421, 0.002],
            "when": {},
        },
        "data.batch_size": {"range": "2 to 8 in steps of 2", "values": [2.0, 4.0, 6.0, 8.0], "when": {}},
    }
    study.set_user_attr(SPACE, {"hash": "of old", "space": space})
    assert open_study(spec, folder).user_attrs[SPACE]["space"]["format"] == 2
    study.set_user_attr(SPACE, {"hash": "of old", "space": {**space, "seed": 2}})
    with pytest.raises(RunFolderError, match="seed: 2 -> 1337"):
        open_study(spec, folder)


def test_an_edited_base_is_another_space() -> None:
    spec, folder = spec_of(Path()), sweep_folder_of("s")
    folder.prepare(spec)
    open_study(spec, folder)
    Path("base.yaml").write_text("trainer: {max_steps: 4}\n")
    with pytest.raises(RunFolderError, match="base"):
        open_study(spec, folder)
    assert folder.bases(spec)[0].read_text() == "trainer: {max_steps: 3}\n"


def test_an_unknown_storage_is_one_line() -> None:
    spec, folder = spec_of(Path(), more="storage: nosuch://me:secret@host/db\n"), SweepFolder(Path("runs/s"))
    folder.prepare(spec)
    with pytest.raises(ConfigError) as caught:
        open_study(spec, folder)
    assert "secret" not in str(caught.value)


def test_a_sweep_is_found_by_folder_name_or_file() -> None:
    spec, folder = spec_of(Path()), sweep_folder_of("s")
    folder.prepare(spec)
    assert {find_sweep(name).path for name in ("runs/s", "s", "s.yaml")} == {folder.path}
    with pytest.raises(RunFolderError, match="Sweeps here: runs/s"):
        find_sweep("t")


def test_the_mailbox_delivers_once_and_whole(tmp_path: Path) -> None:
    trial, supervisor = Mailbox(tmp_path), Mailbox(tmp_path)
    supervisor.clear()
    report = Report(n=0, step=5, tokens=320, metrics={"val/loss": 2.5})
    trial.post(report)
    assert supervisor.collect() == [report]
    assert supervisor.collect() == []
    path = tmp_path / "mailbox" / "reports.jsonl"
    with path.open("a") as file:
        file.write('{"n": 1, ')
    assert supervisor.collect() == []
    with path.open("a") as file:
        file.write('"step": 6, "tokens": 384, "metrics": {}}\n')
    assert [each.n for each in supervisor.collect()] == [1]
    assert trial.verdict(1) is None
    supervisor.answer(Decision(1, "worse"))
    assert trial.verdict(1) == Decision(1, "worse")
    assert trial.verdict(0) is None
    assert supervisor.last_words() is None
    trial.leave(Exit("failed", "nan"))
    assert supervisor.last_words() == Exit("failed", "nan")


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    result = Result("complete", value=2.5, metrics={"val/loss": 2.5}, steps=6, number=3)
    result.write(tmp_path)
    assert read_result(tmp_path) == result


def test_the_mailbox_hears_only_the_start_that_it_is_of(tmp_path: Path) -> None:
    write_trial_spec(tmp_path, {"start": "second"})
    first, second, supervisor = Mailbox(tmp_path, "first"), Mailbox(tmp_path, "second"), Mailbox(tmp_path, "second")
    assert (first.is_current(), second.is_current()) == (False, True)
    report = Report(n=1, step=5, tokens=320, metrics={"val/loss": 2.5})
    for trial in (first, second):
        trial.post(report)
    assert supervisor.collect() == [report]
    assert len(Mailbox(tmp_path).collect()) == 2
    second.leave(Exit("finished"))
    first.leave(Exit("failed", "in use"))
    assert supervisor.last_words() == Exit("finished")

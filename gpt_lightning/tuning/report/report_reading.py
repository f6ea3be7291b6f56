"""A study and its trial folders -> the facts of a report. Only reads, and reads what there is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from gpt_lightning.errors import RunFolderError, UserError
from gpt_lightning.parsing.strict_yaml import YAMLProblem, load_yaml, read_yaml
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.runs.run_folder import CONFIG_FILE, MANIFEST_FILE, read_metrics
from gpt_lightning.tuning.report.report_facts import Attempt, Objective, Point, StudyFacts, TrialFacts
from gpt_lightning.tuning.report.report_plots import find_importances
from gpt_lightning.tuning.spec.parameters import LogGrid, Parameter
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.edges import edge_notes
from gpt_lightning.tuning.study.entries import DIFFERS, DIVERGED, LEASE, REQUEUE, list_entries
from gpt_lightning.tuning.study.study import load_study
from gpt_lightning.tuning.study.sweep import Sweep, read_frozen
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from gpt_lightning.tuning.trial.mailbox import Mailbox, Report, read_result

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_OF_THE_RUN = ("run.", "seed_everything", "trainer.max_", "trainer.enable_progress_bar")
"""Settings that every trial has its own values of, or that are spelt out in a resolved configuration."""
_SHOWN_PACKAGES = ("torch", "lightning", "numpy")


def read_sweep(folder: Path) -> StudyFacts:
    """Everything that a report shows of the sweep in ``folder``.

    Raises:
        ConfigError: Its file cannot be read, or its storage not be opened.
    """
    home = SweepFolder(folder)
    spec = read_frozen(home)
    return read_facts(spec, _read_trials(spec, home), folder)


def _read_trials(spec: SweepSpec, home: SweepFolder) -> list[FrozenTrial]:
    """All attempts; none when the study was not created yet.

    Raises:
        RunFolderError: The study is gone, or does not know the folder's trials: a good report stays as it is.
    """
    numbers = home.numbers()
    try:
        sweep = Sweep(spec, home, load_study(spec, home))
    except RunFolderError:
        if numbers:
            raise
        return []
    sweep.check_folder()
    return sweep.study.get_trials(deepcopy=False)


Known = dict[int, tuple[int, TrialFacts]]
"""Trials that have ended, which are not read again: by number, with the number of the attempt that counts."""


def read_trials(spec: SweepSpec, trials: Sequence[FrozenTrial], folder: Path, known: Known) -> tuple[TrialFacts, ...]:
    """The trials of a study; those that have ended are read once, and kept in ``known``."""
    made = []
    for entry in list_entries(trials):
        number, facts = known.get(entry.first, (-1, None))
        if facts is None or number != entry.last.number:
            facts = _read_trial(spec, entry.first, entry.attempts, folder)
        if entry.ended:
            known[entry.first] = entry.last.number, facts
        made.append(facts)
    return tuple(made)


def read_facts(
    spec: SweepSpec,
    trials: Sequence[FrozenTrial],
    folder: Path,
    known: Known | None = None,
    earlier: StudyFacts | None = None,
) -> StudyFacts:
    """Everything that a report shows.

    Args:
        spec: The sweep.
        trials: Of its study, every attempt.
        folder: The sweep's folder.
        known: Trials that need not be read again; those that have ended are added.
        earlier: What was found before of what takes long (importances, the base, versions), to be taken over.
    """
    objectives = tuple(Objective(metric.name, metric.goal) for metric in spec.metrics)
    made = read_trials(spec, trials, folder, {} if known is None else known)
    study = StudyFacts(spec.name, objectives, made)
    if earlier is not None:
        same_best = (study.best and study.best.number) == (earlier.best and earlier.best.number)
        notes = tuple(edge_notes(spec, list_entries(trials), folder))
        base, settings = (earlier.base, earlier.best_settings) if same_best else ({}, {})
        return replace(earlier, trials=made, notes=notes, base=base, best_settings=settings)
    importances, problems = find_importances(trials, objectives, {each.stored_name: each.key for each in
                                                                  spec.parameters.values()})  # fmt: skip
    problems += [
        f"Trial {entry.first} ran under other conditions than the first: {'; '.join(entry.fact(DIFFERS))}"
        for entry in list_entries(trials)
        if entry.fact(DIFFERS)
    ]
    base, settings = _differences(spec, study.best, problems)
    return StudyFacts(
        name=spec.name,
        objectives=objectives,
        trials=made,
        logarithmic=frozenset(key for key, each in spec.parameters.items() if _is_logarithmic(each)),
        base=base,
        best_settings=settings,
        description=spec.description,
        source=str(folder),
        planned_trials=spec.budget.trials,
        environment=_read_environment([study.best, *made[::-1]]),
        importances=importances,
        problems=tuple(problems),
        notes=tuple(edge_notes(spec, list_entries(trials), folder)),
    )


def _is_logarithmic(parameter: Parameter) -> bool:
    drawn = parameter.distribution()
    return isinstance(parameter, LogGrid) or (isinstance(drawn, (FloatDistribution, IntDistribution)) and drawn.log)


def _read_trial(spec: SweepSpec, first: int, attempts: Sequence[FrozenTrial], folder: Path) -> TrialFacts:
    last = attempts[-1]
    place = last.user_attrs.get("folder")
    home = None if place is None else _find_folder(str(place), folder)
    facts = dict(last.user_attrs)
    if home is not None:
        result = read_result(home)
        facts = {**facts, **({} if result is None else {key: value for key, value in vars(result).items() if value})}
    points = _read_points(home)
    state = _STATES[last.state]
    # A lost attempt waits for its copy to be made.
    state = "waiting" if state == "failed" and last.user_attrs.get(REQUEUE) else state
    state = DIVERGED if last.user_attrs.get(DIVERGED) else state
    return TrialFacts(
        number=first,
        state=state,
        parameters=_decode(spec, last),
        values=tuple(last.values) if state == "complete" and last.values else None,
        attempts=tuple(_read_attempt(each) for each in attempts),
        points=points,
        rates=_read_rates(home),
        metrics=dict(facts.get("metrics") or (points[-1].metrics if points else {})),
        constraints=dict(getattr(last, "constraints", None) or {}),
        folder=home,
        seed=facts.get("seed"),
        steps=int(facts.get("steps") or (points[-1].step if points else 0)),
        executed_steps=int(facts.get("executed_steps") or 0),
        reused_steps=int(facts.get("reused_steps") or 0),
        tokens=int(facts.get("tokens") or (points[-1].tokens if points else 0)),
        seconds=float(facts.get("seconds") or sum(_duration(each) for each in attempts)),
        devices=spec.launcher.devices_per_trial,
        repeats=last.user_attrs.get("repeats"),
        worker=_worker(last) if state == "running" else "",
        total_tokens=int(last.user_attrs.get("total_tokens", 0)),
    )


def _worker(trial: FrozenTrial) -> str:
    owner = (trial.user_attrs.get(LEASE) or {}).get("owner") or {}
    return f"{owner['host']}, process {owner['pid']}" if owner else ""


def _find_folder(place: str, folder: Path) -> Path | None:
    """A trial's folder, also when the whole sweep was moved since."""
    candidates = [folder / "trials" / Path(place).name, folder / place, Path(place)]
    return next((each for each in candidates if each.is_dir()), None)


def _duration(trial: FrozenTrial) -> float:
    return 0.0 if trial.duration is None else trial.duration.total_seconds()


def _seconds(when: datetime | None) -> float | None:
    return None if when is None else when.timestamp()


def _read_attempt(trial: FrozenTrial) -> Attempt:
    return Attempt(
        number=trial.number,
        state=DIVERGED if trial.user_attrs.get(DIVERGED) else _STATES[trial.state],
        start=_seconds(trial.datetime_start),
        end=_seconds(trial.datetime_complete),
        reason=str(trial.user_attrs.get("reason") or ""),
    )


def _decode(spec: SweepSpec, trial: FrozenTrial) -> dict[str, Any]:
    """Values as they stand in the configuration; parameters of an older space stay as they are stored."""
    known = {parameter.stored_name: parameter for parameter in spec.parameters.values()}
    found = {}
    for name, stored in trial.params.items():
        parameter = known.get(name)
        try:
            found[parameter.key if parameter else name] = parameter.decode(stored) if parameter else stored
        except (StopIteration, ValueError):
            found[name] = stored
    return found


def _read_points(folder: Path | None) -> tuple[Point, ...]:
    """Reports, oldest first; one that came twice, after a retry, counts as it was the last time."""
    latest: dict[int, Report] = {}
    for report in () if folder is None else Mailbox(folder).collect():
        latest[report.n] = report
    return tuple(Point(each.step, each.tokens, each.metrics) for _, each in sorted(latest.items()))


def _read_rates(folder: Path | None) -> tuple[tuple[float, float], ...]:
    """(tokens, learning rate) of the first group of parameters that is logged, the matrices where there are some."""
    found = []
    for line in () if folder is None else read_metrics(folder):
        groups = [name for name in line if name.startswith("optim/lr/")]
        if groups and "data/tokens" in line:
            name = "optim/lr/matrix" if "optim/lr/matrix" in groups else groups[0]
            found.append((float(line["data/tokens"]), float(line[name])))
    return tuple(found)


def _differences(
    spec: SweepSpec, best: TrialFacts | None, problems: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the base, and settings of the best trial that differ from them."""
    if best is None:
        return {}, {}
    try:
        line = TrainerCommandLine("fit", [f"--config={path}" for path in spec.base])
        base = flatten(load_yaml(line.parser.dump(line.config, skip_unset=False, skip_validation=True)))
        own = {} if best.folder is None else flatten(read_yaml(best.folder / CONFIG_FILE))
    except (UserError, OSError, YAMLProblem) as problem:
        problems.append(f"The base configuration cannot be compared with: {problem}")
        return {}, {}
    differing = {
        key: value
        for key, value in own.items()
        # What the base leaves open is filled in by the data, and is no choice of the sweep.
        if base.get(key) is not None and base[key] != value and not key.startswith(_OF_THE_RUN)
    }
    shown = {_written_name(key, own): own.get(_written_name(key, own), value) for key, value in best.parameters.items()}
    shown |= differing
    shown |= {key: value for key, value in own.items() if key not in base and _parent_differs(key, differing)}
    return {key: base[key] for key in shown if key in base}, shown


def _written_name(key: str, settings: Mapping[str, Any]) -> str:
    """How a setting is called in a resolved configuration, where a sweep file may leave ``init_args`` out."""
    plain = key.replace(".init_args.", ".")
    names = {name.replace(".init_args.", "."): name for name in settings}
    return names.get(plain) or names.get(f"{plain}.class_path") or key


def _parent_differs(key: str, differing: Mapping[str, Any]) -> bool:
    """Whether ``key`` is an argument of a class that was chosen anew."""
    owner = key.partition(".init_args.")[0]
    return f"{owner}.class_path" in differing


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys.

    >>> flatten({"a": {"b": 1, "c": [2]}, "d": {}})
    {'a.b': 1, 'a.c': [2], 'd': {}}
    """
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _read_environment(trials: Iterable[TrialFacts | None]) -> dict[str, Any]:
    """Versions and machine of the first of these trials that says so."""
    for trial in trials:
        path = None if trial is None or trial.folder is None else trial.folder / MANIFEST_FILE
        try:
            start = json.loads(path.read_text(encoding="utf-8"))["starts"][-1] if path else None
        except (OSError, ValueError, KeyError, IndexError):
            start = None
        if start:
            git = start.get("git") or {}
            packages = start.get("packages", {})
            return {
                "gpt_lightning": start.get("gpt_lightning"),
                "commit": git.get("commit") and git["commit"][:12] + (" with changes" if git.get("changed") else ""),
                "python": start.get("python"),
                **{name: packages.get(name) for name in _SHOWN_PACKAGES},
                "optuna": optuna.__version__,
                "platform": start.get("platform"),
                "host": start.get("host"),
            }
    return {}

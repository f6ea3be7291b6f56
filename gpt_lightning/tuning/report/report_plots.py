"""How parameters and results go together: Optuna's plots of a study that is built anew from the facts of a sweep.

How much each parameter decides about good results is Optuna's PED-ANOVA (Watanabe et al. 2023), also conditional.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from gpt_lightning.reports.charts import FAINT, PALETTE, Chart, Plot, import_plotly, label
from gpt_lightning.tuning.report.report_charts import cap_of, capped, finished, short_name, spell, spell_parameters
from gpt_lightning.tuning.report.report_facts import Objective, StudyFacts, TrialFacts, pareto_front
from gpt_lightning.tuning.study.entries import DIVERGED


def importances(study: StudyFacts) -> Chart | None:
    """How much of the good results each parameter decides."""
    shown = {name: each for name, each in study.importances.items() if each}
    if not shown:
        return None
    keys = sorted({key for each in shown.values() for key in each}, key=lambda key: -_mean_share(shown, key))
    names = [short_name(key) for key in keys]
    figure = import_plotly().Figure(layout={"height": 160 + 30 * len(keys) * len(shown), "barmode": "group"})
    for (name, each), colour in zip(shown.items(), PALETTE * len(shown), strict=False):
        shares = [each.get(key, 0.0) for key in keys]
        figure.add_bar(
            x=shares, y=list(map(label, names)), orientation="h", name=label(name), marker_color=colour,
            hovertemplate="%{y}: %{x:.3f}",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    rows = [
        [name, *(float(each.get(key, 0.0)) for each in shown.values())] for name, key in zip(names, keys, strict=True)
    ]
    return Plot("Importance of parameters (PED-ANOVA)", figure, ["", *shown], rows)


def _mean_share(shown: Mapping[str, Mapping[str, float]], key: str) -> float:
    return sum(float(each.get(key, 0.0)) for each in shown.values()) / len(shown)


def ordered_keys(study: StudyFacts) -> list[str]:
    """Parameters, the most important first."""
    keys = dict.fromkeys(key for trial in study.trials for key in trial.parameters)
    first = next(iter(study.importances.values()), {})
    return sorted(keys, key=lambda key: -first.get(key, 0.0))


def slices(study: StudyFacts, place: int, most: int = 8) -> list[Chart]:
    """The objective over each parameter on its own, coloured by the trial's number."""
    goal, found = study.objectives[place], []
    for key in _varied(study, place)[:most]:
        figure = optuna.visualization.plot_slice(_rebuild(study, place), [label(key)], target_name=label(goal.name))
        texts = {trial.number: _describe(trial, place) for trial in _able(study, place)}
        for points in figure.data:
            if points.marker.color is not None and not isinstance(points.marker.color, str):
                points.update(text=[texts[number] for number in points.marker.color], hovertemplate="%{text}")
        figure.update_traces(marker_size=9)
        found.append(Plot(f"{goal.name} by {short_name(key)}", figure, *_ends(study, place, [key])))
    return [*found]


def contours(study: StudyFacts, place: int, most: int = 3) -> list[Chart]:
    """The objective over pairs of the most important parameters; of each cell the best."""
    goal, found = study.objectives[place], []
    keys = _varied(study, place)[: most + 1]
    for one, two in [(one, two) for number, one in enumerate(keys) for two in keys[number + 1 :]][:most]:
        both = [trial for trial in _able(study, place) if {one, two} <= trial.parameters.keys()]
        if len(both) < 4 or min(len({spell(trial.parameters[key]) for trial in both}) for key in (one, two)) < 2:
            continue
        names = [label(one), label(two)]
        figure = optuna.visualization.plot_contour(_rebuild(study, place), names, target_name=label(goal.name))
        title = f"{goal.name} over {short_name(one)} and {short_name(two)}"
        found.append(Plot(title, figure, *_ends(study, place, [one, two])))
    return [*found]


def parallel(study: StudyFacts, place: int, most: int = 8) -> Chart | None:
    """Every trial as a line through its parameters."""
    keys = _varied(study, place)[:most]
    if len(keys) < 2:
        return None
    goal, names = study.objectives[place], list(map(label, keys))
    figure = optuna.visualization.plot_parallel_coordinate(_rebuild(study, place), names, target_name=label(goal.name))
    figure.update_layout(
        plot_bgcolor=None, xaxis_ticktext=[label(goal.name), *map(_axis_name, sorted(keys, key=label))]
    )
    figure.update_annotations(font_color=FAINT)
    return Plot(f"{goal.name} and all parameters", figure, *_ends(study, place, keys))


def _axis_name(key: str) -> str:
    return label(short_name(key))


def front(study: StudyFacts) -> list[Chart]:
    """The Pareto front, for the first objective against each of the others."""
    able = [trial for trial in study.trials if trial.counts]
    best = pareto_front(able, study.objectives)
    names, found = [each.name for each in study.objectives], []
    for place in range(1, len(names)) if able else ():
        figure = optuna.visualization.plot_pareto_front(
            _build_study([(trial, list(trial.values or ())) for trial in able], study.objectives, study.logarithmic),
            targets=functools.partial(_first_and, place),
            target_names=[
                label(f"{each.name} ({each.goal})") for each in (study.objectives[0], study.objectives[place])
            ],
        )
        rows = [[f"trial {each.number}", *(each.values or ())] for each in best]
        found.append(Plot(f"{names[place]} against {names[0]}", figure, ["on the front", *names], rows))
    return [*found]


def _first_and(place: int, trial: FrozenTrial) -> tuple[float, float]:
    return trial.values[0], trial.values[place]


def _able(study: StudyFacts, place: int) -> list[TrialFacts]:
    return [trial for trial in finished(study) if trial.values and math.isfinite(trial.values[place])]


def _varied(study: StudyFacts, place: int) -> list[str]:
    """Parameters of more than one value, the most important first."""
    able = _able(study, place)
    return [
        key
        for key in ordered_keys(study)
        if len({spell(trial.parameters[key]) for trial in able if key in trial.parameters}) > 1
    ]


def _describe(trial: TrialFacts, place: int) -> str:
    return label(f"trial {trial.number}: {_value(trial, place):.6g}\n{spell_parameters(trial)}")


def _value(trial: TrialFacts, place: int) -> float:
    return (trial.values or (math.nan,) * (place + 1))[place]


def _ends(study: StudyFacts, place: int, keys: Sequence[str]) -> tuple[list[str], list[list[object]]]:
    """Headers and rows of the best and the worst trial that have these parameters."""
    goal = study.objectives[place]
    having = [trial for trial in _able(study, place) if set(keys) & trial.parameters.keys()]
    order = sorted(having, key=lambda trial: goal.sign * _value(trial, place))
    rows: list[list[object]] = [
        [name, trial.number, *(_cell(trial, key) for key in keys), _value(trial, place)]
        for name, trial in zip(("best", "worst"), (order[0], order[-1]), strict=True)
    ]
    return ["", "trial", *map(short_name, keys), goal.name], rows


def _cell(trial: TrialFacts, key: str) -> object:
    return spell(trial.parameters[key]) if key in trial.parameters else None


def _rebuild(study: StudyFacts, place: int) -> optuna.Study:
    """A study of one objective; outliers stand at the edge, where they do not flatten all others."""
    goal, able = study.objectives[place], _able(study, place)
    cap = cap_of(goal.sign * _value(trial, place) for trial in able)
    values = [[capped(_value(trial, place), goal, cap)] for trial in able]
    return _build_study(list(zip(able, values, strict=True)), [goal], study.logarithmic)


def _build_study(
    trials: Sequence[tuple[TrialFacts, list[float]]], goals: Sequence[Objective], logarithmic: frozenset[str]
) -> optuna.Study:
    """Trials under their own numbers: between them stand empty ones."""
    kinds: dict[str, BaseDistribution] = {}
    for key in {key for trial, _ in trials for key in trial.parameters}:
        kinds[key] = _distribution([trial.parameters[key] for trial, _ in trials if key in trial.parameters],
                                   key in logarithmic)  # fmt: skip
    study = optuna.create_study(directions=[StudyDirection[goal.goal.upper()] for goal in goals])
    for trial, values in sorted(trials, key=lambda pair: pair[0].number):
        empty = range(len(study.get_trials(deepcopy=False)), trial.number)
        study.add_trials([create_trial(state=TrialState.FAIL) for _ in empty])
        stored = {key: _store(value, kinds[key]) for key, value in trial.parameters.items()}
        study.add_trial(
            create_trial(
                values=values,
                params={label(key): value for key, value in stored.items()},
                distributions={label(key): kinds[key] for key in stored},
            )
        )
    return study


def _distribution(values: Sequence[Any], logarithmic: bool) -> BaseDistribution:
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        low, high = float(min(values)), float(max(values))
        return FloatDistribution(low, high, log=logarithmic and low > 0)
    return CategoricalDistribution(sorted({label(spell(value)) for value in values}))


def _store(value: Any, kind: BaseDistribution) -> Any:
    return float(value) if isinstance(kind, FloatDistribution) else label(spell(value))


_FEWEST = 4
"""Complete trials below which nothing is said."""


def find_importances(
    trials: Sequence[FrozenTrial], objectives: Sequence[Objective], names: Mapping[str, str]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Shares of the parameters, for each objective.

    Args:
        trials: Of a study; complete ones with finite values count, repetitions of others do not.
        objectives: In the order of the trials' values.
        names: Stored name -> setting.

    Returns:
        Objective -> setting -> share of 1, the largest first; and what could not be said, a sentence each.
    """
    able = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and trial.user_attrs.get("repeats") is None
        and not trial.user_attrs.get(DIVERGED)
        and all(math.isfinite(value) for value in trial.values)
    ]
    if len(able) < _FEWEST or all(len(trial.params) == 0 for trial in able):
        return {}, []
    goals = {
        objective.name: [_with_values(trial, [objective.sign * trial.values[place]]) for trial in able]
        for place, objective in enumerate(objectives)
    }
    if len(objectives) > 1:
        signs = [objective.sign for objective in objectives]
        goals["the Pareto front"] = [
            _with_values(trial, [sign * value for sign, value in zip(signs, trial.values, strict=True)])
            for trial in able
        ]
    # At least five trials should count as good ones, says the method; at most half of them can.
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, 5 / len(able))))
    found, problems = {}, []
    for name, lower_is_better in goals.items():
        study = optuna.create_study(directions=["minimize"] * len(lower_is_better[0].values))
        study.add_trials(lower_is_better)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # says that the shares mean nothing
                shares = get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError, UserWarning) as problem:
            problems.append(f"No importances for {name}: {' '.join(str(problem).split())}")
            continue
        found[name] = {names.get(stored, stored): float(share) for stored, share in shares.items()}
    return found, problems


def _with_values(trial: FrozenTrial, values: list[float]) -> FrozenTrial:
    return optuna.trial.create_trial(values=values, params=trial.params, distributions=trial.distributions)

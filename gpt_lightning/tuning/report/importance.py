"""How much each parameter decides about good results: Optuna's PED-ANOVA (Watanabe et al. 2023), also conditional."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from gpt_lightning.tuning.report.report_facts import Objective
from gpt_lightning.tuning.study.entries import DIVERGED

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

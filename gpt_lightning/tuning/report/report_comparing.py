"""Several sweeps in one report: yesterday's and today's, the best of each, with the same seeds where both have them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate

from gpt_lightning.errors import ConfigError
from gpt_lightning.reports.charts import PALETTE, Chart, LineChart, Series
from gpt_lightning.reports.numbers import format_seconds
from gpt_lightning.reports.page import Page
from gpt_lightning.tuning.report.report_charts import finished, short_name, spell, spell_parameters
from gpt_lightning.tuning.report.report_facts import StudyFacts, TrialFacts

_MOST_SLICES = 8


def build_comparison(studies: Sequence[StudyFacts]) -> Page:
    """The page.

    Args:
        studies: At least two, under different names.

    Raises:
        ConfigError: They optimize different things.
    """
    goals = {study.objectives[0] for study in studies}
    if len(goals) > 1:
        told = ", ".join(f"{study.name}: {study.objectives[0].goal} {study.objectives[0].name}" for study in studies)
        raise ConfigError("These sweeps do not optimize the same, so their values cannot be compared", got=told)
    goal = goals.pop().name
    page = Page(f"{len(studies)} sweeps: {', '.join(each.name for each in studies)}", time.strftime("%Y-%m-%d %H:%M"))
    page.heading("Overview")
    page.table(*_overview(studies))
    for study in studies:
        for problem in study.problems:
            page.text(f"{study.name}: {problem}")
    page.heading("Best of each")
    page.table(*_settings(studies))
    _add_seeds(page, studies)
    page.heading("Course")
    for chart in (_progress(studies), _best_curves(studies), _best_rates(studies)):
        if chart is not None:
            page.chart(chart)
    common = [key for key in _keys(studies) if sum(_varies(study, key) for study in studies) > 1]
    if common:
        page.heading("Parameters that several sweeps vary")
        for key in common[:_MOST_SLICES]:
            page.chart(_slice(studies, key, goal))
    return page


def _overview(studies: Sequence[StudyFacts]) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for study in studies:
        best = study.best
        rows.append(
            [
                study.name,
                len(study.trials),
                sum(trial.counts for trial in study.trials),
                None if best is None else best.number,
                _value(best),
                sum(trial.executed_steps for trial in study.trials),
                sum(trial.reused_steps for trial in study.trials),
                format_seconds(sum(trial.seconds for trial in study.trials)),
            ]
        )
    goal = studies[0].objectives[0].name
    return ["sweep", "trials", "counting", "best trial", goal, "steps executed", "steps taken over", "time"], rows


def _value(trial: TrialFacts | None) -> float | None:
    return None if trial is None or trial.values is None else float(trial.values[0])


def _keys(studies: Sequence[StudyFacts]) -> list[str]:
    return list(dict.fromkeys(key for study in studies for trial in study.trials for key in trial.parameters))


def _settings(studies: Sequence[StudyFacts]) -> tuple[list[str], list[list[object]]]:
    """What was chosen in the best trial of each."""
    best = [{} if study.best is None else study.best.parameters for study in studies]
    rows: list[list[object]] = [
        [key, *(spell(each[key]) if key in each else None for each in best)] for key in _keys(studies)
    ]
    return ["setting", *(study.name for study in studies)], rows


def values_by_seed(study: StudyFacts) -> dict[int, float]:
    """Values of the best trial and of its repetitions."""
    best = study.best
    if best is None:
        return {}
    own = [trial for trial in study.trials if trial is best or trial.repeats == best.number]
    return {
        trial.seed: trial.values[0]
        for trial in own
        if trial.seed is not None and trial.values is not None and trial.state == "complete"
    }


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[int, float, float]:
    """Number of seeds that both have, mean of the differences on them, its standard error (NaN for fewer than two)."""
    differences = [other[seed] - one[seed] for seed in sorted(one.keys() & other.keys())]
    if not differences:
        return 0, math.nan, math.nan
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return len(differences), statistics.fmean(differences), error


def _add_seeds(page: Page, studies: Sequence[StudyFacts]) -> None:
    values = [values_by_seed(study) for study in studies]
    rows: list[list[object]] = []
    for study, mine in zip(studies[1:], values[1:], strict=True):
        count, mean, error = paired(values[0], mine)
        if count:
            rows.append([study.name, count, mean, None if math.isnan(error) else error])
    if rows:
        page.heading(f"Against the best of {studies[0].name}, on the same seeds", 3)
        page.table(["sweep", "seeds", "mean difference", "standard error"], rows)
        page.text(
            "A difference of less than two standard errors, or on one seed, may be chance. "
            "More seeds: `repeat_best` in the sweep file."
        )


def _progress(studies: Sequence[StudyFacts]) -> Chart | None:
    """The best so far over what it has cost, the same axis for all."""
    steps = all(any(trial.executed_steps for trial in study.trials) for study in studies)
    series = []
    for study in studies:
        sign, shown = study.objectives[0].sign, finished(study)
        if shown:
            costs = list(accumulate(float(trial.executed_steps) if steps else 1.0 for trial in shown))
            values = accumulate((sign * float((trial.values or (math.nan,))[0]) for trial in shown), min)
            series.append(Series(study.name, costs, [sign * value for value in values], dots=len(shown) < 12))
    name = studies[0].objectives[0].name
    label = "optimizer steps of finished trials" if steps else "finished trials"
    title = f"Best {name} so far over {label}"
    return LineChart(series, title=title, x_label=label, y_label=name, legend=True) if series else None


def _best_curves(studies: Sequence[StudyFacts]) -> Chart | None:
    name, series = studies[0].objectives[0].name, []
    for study in studies:
        points = [] if study.best is None else [each for each in study.best.points if name in each.metrics]
        if points:
            values = [each.metrics[name] for each in points]
            series.append(Series(study.name, [each.tokens for each in points], values, dots=len(points) < 12))
    title = f"{name} of the best trials"
    return LineChart(series, title=title, x_label="training tokens", y_label=name, legend=True) if series else None


def _best_rates(studies: Sequence[StudyFacts]) -> Chart | None:
    series = [
        Series(study.name, [tokens for tokens, _ in study.best.rates], [rate for _, rate in study.best.rates])
        for study in studies
        if study.best is not None and study.best.rates
    ]
    if not series:
        return None
    title, x_label = "Learning rates of the best trials", "training tokens"
    return LineChart(series, title, x_label, "learning rate", y_limits=(0.0, None), legend=True)


def _varies(study: StudyFacts, key: str) -> bool:
    return len({spell(trial.parameters[key]) for trial in finished(study) if key in trial.parameters}) > 1


def _slice(studies: Sequence[StudyFacts], key: str, goal: str) -> Chart:
    """Values over one parameter, a colour for each sweep; numbers on an axis, other choices by their place."""
    values = [trial.parameters[key] for study in studies for trial in finished(study) if key in trial.parameters]
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    places = {text: place for place, text in enumerate(dict.fromkeys(map(spell, values)))}
    series = []
    for study, colour in zip(studies, PALETTE * len(studies), strict=False):
        shown = [trial for trial in finished(study) if key in trial.parameters]
        series.append(
            Series(
                study.name,
                [float(trial.parameters[key]) if numbers else places[spell(trial.parameters[key])] for trial in shown],
                [float((trial.values or (math.nan,))[0]) for trial in shown],
                labels=[f"{study.name}, trial {trial.number}: {_value(trial):.6g}\n{spell_parameters(trial)}"
                        for trial in shown],
                line=False, dots=True, colour=colour,
            )
        )  # fmt: skip
    named = (
        short_name(key) if numbers else f"{short_name(key)}: {', '.join(f'{at} {text}' for text, at in places.items())}"
    )
    log = numbers and any(key in study.logarithmic for study in studies) and min(values) > 0
    return LineChart(series, title=f"{goal} by {short_name(key)}", x_label=named, y_label=goal, log_x=log, legend=True)

"""Charts of how parameters and results go together: importances, slices, planes over two parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpt_lightning.reports.charts import BarChart, Bars, Chart, HeatMap, ScatterChart
from gpt_lightning.tuning.report.report_charts import cap_of, capped, finished, short_name, spell, spell_parameters
from gpt_lightning.tuning.report.report_facts import StudyFacts

_CELLS, _FILLED = 12, 0.3
"""Distinct values up to which, and share of cells that must be known for, two parameters to be shown as a table."""


def importances(study: StudyFacts) -> Chart | None:
    """How much of the good results each parameter decides."""
    shown = {name: each for name, each in study.importances.items() if each}
    if not shown:
        return None
    keys = sorted({key for each in shown.values() for key in each}, key=lambda key: -_mean_share(shown, key))
    bars = [Bars(name, [each.get(key, 0.0) for key in keys]) for name, each in shown.items()]
    return BarChart(
        [short_name(key) for key in keys], bars, title="Importance of parameters (PED-ANOVA)", value_label="share"
    )


def _mean_share(shown: Mapping[str, Mapping[str, float]], key: str) -> float:
    return sum(float(each.get(key, 0.0)) for each in shown.values()) / len(shown)


def ordered_keys(study: StudyFacts) -> list[str]:
    """Parameters, the most important first."""
    keys = dict.fromkeys(key for trial in study.trials for key in trial.parameters)
    first = next(iter(study.importances.values()), {})
    return sorted(keys, key=lambda key: -first.get(key, 0.0))


def slices(study: StudyFacts, place: int, most: int = 8) -> list[Chart]:
    """The objective over each parameter on its own, coloured by the trial's number."""
    goal = study.objectives[place]
    found: list[Chart] = []
    for key in ordered_keys(study)[:most]:
        points = [(trial, trial.values[place]) for trial in finished(study) if trial.values and key in trial.parameters]
        points = [(trial, value) for trial, value in points if math.isfinite(value)]
        if len({spell(trial.parameters[key]) for trial, _ in points}) < 2:
            continue
        cap = cap_of(goal.sign * value for _, value in points)
        places, names = _places([trial.parameters[key] for trial, _ in points])
        found.append(
            ScatterChart(
                x=places,
                y=[capped(value, goal, cap) for _, value in points],
                values=[float(trial.number) for trial, _ in points],
                value_label="trial",
                labels=[f"trial {trial.number}: {value:.6g}\n{spell_parameters(trial)}" for trial, value in points],
                title=f"{goal.name} by {short_name(key)}",
                x_label=key,
                y_label=goal.name,
                log_x=not names and key in study.logarithmic and min(places) > 0,
                x_names=names,
            )
        )
    return found


def _places(values: Sequence[Any]) -> tuple[list[float], list[str]]:
    """Places on an axis, and their names when they are no numbers."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return [float(value) for value in values], []
    names = sorted({spell(value) for value in values})
    return [float(names.index(spell(value))) for value in values], names


def contours(study: StudyFacts, place: int, most: int = 3) -> list[Chart]:
    """The objective over pairs of the most important parameters."""
    keys = ordered_keys(study)[: most + 1]
    pairs = [(one, two) for number, one in enumerate(keys) for two in keys[number + 1 :]]
    charts = (_plane(study, place, *pair) for pair in pairs)
    return [chart for chart in charts if chart is not None][:most]


def _plane(study: StudyFacts, place: int, across: str, up: str) -> Chart | None:
    goal = study.objectives[place]
    points = [
        (trial.parameters[across], trial.parameters[up], trial.values[place])
        for trial in finished(study)
        if trial.values and across in trial.parameters and up in trial.parameters and math.isfinite(trial.values[place])
    ]
    distinct = [len({spell(point[side]) for point in points}) for side in (0, 1)]
    if min(distinct, default=0) < 2 or len(points) < 4:
        return None
    log_x, log_y = across in study.logarithmic, up in study.logarithmic
    short = short_name(across), short_name(up)
    title = f"{goal.name} over {short[0]} and {short[1]}"
    (x, x_names), (y, y_names) = _places([point[0] for point in points]), _places([point[1] for point in points])
    values = [float(point[2]) for point in points]
    cap = cap_of(goal.sign * value for value in values)
    values = [capped(value, goal, cap) for value in values]
    filled = len(set(zip(x, y, strict=True))) / (distinct[0] * distinct[1])
    if max(distinct) > _CELLS or filled < _FILLED:
        if x_names or y_names:
            return None
        grid_x, grid_y, plane = interpolate(x, y, values, log_x=log_x, log_y=log_y)
        points_at = list(zip(x, y, strict=True))
        return HeatMap(grid_x, grid_y, plane, title, *short, goal.name, log_x, log_y, contours=7, points=points_at)
    columns, rows = sorted(set(x)), sorted(set(y))
    cells: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    for a, b, value in zip(x, y, values, strict=True):
        before = cells[rows.index(b)][columns.index(a)]
        better = before is None or goal.sign * value < goal.sign * before
        cells[rows.index(b)][columns.index(a)] = value if better else before
    heads = [x_names[int(column)] if x_names else f"{column:.3g}" for column in columns]
    sides = [y_names[int(row)] if y_names else f"{row:.3g}" for row in rows]
    # Named rows are drawn from top to bottom, numbers should rise upwards.
    return HeatMap(heads, sides[::-1], cells[::-1], f"{title}, best of each cell", *short, goal.name)


def interpolate(
    x: Sequence[float], y: Sequence[float], values: Sequence[float], *, log_x: bool, log_y: bool, size: int = 24
) -> tuple[list[float], list[float], list[list[float | None]]]:
    """Values on a grid between scattered points, weighted by the inverse square of the distance.

    Cells further from every point than a quarter of the plane stay empty: nothing is known there.

    Returns:
        Centres of the columns, centres of the rows, ``size`` x ``size`` values.
    """

    def scale(places: Sequence[float], log: bool) -> tuple[Any, list[float]]:
        inner = np.log(np.asarray(places)) if log else np.asarray(places, dtype=float)
        grid = np.linspace(inner.min(), inner.max(), size)
        width = (inner.max() - inner.min()) or 1.0
        return (inner - inner.min()) / width, [float(each) for each in (np.exp(grid) if log else grid)]

    (a, grid_x), (b, grid_y) = scale(x, log_x), scale(y, log_y)
    height = np.asarray(values, dtype=float)
    rows: list[list[float | None]] = []
    for row in np.linspace(0, 1, size):
        squared = [(a - column) ** 2 + (b - row) ** 2 for column in np.linspace(0, 1, size)]
        weights = [1.0 / (distance + 1e-4) for distance in squared]
        rows.append(
            [
                float((weight * height).sum() / weight.sum()) if distance.min() <= 0.0625 else None
                for weight, distance in zip(weights, squared, strict=True)
            ]
        )
    return grid_x, grid_y, rows

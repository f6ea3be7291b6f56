"""Charts of what happened in a sweep, each from the facts alone; None where there is nothing to show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from gpt_lightning.reports.charts import FAINT, PALETTE, Chart, LineChart, Plot, Series, import_plotly, label
from gpt_lightning.reports.numbers import format_number
from gpt_lightning.tuning.report.report_facts import Attempt, Objective, StudyFacts, TrialFacts
from gpt_lightning.tuning.study.entries import DIVERGED

TOP = 5
"""Trials that are shown by name."""
_MOST_ROWS, _MOST_CURVES = 40, 200
_STATES = ("running", "failed", "complete", "stopped", "pruned", "beyond a limit")
"""In the order of the palette: what failed is orange, what is complete green."""


def state_colour(state: str) -> str:
    """The same in all charts; grey for what waits."""
    state = "failed" if state == DIVERGED else state
    return PALETTE[_STATES.index(state)] if state in _STATES else FAINT


def short_name(key: str) -> str:
    """The last two parts of a setting: "optimizer.lr" of "model.optimizer.init_args.lr"."""
    parts = [part for part in key.split(".") if part not in ("init_args", "class_path")]
    return ".".join(parts[-2:])


def spell(value: Any) -> str:
    """A value of a setting, in few letters: ``WSD(decay=20%)`` for a class with arguments."""
    if isinstance(value, dict) and "class_path" in value:
        arguments = ", ".join(f"{name}={spell(each)}" for name, each in (value.get("init_args") or {}).items())
        return spell(value["class_path"]) + (f"({arguments})" if arguments else "")
    if isinstance(value, str) and value.startswith("gpt_lightning."):
        return value.rpartition(".")[2]
    return format_number(value) if isinstance(value, float) else str(value)


def spell_parameters(trial: TrialFacts) -> str:
    """All of a trial's parameters in a line."""
    return ", ".join(f"{short_name(key)} {spell(value)}" for key, value in trial.parameters.items())


def finished(study: StudyFacts) -> list[TrialFacts]:
    """Trials that came to their end, without repetitions."""
    return [trial for trial in study.trials if trial.values is not None and trial.state == "complete"
            and trial.repeats is None]  # fmt: skip


def cap_of(values: Iterable[float]) -> float:
    """Height above which a few outliers would flatten all others: three quartile distances above the third."""
    finite = sorted(value for value in values if math.isfinite(value))
    if len(finite) < 5:
        return math.inf
    low, high = np.percentile(finite, [25, 75])
    cap = float(high + 3 * max(high - low, 1e-12))
    return cap if finite[-1] > cap else math.inf


def history(study: StudyFacts, place: int) -> Chart | None:
    """Values in the order of the trials, and the best so far."""
    goal = study.objectives[place]
    shown = [
        (trial, trial.values[place] if trial.values else _last_value(trial, goal.name))
        for trial in study.trials
        if trial.repeats is None
    ]
    points = [(trial, value) for trial, value in shown if value is not None and math.isfinite(value)]
    if not points:
        return None
    cap = cap_of(goal.sign * value for _, value in points)
    counting = [(trial, goal.sign * value) for trial, value in points if trial.counts]
    groups: dict[str, list[tuple[TrialFacts, float]]] = {}
    for trial, value in points:
        groups.setdefault(trial.state if trial.feasible else "beyond a limit", []).append((trial, value))
    series = [
        Series(
            state,
            [trial.number for trial, _ in found],
            [capped(value, goal, cap) for _, value in found],
            labels=[
                f"trial {trial.number} ({state}): {value:.6g}\n{spell_parameters(trial)}" for trial, value in found
            ],
            line=False,
            dots=True,
            colour=state_colour(state),
        )
        for state, found in groups.items()
    ]
    if counting:
        series.append(_stairs([trial.number for trial, _ in counting], [value for _, value in counting], goal))
    return LineChart(
        series,
        title=f"{goal.name} by trial" + ("" if math.isinf(cap) else f" (beyond {goal.sign * cap:.4g}: at the edge)"),
        x_label="trial",
        y_label=f"{goal.name} ({goal.goal})",
        legend=True,
    )


def _stairs(numbers: Sequence[int], values: Sequence[float], goal: Objective) -> Series:
    """The best so far: a step down wherever a trial is better."""
    x: list[float] = []
    y: list[float] = []
    for number, best in zip(numbers, accumulate(values, min), strict=True):
        x += [number, number] if y else [number]
        y += [y[-1], goal.sign * best] if y else [goal.sign * best]
    return Series("best so far", x, y, colour=FAINT)


def _last_value(trial: TrialFacts, name: str) -> float | None:
    return next((point.metrics[name] for point in reversed(trial.points) if name in point.metrics), None)


def capped(value: float, goal: Objective, cap: float) -> float:
    """``value``, or the height beyond which all are drawn at the edge (see ``cap_of``)."""
    return goal.sign * min(goal.sign * value, cap)


def curves(study: StudyFacts) -> Chart | None:
    """The first objective over tokens: the best by name, the others in the background."""
    goal = study.objectives[0]
    top = [trial.number for trial in study.ranked[:TOP]]
    series = []
    for trial in study.trials[-_MOST_CURVES:]:
        known = [(each.tokens, each.metrics[goal.name]) for each in trial.points if goal.name in each.metrics]
        if known and trial.number not in top:
            name = f"trial {trial.number} ({trial.state})"
            series.append(Series(name, [x for x, _ in known], [y for _, y in known], faint=True))
    named = [_curve_of(trial, goal.name) for trial in study.ranked[:TOP]]
    series += [each for each in named if len(each.x)]
    if not series:
        return None
    return LineChart(
        series,
        title=f"{goal.name} over tokens; in grey other trials",
        x_label="training tokens",
        y_label=goal.name,
        y_limits=_late_limits(series, goal),
        legend=True,
    )


def curves_by_parameter(study: StudyFacts, keys: Sequence[str]) -> Chart | None:
    """The first objective over tokens, in the colour of a parameter that the reader chooses.

    Args:
        study: What there is to show.
        keys: Parameters, the most important first.
    """
    goal = study.objectives[0]
    shown = [trial for trial in study.trials[-_MOST_CURVES:] if _curve_of(trial, goal.name).x]
    varied = [key for key in keys if len({spell(trial.parameters.get(key)) for trial in shown}) > 1][:_MOST_KEYS]
    if len(shown) < 2 or not varied:
        return None
    lines = [_curve_of(trial, goal.name).thinned(_MOST_POINTS) for trial in shown]
    shades = {key: _shades(shown, key) for key in varied}
    buttons = [
        {"label": label(short_name(key)), "method": "restyle", "args": [{"line.color": found, "marker.color": found}]}
        for key, found in shades.items()
    ]
    traces = [
        {
            "type": "scatter", "x": list(line.x), "y": [y if math.isfinite(y) else None for y in line.y], "name": "",
            "mode": "lines+markers" if line.dots else "lines", "line": {"color": colour, "width": 1.5},
            "showlegend": False, "marker": {"size": 5, "color": colour},
            "hovertemplate": label(f"trial {trial.number}: %{{y:.6~g}}\n{spell_parameters(trial)}"),
        }
        for trial, line, colour in zip(shown, lines, shades[varied[0]], strict=True)
    ]  # fmt: skip
    low, high = _late_limits(lines, goal)
    ends = {} if (low, high) == (None, None) else {"range": [low, high], "autorange": "min" if low is None else "max"}
    menu = {"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}
    layout = {
        "updatemenus": [menu], "hovermode": "closest", "xaxis": {"title": {"text": "training tokens"}},
        "yaxis": {"title": {"text": label(goal.name)}, **ends},
    }  # fmt: skip
    rows = [[short_name(key), *_ends_of(shown, key)] for key in varied]
    title = f"{goal.name} over tokens, coloured by a parameter (violet: the smallest or first, yellow: the largest)"
    return Plot(title, {"data": traces, "layout": layout}, ["parameter", "violet", "yellow"], rows)


_SHADES = ("#440154", "#443983", "#31688e", "#21918c", "#35b779", "#90d743", "#fde725")
"""Viridis, whose order is seen without hues too (van der Walt and Smith 2015)."""
_MOST_KEYS, _MOST_POINTS = 8, 60


def _order_of(trials: Sequence[TrialFacts], key: str) -> list[Any]:
    """Values in their order: numbers by size, others as they come; those that lack it are left out."""
    values = [trial.parameters[key] for trial in trials if key in trial.parameters]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return sorted(set(values))
    return list(dict.fromkeys(map(spell, values)))


def _shades(trials: Sequence[TrialFacts], key: str) -> list[str]:
    order = _order_of(trials, key)
    places = {value: place / max(1, len(order) - 1) for place, value in enumerate(order)}
    found = []
    for trial in trials:
        value = trial.parameters.get(key)
        place = places.get(value if isinstance(value, (int, float)) and value in places else spell(value))
        found.append(FAINT if place is None else _SHADES[round(place * (len(_SHADES) - 1))])
    return found


def _ends_of(trials: Sequence[TrialFacts], key: str) -> tuple[str, str]:
    order = _order_of(trials, key)
    return spell(order[0]), spell(order[-1])


def _late_limits(series: Sequence[Series], goal: Objective) -> tuple[float | None, float | None]:
    """Limits that fit from 30 % on: the steep beginning would leave no height for the differences at the end."""
    late = 0.3 * max(float(x) for each in series for x in each.x)
    pairs = [(x, goal.sign * float(y)) for each in series for x, y in zip(each.x, each.y, strict=True)]
    tall = [y for x, y in pairs if x >= late and math.isfinite(y)]
    top = min(max(tall), cap_of(tall)) if tall else math.inf
    if not tall or top >= max(y for _, y in pairs if math.isfinite(y)):
        return None, None
    return (None, top) if goal.sign > 0 else (-top, None)


def _curve_of(trial: TrialFacts, name: str) -> Series:
    known = [(point.tokens, point.metrics[name]) for point in trial.points if name in point.metrics]
    return Series(f"trial {trial.number}", [x for x, _ in known], [y for _, y in known], dots=len(known) < 12)


def rates(study: StudyFacts) -> list[Chart]:
    """Learning rates of the best trials, and beside them their losses in the same colours."""
    goal = study.objectives[0]
    top = [trial for trial in study.ranked[:TOP] if trial.rates]
    if not top:
        return []
    lines = [
        Series(
            f"trial {trial.number}: {(trial.values or (math.nan,))[0]:.5g}",
            [tokens for tokens, _ in trial.rates],
            [rate for _, rate in trial.rates],
        )
        for trial in top
    ]
    found = [
        LineChart(
            lines, title="Learning rates of the best trials", x_label="training tokens", y_label="learning rate",
            y_limits=(0.0, None), legend=True,
        )
    ]  # fmt: skip
    losses = [_curve_of(trial, goal.name) for trial in top]
    if any(len(each.x) for each in losses):
        found.append(
            LineChart(
                losses, title=f"{goal.name} of the same trials", x_label="training tokens", y_label=goal.name,
                y_limits=_late_limits(losses, goal), legend=True,
            )
        )  # fmt: skip
    return [*found]


def timeline(study: StudyFacts, now: float) -> Chart | None:
    """When each attempt ran and how it ended: a row for each trial, or for each trial at a time when there are many."""
    ran = [(trial, each) for trial in study.trials for each in trial.attempts if each.start is not None]
    if not ran:
        return None
    zero = min(each.start or 0.0 for _, each in ran)
    rows: dict[int, str] = {}
    if len({trial.number for trial, _ in ran}) <= _MOST_ROWS:
        rows = {each.number: f"trial {trial.number}" for trial, each in ran}
    else:
        free: list[float] = []
        for _, each in sorted(ran, key=lambda pair: pair[1].start or 0.0):
            start, end = each.start or 0.0, now if each.end is None else each.end
            lane = next((number for number, until in enumerate(free) if until <= start), len(free))
            free[lane : lane + 1] = [end]
            rows[each.number] = f"place {lane + 1}"
        ran.sort(key=lambda pair: int(rows[pair[1].number].split()[1]))
    states = dict.fromkeys(each.state for _, each in ran)
    figure = import_plotly().Figure(layout={"barmode": "overlay", "height": 160 + 18 * len(set(rows.values()))})
    table: list[list[object]] = []
    for state in states:
        shown = [(trial, each) for trial, each in ran if each.state == state]
        seconds = [(now if each.end is None else each.end) - (each.start or 0.0) for _, each in shown]
        table.append([state, len(shown), float(sum(seconds))])
        figure.add_bar(
            y=[rows[each.number] for _, each in shown],
            base=[(each.start or 0.0) - zero for _, each in shown],
            x=seconds,
            text=[_describe_attempt(trial, each) for trial, each in shown],
            textposition="none",
            hovertemplate="%{text}<br>%{x:.1f} s",
            orientation="h",
            name=label(state),
            marker_color=state_colour(state),
            showlegend=True,
        )
    figure.update_xaxes(title_text="seconds since the first start")
    figure.update_yaxes(categoryorder="array", categoryarray=list(dict.fromkeys(rows.values())), autorange="reversed")
    return Plot("Attempts over time", figure, ["state", "bars", "seconds"], table)


def _describe_attempt(trial: TrialFacts, attempt: Attempt) -> str:
    reason = f": {attempt.reason}" if attempt.reason else ""
    number = trial.attempts.index(attempt) + 1
    return label(f"trial {trial.number}, attempt {number}{reason}\n{spell_parameters(trial)}")

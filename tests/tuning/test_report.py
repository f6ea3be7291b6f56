"""The report's page and its charts, from made-up facts with a known answer."""

from __future__ import annotations

import dataclasses
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import optuna
import pytest

from gpt_lightning.reports.charts import LineChart, Plot
from gpt_lightning.tuning.report import report_charts as charts
from gpt_lightning.tuning.report import report_plots as plots
from gpt_lightning.tuning.report.report import build_report
from gpt_lightning.tuning.report.report_facts import (
    Attempt,
    Objective,
    Point,
    StudyFacts,
    TrialFacts,
    pareto_front,
    repetitions,
)
from tests.tuning.facts import LR, make_study

NOW = 1e9 + 900


class Outline(HTMLParser):
    """Headings of a page, and every address that it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "xlink:href")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("h2", "h3"):
            self.headings.append(data.strip())


def headings(text: str) -> list[str]:
    return [heading for heading in Outline(text).headings if heading]


def test_everything_is_on_the_page() -> None:
    page = build_report(make_study(40, objectives=2), NOW)
    html, markdown = page.html(), page.markdown()
    found = headings(html)
    for heading in (
        "Best configuration",
        "Top trials",
        "Course",
        "Learning rates and losses",
        "Parameters",
        "Pareto front",
        "Noise over seeds",
        "Constraints",
        "Work",
        "Why trials ended early",
        "Environment",
    ):
        assert heading in found
        assert f"# {heading}" in markdown
    outline = Outline(html)
    assert all(address.startswith("#") for address in outline.addresses)
    assert not {"link", "img", "iframe"} & set(outline.tags)
    assert "made-up &lt;sweep&gt;" in html
    assert "<sweep>" not in html
    assert "killed by signal 9" in markdown
    assert len(html) < 3_000_000, "two of them plotly.js"


def test_the_summary_adds_up() -> None:
    study = make_study(30)
    best = study.best
    assert best is not None
    markdown = build_report(study, NOW).markdown()
    executed = sum(trial.executed_steps for trial in study.trials)
    assert f"{executed:,} executed, 1,140 taken from other trials" in markdown
    assert sum(trial.reused_steps for trial in study.trials) == 1140
    assert f"trial {best.number}: val/loss" in markdown
    assert "32 of 30 planned: 24 complete, 1 failed, 7 pruned" in markdown
    assert re.search(r"\| model\.optimizer\.init\\_args\.lr \| 0\.001000 \| 0\.003906 \|", markdown)
    seconds = sum(trial.seconds * trial.devices for trial in study.trials)
    assert f"device-seconds: {seconds:,.1f}" in markdown


@pytest.mark.parametrize("objectives", [1, 2])
def test_nothing_yet(objectives: int) -> None:
    goals = (Objective("val/loss"), Objective("perf/tokens_per_second", "maximize"))[:objectives]
    empty = build_report(StudyFacts("new", goals, ()), NOW)
    assert "No trial has begun yet." in empty.markdown()
    waiting = TrialFacts(0, "waiting", {LR: 0.1}, attempts=(Attempt(0, "waiting"),))
    running = TrialFacts(
        1, "running", {LR: 0.1}, attempts=(Attempt(1, "running", 1e9),), points=(Point(1, 8, {"val/loss": math.nan}),)
    )
    crashed = TrialFacts(2, "failed", {LR: 0.1}, attempts=(Attempt(2, "failed", 1e9, 1e9, "killed by signal 9"),))
    for trials in ((waiting,), (running,), (crashed,), (waiting, running, crashed)):
        page = build_report(StudyFacts("new", goals, trials), NOW)
        assert "No trial is complete yet." in page.markdown()
        assert "Work" in headings(page.html())


def test_one_trial() -> None:
    study = make_study(1, repetitions=0)
    page = build_report(dataclasses.replace(study, importances={}), NOW)
    assert "trial 0" in page.markdown()
    assert "Parameters" not in headings(page.html())


def test_values_that_are_not_finite_do_not_win() -> None:
    trials = (
        TrialFacts(0, "complete", {}, (math.nan,)),
        TrialFacts(1, "complete", {}, (-math.inf,)),
        TrialFacts(2, "complete", {}, (3.0,)),
        TrialFacts(3, "complete", {}, (1.0,), constraints={"mem": 0.5}),
        TrialFacts(4, "pruned", {}, (1.0,)),
        TrialFacts(5, "complete", {}, (1.0,), repeats=2),
    )
    study = StudyFacts("s", (Objective("val/loss"),), trials)
    assert [trial.number for trial in study.ranked] == [2]
    assert build_report(study, NOW).html()


def test_a_sweep_of_many_trials_stays_readable() -> None:
    page = build_report(make_study(70), NOW)
    assert len(page.html()) < 3_500_000
    assert "place 1" in page.html()


def test_the_front_is_optunas() -> None:
    rng = np.random.default_rng(0)
    goals = (Objective("a"), Objective("b", "maximize"), Objective("c"))
    study = optuna.create_study(directions=["minimize", "maximize", "minimize"])
    trials = []
    for number in range(60):
        values = tuple(float(value) for value in rng.integers(0, 6, 3))
        study.add_trial(optuna.trial.create_trial(values=list(values)))
        trials.append(TrialFacts(number, "complete", {}, values))
    for count in (1, 2, 3):
        ours = {trial.number for trial in pareto_front(trials, goals[:count])}
        if count == 3:
            assert ours == {trial.number for trial in study.best_trials}
        else:
            best = {t.number for t in trials if not any(_beats(o, t, count) for o in trials)}
            assert ours == best


def _beats(one: TrialFacts, other: TrialFacts, count: int) -> bool:
    signs = (1.0, -1.0, 1.0)
    a = [sign * value for sign, value in zip(signs, one.values or (), strict=True)][:count]
    b = [sign * value for sign, value in zip(signs, other.values or (), strict=True)][:count]
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_history_shows_the_best_so_far(goal: str) -> None:
    values = [3.0, 2.0, 2.5, 1.0, 4.0]
    trials = tuple(TrialFacts(n, "complete", {}, (value,)) for n, value in enumerate(values))
    chart = charts.history(StudyFacts("s", (Objective("val/loss", goal),), trials), 0)
    assert isinstance(chart, LineChart)
    points, line = chart.series
    assert (list(points.y), points.line, line.line) == (values, False, True)
    best = [3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert list(line.x) == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert list(line.y) == (best if goal == "minimize" else [3.0] * 8 + [4.0])


def test_an_outlier_is_drawn_at_the_edge() -> None:
    trials = tuple(TrialFacts(n, "complete", {}, (2.0 + 0.1 * n,)) for n in range(8))
    wild = (*trials, TrialFacts(8, "complete", {}, (1e6,)))
    chart = charts.history(StudyFacts("s", (Objective("val/loss"),), wild), 0)
    assert isinstance(chart, LineChart)
    assert max(chart.series[0].y) < 5
    assert "at the edge" in chart.title
    assert "1e+06" in (chart.series[0].labels or ())[8]
    (outlier,) = [number for number, x in enumerate(_slice(wild).x) if x == 8.0]
    assert _slice(wild).y[outlier] < 5


def _slice(trials: tuple[TrialFacts, ...]) -> Any:
    """Points of the slice over a parameter that is the trial's number."""
    numbered = tuple(dataclasses.replace(trial, parameters={"lr": float(trial.number)}) for trial in trials)
    (chart,) = plots.slices(StudyFacts("s", (Objective("val/loss"),), numbered), 0)
    return chart.figure().data[0]


def test_slices_know_numbers_ratios_and_choices() -> None:
    study = make_study(30)
    found = plots.slices(study, 0)
    assert [chart.title for chart in found] == [
        f"val/loss by {key}" for key in ("optimizer.lr", "model.schedule", "schedule.decay")
    ]
    lr, shape, decay = (chart.figure() for chart in found)
    assert (lr.layout.xaxis.type, shape.layout.xaxis.type, decay.layout.xaxis.type) == ("log", "category", None)
    able = [trial for trial in study.trials if trial.state == "complete" and trial.repeats is None]
    (points,) = lr.data
    assert list(points.x) == [trial.parameters[LR] for trial in able]
    assert list(points.y) == [(trial.values or ())[0] for trial in able]
    assert list(points.marker.color) == [trial.number for trial in able], "under their own numbers"
    for chart in (lr, shape):
        for number, y, text in zip(chart.data[0].marker.color, chart.data[0].y, chart.data[0].text, strict=True):
            assert text.startswith(f"trial {number}: {y:.6g}<br>optimizer.lr ")
    headers, (best, worst) = found[2].key_points()
    assert headers == ["", "trial", "schedule.decay", "val/loss"]
    assert float(str(best[3])) < float(str(worst[3]))


def test_planes_show_what_was_measured() -> None:
    study = make_study(120)
    over_shape, over_decay = plots.contours(study, 0, most=2)
    assert (over_shape.title, over_decay.title) == (
        "val/loss over optimizer.lr and model.schedule", "val/loss over optimizer.lr and schedule.decay",
    )  # fmt: skip
    contour, points = over_shape.figure().data[:2]
    finished = [t.values[0] for t in study.trials if t.values and t.repeats is None and t.state == "complete"]
    cells = [value for row in contour.z for value in row if not math.isnan(value)]
    assert min(cells) == pytest.approx(min(finished)), "of each cell the best"
    assert list(contour.y) == ["Cosine", "WSD"]
    assert len(points.x) == len(finished)


def test_parallel_coordinates_have_a_line_for_every_trial() -> None:
    study = make_study(30)
    chart = plots.parallel(study, 0)
    assert isinstance(chart, Plot)
    figure = chart.figure()
    able = [trial for trial in study.trials if trial.state == "complete" and trial.repeats is None]
    assert len([trace for trace in figure.data if trace.mode == "lines"]) == len(able)
    assert list(figure.layout.xaxis.ticktext) == ["val/loss", "optimizer.lr", "model.schedule", "schedule.decay"]
    one = StudyFacts(
        "s", study.objectives, tuple(dataclasses.replace(t, parameters={LR: t.parameters[LR]}) for t in able)
    )
    assert plots.parallel(one, 0) is None


def test_the_front_is_drawn_with_all_trials_that_count() -> None:
    study = make_study(40, objectives=2)
    (chart,) = plots.front(study)
    figure = chart.figure()
    drawn = {x for trace in figure.data for x in trace.x}
    assert drawn == {(trial.values or ())[0] for trial in study.trials if trial.counts}
    best = [trace for trace in figure.data if trace.marker.colorbar.title.text == "Best Trial"]
    assert {x for trace in best for x in trace.x} == {
        (trial.values or ())[0] for trial in pareto_front([t for t in study.trials if t.counts], study.objectives)
    }


def test_names_of_choices_are_no_html() -> None:
    trials = tuple(
        TrialFacts(n, "complete", {"<b>": f"<i>{n % 2}", "lr": 0.1 * (n + 1)}, (float(n),)) for n in range(6)
    )
    study = StudyFacts("s", (Objective("<u>"),), trials)
    for chart in (*plots.slices(study, 0), *plots.contours(study, 0), plots.parallel(study, 0)):
        assert chart is not None
        assert "<i>" not in str(chart.figure().to_plotly_json())
        assert "<u>" not in str(chart.figure().to_plotly_json())


def test_the_timeline_shows_every_attempt() -> None:
    study = make_study(20)
    chart = charts.timeline(study, NOW)
    assert isinstance(chart, Plot)
    bars = [
        (bar.name, row, text, length)
        for bar in chart.figure().data
        for row, text, length in zip(bar.y, bar.text, bar.x, strict=True)
    ]
    assert len(bars) == sum(len(trial.attempts) for trial in study.trials)
    third = sorted((state, text) for state, row, text, _ in bars if row == "trial 3")
    assert [state for state, _ in third] == ["complete", "failed"]
    assert "killed by signal 9" in third[1][1]
    running = StudyFacts(
        "s", study.objectives, (TrialFacts(0, "running", attempts=(Attempt(0, "running", NOW - 60),)),)
    )
    chart = charts.timeline(running, NOW)
    assert chart is not None
    assert list(chart.figure().data[0].x) == [60]


def test_curves_leave_the_steep_beginning_out() -> None:
    chart = charts.curves(make_study(30))
    assert isinstance(chart, LineChart)
    named = [series for series in chart.series if not series.faint]
    assert len(named) == charts.TOP
    top = chart.y_limits[1]
    assert top is not None
    assert 2.5 < top < 4.8


def test_learning_rates_stand_beside_their_losses() -> None:
    rates, losses = charts.rates(make_study(30))
    assert isinstance(rates, LineChart)
    assert isinstance(losses, LineChart)
    assert [each.name.partition(":")[0] for each in rates.series] == [each.name for each in losses.series]


def test_importances_are_sorted() -> None:
    chart = plots.importances(make_study(30))
    assert chart is not None
    (bars,) = chart.figure().data
    assert list(bars.y) == ["optimizer.lr", "model.schedule", "schedule.decay"]
    assert list(bars.x) == [0.8, 0.15, 0.05]


def test_noise_is_the_deviation_over_seeds() -> None:
    study = make_study(30, repetitions=2)
    ((trial, again),) = repetitions(study)
    values = [each.values[0] for each in (trial, *again) if each.values]
    deviation = float(np.std(values, ddof=1))
    markdown = build_report(study, NOW).markdown()
    assert f"Differences below about {2 * math.sqrt(2) * deviation:.3g} " in markdown

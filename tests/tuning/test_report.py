"""The report's page and its charts, from made-up facts with a known answer."""

from __future__ import annotations

import dataclasses
import math
import re
from html.parser import HTMLParser

import numpy as np
import optuna
import pytest

from gpt_lightning.reports.charts import BarChart, HeatMap, LineChart, ScatterChart, Timeline
from gpt_lightning.tuning.report import report_charts as charts
from gpt_lightning.tuning.report import report_planes as planes
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
from tests.tuning.facts import DECAY, LR, SHAPE, make_study

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
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    assert "made-up &lt;sweep&gt;" in html
    assert "<sweep>" not in html
    assert "killed by signal 9" in markdown
    assert len(html) < 1_000_000


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
    assert len(page.html()) < 3_000_000
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
    assert isinstance(chart, ScatterChart)
    assert list(chart.y) == values
    line = chart.lines[0]
    best = [3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert list(line.x) == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert list(line.y) == (best if goal == "minimize" else [3.0] * 8 + [4.0])


def test_an_outlier_is_drawn_at_the_edge() -> None:
    trials = tuple(TrialFacts(n, "complete", {}, (2.0 + 0.1 * n,)) for n in range(8))
    wild = (*trials, TrialFacts(8, "complete", {}, (1e6,)))
    chart = charts.history(StudyFacts("s", (Objective("val/loss"),), wild), 0)
    assert isinstance(chart, ScatterChart)
    assert max(chart.y) < 5
    assert "at the edge" in chart.title
    assert "1e+06" in chart.labels[8]


def test_slices_know_numbers_ratios_and_choices() -> None:
    found = planes.slices(make_study(30), 0)
    by_key = {chart.x_label: chart for chart in found if isinstance(chart, ScatterChart)}
    assert list(by_key) == [LR, SHAPE, DECAY]
    assert by_key[LR].log_x
    assert not by_key[DECAY].log_x
    assert by_key[SHAPE].x_names == ["Cosine", "WSD"]
    assert set(by_key[SHAPE].x) == {0.0, 1.0}
    study = make_study(30)
    able = [trial for trial in study.trials if trial.state == "complete" and trial.repeats is None]
    assert list(by_key[LR].x) == [trial.parameters[LR] for trial in able]


def test_planes_show_what_was_measured() -> None:
    study = make_study(120)
    table, plane = planes.contours(study, 0, most=2)
    assert isinstance(table, HeatMap)
    assert isinstance(plane, HeatMap)
    assert list(table.y) == ["WSD", "Cosine"]
    best = study.best
    assert best is not None
    assert best.values is not None
    cells = [value for row in table.values for value in row if value is not None]
    finished = [t.values[0] for t in study.trials if t.values and t.repeats is None and t.state == "complete"]
    assert min(cells) == pytest.approx(min(finished))
    assert plane.contours > 0
    assert len(plane.points) > 10


@pytest.mark.parametrize("log", [False, True])
def test_interpolation_reproduces_points_and_stays_between_them(log: bool) -> None:
    corners = [1.0, 4.0]
    x, y, values = [1.0, 4.0, 1.0, 4.0, 2.0 if log else 2.5], [*np.repeat(corners, 2), 1.0], [0.0, 1.0, 2.0, 3.0, 0.5]
    grid_x, grid_y, plane = planes.interpolate(x, [float(each) for each in y], values, log_x=log, log_y=False, size=9)
    assert plane[0][0] == pytest.approx(0.0, abs=1e-2)
    assert plane[0][8] == pytest.approx(1.0, abs=1e-2)
    assert plane[8][0] == pytest.approx(2.0, abs=1e-2)
    assert plane[0][4] == pytest.approx(0.5, abs=1e-2)
    assert plane[4][4] is None, "too far from everything"
    assert grid_x[4] == pytest.approx(2.0 if log else 2.5)
    assert grid_y == pytest.approx(list(np.linspace(1, 4, 9)))
    known = [value for row in plane for value in row if value is not None]
    assert 0 <= min(known) <= max(known) <= 3


def test_the_timeline_shows_every_attempt() -> None:
    study = make_study(20)
    chart = charts.timeline(study, NOW)
    assert isinstance(chart, Timeline)
    assert len(chart.spans) == sum(len(trial.attempts) for trial in study.trials)
    third = [span for span in chart.spans if span.row == "trial 3"]
    assert [span.state for span in third] == ["failed", "complete"]
    assert "killed by signal 9" in third[0].text
    running = StudyFacts(
        "s", study.objectives, (TrialFacts(0, "running", attempts=(Attempt(0, "running", NOW - 60),)),)
    )
    span = getattr(charts.timeline(running, NOW), "spans")[0]  # noqa: B009 (a Chart has no spans)
    assert span.end - span.start == 60


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
    chart = planes.importances(make_study(30))
    assert isinstance(chart, BarChart)
    assert list(chart.names) == ["optimizer.lr", "model.schedule", "schedule.decay"]


def test_noise_is_the_deviation_over_seeds() -> None:
    study = make_study(30, repetitions=2)
    ((trial, again),) = repetitions(study)
    values = [each.values[0] for each in (trial, *again) if each.values]
    deviation = float(np.std(values, ddof=1))
    markdown = build_report(study, NOW).markdown()
    assert f"Differences below about {2 * math.sqrt(2) * deviation:.3g} " in markdown

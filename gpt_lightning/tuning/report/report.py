"""``sweep report``: what a sweep found, as one HTML page that needs no network, and the same in Markdown.

Everything is shown that there is, at any moment of a sweep: without trials, while they run, after a crash.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from gpt_lightning.errors import ConfigError
from gpt_lightning.reports.charts import Chart
from gpt_lightning.reports.numbers import format_seconds
from gpt_lightning.reports.page import Page, check_pages, write_page
from gpt_lightning.tuning.report import report_charts as charts
from gpt_lightning.tuning.report import report_plots as plots
from gpt_lightning.tuning.report.report_facts import StudyFacts, TrialFacts, pareto_front, repetitions

_ROWS = 15


def build_report(study: StudyFacts, now: float, *, parameters: bool = True) -> Page:
    """The page.

    Args:
        study: What there is to show.
        now: Seconds since the epoch; where running attempts end in the timeline.
        parameters: Whether to draw how parameters and results go together, which takes most of the time.
    """
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(now))
    page = Page(f"Sweep {study.name}", f"{study.source}, as of {made}")
    if study.description:
        page.text(study.description)
    page.facts(_summary(study))
    for problem in study.problems:
        page.text(problem)
    _add_running(page, study)
    _add_best(page, study)
    _add_trials(page, study)
    _add_course(page, study)
    if parameters:
        _add_parameters(page, study)
    _add_front(page, study)
    _add_noise(page, study)
    _add_limits(page, study)
    _add_work(page, study, now)
    if study.environment:
        page.heading("Environment")
        page.facts(study.environment)
    return page


def _summary(study: StudyFacts) -> list[tuple[str, object]]:
    counts = Counter(trial.state for trial in study.trials)
    states = ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "none yet"
    planned = "" if study.planned_trials is None else f" of {study.planned_trials} planned"
    facts: list[tuple[str, object]] = [
        ("objectives", ", ".join(f"{each.goal} {each.name}" for each in study.objectives)),
        ("trials", f"{len(study.trials)}{planned}: {states}"),
    ]
    best = study.best
    if best is not None and best.values is not None:
        values = ", ".join(
            f"{each.name} {value:.6g}" for each, value in zip(study.objectives, best.values, strict=False)
        )
        which = "best" if len(study.objectives) == 1 else "best by the first objective"
        facts.append((which, f"trial {best.number}: {values}"))
    executed, reused = (sum(getattr(trial, name) for trial in study.trials) for name in _STEPS)
    if executed or reused:
        share = f" ({reused / (executed + reused):.0%} saved)" if reused else ""
        facts.append(("optimizer steps", f"{executed:,} executed, {reused:,} taken from other trials{share}"))
    return facts


_STEPS = ("executed_steps", "reused_steps")


def _add_charts(page: Page, found: Iterable[Chart | None]) -> None:
    for chart in found:
        if chart is not None:
            page.chart(chart)


def _add_running(page: Page, study: StudyFacts) -> None:
    """Who works on what now."""
    running = [trial for trial in study.trials if trial.state == "running"]
    if not running:
        return
    page.heading("Running")
    goal = study.objectives[0].name
    rows: list[list[object]] = [
        [
            trial.number,
            trial.worker or None,
            f"{trial.tokens / trial.total_tokens:.0%}" if trial.total_tokens else None,
            next((point.metrics[goal] for point in reversed(trial.points) if goal in point.metrics), None),
            charts.spell_parameters(trial),
        ]
        for trial in running
    ]
    page.table(["trial", "worker", "done", goal, "parameters"], rows)


def _add_best(page: Page, study: StudyFacts) -> None:
    page.heading("Best configuration")
    best = study.best
    if best is None:
        page.text("No trial is complete yet." if study.trials else "No trial has begun yet.")
        return
    settings = study.best_settings or best.parameters
    rows = [
        [key, None if study.base.get(key) is None else charts.spell(study.base[key]), charts.spell(settings[key])]
        for key in settings
    ]
    page.table(["setting", "base", f"trial {best.number}"], rows)
    for note in study.notes:
        page.text(note)
    page.text(
        "Write it out with `gpt-lightning sweep best`, train it again with `gpt-lightning fit --config best.yaml`."
    )


def _add_trials(page: Page, study: StudyFacts) -> None:
    ranked = study.ranked
    if ranked:
        page.heading("Top trials")
        page.table(*trial_table(study, ranked[:_ROWS]))
    others = [trial for trial in study.trials if trial not in ranked]
    if others:
        part = page.collapsible(f"The other {len(others)} trials" if ranked else f"All {len(others)} trials")
        part.table(*trial_table(study, others))


def trial_table(study: StudyFacts, trials: Iterable[TrialFacts]) -> tuple[list[str], list[list[object]]]:
    """Headers and a row for each trial."""
    keys = list(dict.fromkeys(key for trial in study.trials for key in trial.parameters))
    headers = ["trial", "state", *(each.name for each in study.objectives), *map(charts.short_name, keys)]
    rows: list[list[object]] = [
        [
            trial.number,
            trial.state if trial.feasible else f"{trial.state}, beyond a limit",
            *(trial.values or [None] * len(study.objectives))[: len(study.objectives)],
            *(charts.spell(trial.parameters[key]) if key in trial.parameters else None for key in keys),
            trial.steps,
            trial.tokens,
            format_seconds(trial.seconds) if trial.seconds else None,
            trial.seed,
        ]
        for trial in trials
    ]
    return [*headers, "steps", "tokens", "time", "seed"], rows


def _add_course(page: Page, study: StudyFacts) -> None:
    found = [charts.history(study, place) for place in range(len(study.objectives))]
    found += [charts.curves(study), charts.curves_by_parameter(study, plots.ordered_keys(study))]
    if any(chart is not None for chart in found):
        page.heading("Course")
        _add_charts(page, found)
    schedules = charts.rates(study)
    if schedules:
        page.heading("Learning rates and losses")
        _add_charts(page, schedules)


def _add_parameters(page: Page, study: StudyFacts) -> None:
    importance = plots.importances(study)
    shown = [
        (each.name, plots.slices(study, place), [plots.parallel(study, place), *plots.contours(study, place)])
        for place, each in enumerate(study.objectives)
    ]
    if importance is None and not any(slices for _, slices, _ in shown):
        return
    page.heading("Parameters")
    if importance is not None:
        page.text(
            "Importance: how much a parameter's distribution in the best trials differs from that in all of them "
            "(PED-ANOVA, Watanabe et al. 2023). From few trials it is a hint."
        )
        page.chart(importance)
    for name, slices, together in shown:
        if slices and len(shown) > 1:
            page.heading(name, 3)
        _add_charts(page, [*slices, *together])


def _add_front(page: Page, study: StudyFacts) -> None:
    if len(study.objectives) < 2:
        return
    front = pareto_front([trial for trial in study.trials if trial.counts], study.objectives)
    if front:
        page.heading("Pareto front")
        page.text(f"{len(front)} trials that no other trial beats in every objective.")
        _add_charts(page, plots.front(study))
        page.table(*trial_table(study, front))


def _add_noise(page: Page, study: StudyFacts) -> None:
    """How far the same configuration scatters over seeds."""
    repeated = repetitions(study)
    if not repeated:
        return
    page.heading("Noise over seeds")
    rows: list[list[object]] = []
    spreads = []
    for trial, again in repeated:
        values = [float((each.values or (math.nan,))[0]) for each in (trial, *again)]
        spread = statistics.stdev(values)
        spreads.append(spread)
        rows.append([trial.number, len(values), statistics.mean(values), spread, min(values), max(values)])
    page.table(["trial", "seeds", f"mean {study.objectives[0].name}", "deviation", "lowest", "highest"], rows)
    pooled = math.sqrt(statistics.mean(spread**2 for spread in spreads))
    page.text(
        f"Differences below about {2 * math.sqrt(2) * pooled:.3g} between single trials are within the noise "
        "(two deviations of a difference)."
    )


def _add_limits(page: Page, study: StudyFacts) -> None:
    names = list(dict.fromkeys(name for trial in study.trials for name in trial.constraints))
    if not names:
        return
    page.heading("Constraints")
    rows: list[list[object]] = []
    for name in names:
        known = [trial.constraints[name] for trial in study.trials if name in trial.constraints]
        rows.append([name, len(known), sum(excess > 0 for excess in known), max(known)])
    page.table(["constraint", "trials", "beyond it", "furthest beyond (negative: kept)"], rows)


def _add_work(page: Page, study: StudyFacts, now: float) -> None:
    if not study.trials:
        return
    page.heading("Work")
    _add_charts(page, [charts.timeline(study, now)])
    executed, reused = (sum(getattr(trial, name) for trial in study.trials) for name in _STEPS)
    total = executed + reused
    attempts = [each for trial in study.trials for each in trial.attempts]
    starts = [each.start for each in attempts if each.start is not None]
    ends = [now if each.end is None else each.end for each in attempts if each.start is not None]
    seconds = sum(trial.seconds for trial in study.trials)
    page.facts(
        {
            "steps executed": executed,
            "steps taken from other trials": reused,
            "share saved": f"{reused / total:.1%}" if total else None,
            "training tokens reached, all trials": sum(trial.tokens for trial in study.trials),
            "attempts": len(attempts),
            "retries": sum(max(0, len(trial.attempts) - 1) for trial in study.trials),
            "time of all trials": format_seconds(seconds),
            "device-seconds": round(sum(trial.seconds * trial.devices for trial in study.trials), 1),
            "first start to last end": format_seconds(max(ends) - min(starts)) if starts else None,
        }
    )
    failures = [
        [trial.number, trial.attempts.index(each) + 1, each.state, each.reason or None]
        for trial in study.trials
        for each in trial.attempts
        if each.state in ("failed", "diverged", "pruned", "stopped")
    ]
    if failures:
        page.heading("Why trials ended early", 3)
        page.table(["trial", "attempt", "state", "reason"], failures)


def report_command(sweeps: list[str], out: str | None = None) -> None:
    """Write what a sweep has found, or several compared, as one HTML page that needs no network, and as Markdown.

    Works at any moment: before the first trial, while trials run, after a crash.

    Example: gpt-lightning sweep report runs/lr_schedule runs/lr_schedule-2

    Args:
        sweeps: Folders of sweeps, their names below runs, or the files they were started from.
        out: Where to write the page, a name that ends in .html; the Markdown goes beside it. Null = report.html in
            the sweep's folder, or in runs for several.
    """
    from gpt_lightning.training.runs.run_folder import RUNS
    from gpt_lightning.tuning.report.report_comparing import build_comparison
    from gpt_lightning.tuning.report.report_reading import read_sweep
    from gpt_lightning.tuning.study.sweep_folder import find_sweep

    folders = list({each.path: each for each in map(find_sweep, sweeps)}.values())
    home = folders[0].report if len(folders) == 1 else RUNS / "report.html"
    path = home if out is None else Path(out)
    if path.suffix != ".html":
        raise ConfigError("--out is not the name of a page", got=out, allowed="a name that ends in .html")
    check_pages()
    if len(folders) == 1:
        written = write_report(folders[0].path, path)
    else:
        written = write_page(build_comparison([read_sweep(each.path) for each in folders]), path)
    for each in written:
        sys.stdout.write(f"{each}\n")


def write_report(folder: Path, path: Path) -> list[Path]:
    """Write the page to ``path`` and its Markdown twin beside it.

    Args:
        folder: Of the sweep.
        path: Ends in .html.

    Returns:
        What was written: both files, or the Markdown alone without the extra ``reports``.

    Raises:
        ConfigError: They cannot be written.
    """
    from gpt_lightning.tuning.report.report_reading import read_sweep

    return write_page(build_report(read_sweep(folder), time.time()), path)

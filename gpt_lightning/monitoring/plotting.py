"""``runs plot``: curves of runs in the terminal, and as a picture."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Sequence

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.monitoring.records import RunRecord, open_runs, parse_time
from gpt_lightning.parsing.suggest import did_you_mean
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.pictures import check_picture, write_picture
from gpt_lightning.reports.text_table import screen_width
from gpt_lightning.training.profiling.line_chart import Curve, draw_text

_UNITS = {
    "perplexity": "perplexity",
    "bits_per_byte": "bits per byte",
    "lr": "learning rate",
    "tokens_per_second": "tokens per second",
}
_AXES = ("steps", "tokens", "seconds")


def plot_command(
    runs: list[str],
    metric: str = "train/loss",
    x: str = "steps",
    smooth: float = 0.0,
    log: bool = False,
    output: str | None = None,
) -> None:
    """Draw a metric of one or several runs in the terminal, and as a picture.

    Example: gpt-lightning runs plot quickstart-1 quickstart-2 --metric val/loss --output losses.svg

    Args:
        runs: Folders of runs, names in runs/, or folders of runs.
        metric: Its name in metrics.jsonl; several with commas.
        x: Horizontal axis: steps, tokens, or seconds of training (pauses between starts left out).
        smooth: Weight of the past in a running mean, 0 (none) to below 1; 0.9 is usual.
        log: Whether the picture's vertical axis is logarithmic.
        output: Write a picture too: NAME.svg or NAME.png.
    """
    if not 0 <= smooth < 1:
        raise ConfigError("--smooth is a weight", got=smooth, allowed="0 to below 1", fix="Say --smooth 0.9.")
    if x not in _AXES:
        raise ConfigError("--x is unknown", got=x, allowed=", ".join(_AXES), fix="Say --x tokens.")
    check_picture(output, "runs plot")
    records = open_runs(runs)
    names = [name.strip() for name in metric.split(",") if name.strip()]
    series = build_series(records, names, x=x, smooth=smooth)
    sys.stdout.write(_draw(series, x))
    if output is not None:
        write_picture(build_chart(series, records, names, x=x, log=log, smooth=smooth), output)


def build_series(records: Sequence[RunRecord], metrics: Sequence[str], *, x: str, smooth: float = 0.0) -> list[Series]:
    """One curve for each run and metric that the run has.

    Raises:
        RunFolderError: No run has one of the metrics.
    """
    series = []
    for metric in metrics:
        having = [run for run in records if metric in run.metric_names]
        if not having:
            known = sorted({name for run in records for name in run.metric_names})
            raise RunFolderError(
                "no run has logged the metric",
                got=metric,
                allowed=", ".join(known) or "nothing: no run has logged anything yet",
                fix=did_you_mean(metric, known) or "See gpt-lightning runs show.",
            )
        for run in having:
            places = axis_values(run, metric, x)
            parts = [run.name] if len(records) > 1 else []
            parts += [metric] if len(metrics) > 1 or len(records) == 1 else []
            series.append(Series(" · ".join(parts), places, smoothed(run.curve(metric)[1], smooth)))
    return series


def axis_values(run: RunRecord, metric: str, x: str) -> list[float]:
    """Where the points of a metric lie: at steps, training tokens, or seconds of training."""
    steps, _ = run.curve(metric)
    if x == "steps":
        return [float(step) for step in steps]
    if x == "tokens":
        known_steps, tokens = run.curve("data/tokens")
        known = [0.0, *map(float, known_steps)]
        return [_between(known, [0.0, *tokens], float(step)) for step in steps]
    return _training_seconds(run, metric)


def _between(places: Sequence[float], values: Sequence[float], place: float) -> float:
    """On the straight line between neighbours; beyond the last one, on with the last slope."""
    right = min(max(1, bisect_left(places, place)), len(places) - 1)
    if len(places) < 2:
        return math.nan
    x0, x1, y0, y1 = places[right - 1], places[right], values[right - 1], values[right]
    return y0 + (place - x0) / (x1 - x0) * (y1 - y0) if x1 > x0 else y1


def _training_seconds(run: RunRecord, metric: str) -> list[float]:
    """Seconds since the first start, without the time between the last line of a start and the next start."""
    begins = [parse_time(start["time"]) for start in run.starts]
    times, passed, before, places = list(begins), 0.0, None, []
    for line in run.metrics:
        now = float(line["time"])
        while times and times[0] <= now:
            before = times.pop(0)
        passed += 0.0 if before is None else max(0.0, now - before)
        before = now
        if metric in line:
            places.append(passed)
    return places


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """A running mean that forgets, corrected for its start (Kingma and Ba 2015, section 3); gaps stay gaps."""
    if weight == 0:
        return [float(value) for value in values]
    mean, share, result = 0.0, 0.0, []
    for value in values:
        if not math.isfinite(value):
            result.append(float(value))
            continue
        mean, share = weight * mean + (1 - weight) * value, weight * share + (1 - weight)
        result.append(mean / share)
    return result


def _draw(series: Sequence[Series], x: str) -> str:
    curves, skipped = [], 0
    for each in series:
        points = [(float(a), float(b)) for a, b in zip(each.x, each.y, strict=True)]
        kept = [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]
        skipped += len(points) - len(kept)
        if kept:
            last = f"{kept[-1][1]:.4g}"
            curves.append(Curve(f"{each.name}: {last} at {kept[-1][0]:,.0f} {x}", kept))
    if not curves:
        return "No finite value to draw.\n"
    width = max(20, min(screen_width() - 12, 110))
    text = draw_text(curves, width=width, colours=sys.stdout.isatty(), x_label=x, from_zero=False)
    return text + (f"{skipped} points are not finite and left out\n" if skipped else "")


def unit_of(metric: str, records: Sequence[RunRecord]) -> str:
    """What a metric's axis is called; a loss by its name where the runs count theirs differently."""
    losses = {run.loss_unit for run in records}
    units = {**_UNITS, "loss": losses.pop() if len(losses) == 1 else metric}
    return next((unit for word, unit in units.items() if word in metric.split("/")), metric)


def build_chart(
    series: Sequence[Series],
    records: Sequence[RunRecord],
    metrics: Sequence[str],
    *,
    x: str,
    log: bool = False,
    smooth: float = 0.0,
    title: str = "",
) -> LineChart:
    """A chart of series over steps, tokens or seconds."""
    smoothing = f", running mean of weight {smooth:g}" if smooth else ""
    return LineChart(
        series,
        title=title or ", ".join(metrics) + smoothing,
        x_label=x,
        y_label=unit_of(metrics[0], records),
        x_limits=(0, None),
        log_y=log,
        legend=len(series) > 1,
    )

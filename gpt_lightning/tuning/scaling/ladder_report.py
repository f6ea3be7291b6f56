"""What a ladder found, as a page, as Markdown and as the lines at the end of the command."""

from __future__ import annotations

import math
from pathlib import Path

from gpt_lightning.reports.charts import Chart, LineChart, Series
from gpt_lightning.reports.page import Page, write_page
from gpt_lightning.tuning.scaling.ladder_file import Ladder, Rung, Suggestion
from gpt_lightning.tuning.scaling.power_laws import Interval, LossLaw, RateLaw

_LOSS_LAW, _RATE_LAW = "L(N, D) = E + A / N^a + B / D^b", "lr(N, D) = c N^p D^q"


def write_report(folder: Path, ladder: Ladder, suggestion: Suggestion | None) -> str:
    """Write ``report.html`` and ``report.md``; what the command prints at its end."""
    page = make_page(folder, ladder, suggestion)
    written = write_page(page, folder / "report.html")
    lines = ["", *_summary(folder, ladder, suggestion), f"Report: {written[0]}"]
    return "\n".join(lines) + "\n"


def _summary(folder: Path, ladder: Ladder, suggestion: Suggestion | None) -> list[str]:
    metric = ladder.spec.metric
    lines = [f"{'size':<12} {'parameters':>12} {'tokens':>14} {'best rate':>10} {metric:>10}"]
    for rung in ladder.rungs:
        edge = "" if rung.inside else "  (edge of the grid)"
        numbers = f"{rung.parameters:>12,} {rung.tokens:>14,} {rung.best_rate:>10.3g} {rung.loss:>10.4f}"
        lines.append(f"{rung.size:<12} {numbers}{edge}")
    lines += ["", *_law_lines(ladder)]
    savings = ladder.savings
    lines.append(f"{savings.executed_steps:,} of {savings.total_steps:,} steps done ({savings.executed_share:.0%})")
    if suggestion is not None:
        lines += [
            f"Suggested for {suggestion.parameters:,} parameters and {suggestion.tokens:,} tokens: peak rate "
            f"{suggestion.rate:g}{_range(suggestion.rate_range)}",
            f"  gpt-lightning fit --config {folder / 'suggested.yaml'}",
        ]
        if suggestion.loss is not None:
            value, low, high = suggestion.loss
            lines.insert(-1, f"  predicted {metric} {value:.4f} ({low:.4f} to {high:.4f})")
    return lines


def _range(ends: tuple[float, float] | None) -> str:
    return " (of the largest size: too few rungs for a law)" if ends is None else f" ({ends[0]:.3g} to {ends[1]:.3g})"


def _law_lines(ladder: Ladder) -> list[str]:
    lines = []
    for text, law in ((_LOSS_LAW, ladder.loss_law), (_RATE_LAW, ladder.rate_law)):
        if law is None:
            needed = "3 sizes and 3 lengths" if text is _LOSS_LAW else "more rungs whose best rate lies inside the grid"
            lines.append(f"{text}: not fitted, it takes {needed}")
        else:
            constants = ", ".join(f"{name} {_show(interval)}" for name, interval in law.constants().items())
            lines.append(f"{text}: {constants}")
    return lines


def _show(interval: Interval) -> str:
    if interval.value == interval.low == interval.high == 0:
        return "0 (did not vary)"
    return f"{interval.value:.3g} ({interval.low:.3g} to {interval.high:.3g})"


def make_page(folder: Path, ladder: Ladder, suggestion: Suggestion | None) -> Page:
    """The report."""
    page = Page(f"Ladder {ladder.spec.name}", "Sizes, lengths and learning rates, and what they say of a larger model")
    if suggestion is not None:
        page.heading("Suggestion")
        pairs: list[tuple[str, object]] = [
            ("parameters", f"{suggestion.parameters:,}"),
            ("training tokens", f"{suggestion.tokens:,}"),
            ("peak learning rate", f"{suggestion.rate:g}{_range(suggestion.rate_range)}"),
        ]
        if suggestion.loss is not None:
            value, low, high = suggestion.loss
            pairs.append((f"predicted {ladder.spec.metric}", f"{value:.4f} ({low:.4f} to {high:.4f})"))
        beyond = suggestion.parameters / max(rung.parameters for rung in ladder.rungs)
        pairs.append(("beyond the largest size by a factor of", f"{beyond:.1f}"))
        page.facts(pairs)
        page.code(f"gpt-lightning fit --config {folder / 'suggested.yaml'}")
    page.heading("Laws")
    page.text("In brackets where 90 % of 200 resamples of the rungs put a constant. N parameters, D tokens.")
    for line in _law_lines(ladder):
        page.text(line)
    if ladder.loss_law is not None:
        page.text(f"The law of losses is off by at most {ladder.loss_law.error:.2%} on the rungs.")
    for chart in make_charts(ladder):
        page.chart(chart)
    page.heading("Rungs")
    headers = ["size", "parameters", "tokens", "steps", "best rate", "inside the grid", ladder.spec.metric]
    page.table(
        headers,
        [
            [r.size, r.parameters, r.tokens, r.steps, r.best_rate, "yes" if r.inside else "no, at its edge", r.loss]
            for r in ladder.rungs
        ],
    )
    savings = ladder.savings
    page.text(
        f"{savings.executed_steps:,} of {savings.total_steps:,} steps were done; the others are shared trunks, taken "
        "over bit for bit."
    )
    return page


def make_charts(ladder: Ladder) -> list[Chart]:
    """Loss over tokens, loss over the learning rate, and the best rate over size."""
    sizes = list(dict.fromkeys(rung.size for rung in ladder.rungs))
    metric = ladder.spec.metric
    by_size = {size: [rung for rung in ladder.rungs if rung.size == size] for size in sizes}
    losses = [_loss_series(size, rungs) for size, rungs in by_size.items()]
    if ladder.loss_law is not None:
        losses += [_law_series(size, rungs, ladder.loss_law) for size, rungs in by_size.items()]
    valleys = [
        Series(size, list(rungs[-1].losses), list(rungs[-1].losses.values()), dots=True)
        for size, rungs in by_size.items()
    ]
    charts: list[Chart] = [
        LineChart(losses, "Lowest loss over training tokens", "training tokens", metric, log_x=True, log_y=True),
        LineChart(valleys, "Loss over the peak rate, longest runs", "peak learning rate", metric, log_x=True),
    ]
    lengths = sorted({rung.steps for rung in ladder.rungs})
    if len(sizes) > 1:
        charts.append(
            LineChart(
                [_rate_series(ladder, steps) for steps in lengths] + _rate_law_series(ladder, ladder.rate_law),
                "Best peak rate over size",
                "parameters",
                "peak learning rate",
                log_x=True,
                log_y=True,
            )
        )
    return charts


def _loss_series(size: str, rungs: list[Rung]) -> Series:
    return Series(size, [rung.tokens for rung in rungs], [rung.loss for rung in rungs], dots=True)


def _law_series(size: str, rungs: list[Rung], law: LossLaw) -> Series:
    low, high = math.log(rungs[0].tokens), math.log(rungs[-1].tokens)
    tokens = [math.exp(low + (high - low) * step / 20) for step in range(21)]
    found = [law.predict(rungs[0].parameters, each) for each in tokens]
    return Series(
        f"{size}, law",
        tokens,
        [each.value for each in found],
        low=[each.low for each in found],
        high=[each.high for each in found],
        dashed=True,
    )


def _rate_series(ladder: Ladder, steps: int) -> Series:
    rungs = [rung for rung in ladder.rungs if rung.steps == steps]
    labels = ["" if rung.inside else "edge of the grid" for rung in rungs]
    points = [rung.parameters for rung in rungs], [rung.best_rate for rung in rungs]
    return Series(f"{steps} steps", *points, labels=labels, dots=True)


def _rate_law_series(ladder: Ladder, law: RateLaw | None) -> list[Series]:
    if law is None:
        return []
    rungs = [rung for rung in ladder.rungs if rung.steps == ladder.spec.horizons[-1]]
    found = [law.predict(rung.parameters, rung.tokens) for rung in rungs]
    name = f"{ladder.spec.horizons[-1]} steps, law"
    return [Series(name, [rung.parameters for rung in rungs], [each.value for each in found], dashed=True)]

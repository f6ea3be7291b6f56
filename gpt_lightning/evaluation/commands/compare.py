"""``gpt-lightning evaluate compare``: is the second model better, or was it luck?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.outcomes.reporting import align, format_score
from gpt_lightning.evaluation.outcomes.resampling import Difference, compare_rows
from gpt_lightning.evaluation.outcomes.results import Evaluation, check_output, plain, read_evaluation
from gpt_lightning.files.atomic import write_text_durably


def compare_command(first: str, second: str, resamples: int = 1000, seed: int = 0, output: str | None = None) -> None:
    """Compare two models on the same items: paired bootstrap and sign test.

    Both files are of the same task, written with --output of evaluate ppl, text or tasks. The interval is of the
    difference (second less first); if it holds 0, the difference may be luck.

    Example: gpt-lightning evaluate compare small.json large.json

    Args:
        first: JSON file of the first model.
        second: JSON file of the second.
        resamples: How often the items are drawn anew.
        seed: Which items are drawn.
        output: JSON file to write.
    """
    if resamples < 100:
        raise ConfigError("resamples counts draws", got=resamples, allowed="100 or more")
    if output is not None:
        check_output(Path(output))
    one, two = read_evaluation(Path(first)), read_evaluation(Path(second))
    found = compare_evaluations(one, two, resamples=resamples, seed=seed)
    sys.stdout.write(_draw(one, two, found))
    if output is not None:
        record = {
            "name": one.name, "first": one.model, "second": two.model, "items": len(one.items),
            "metrics": {
                name: {part: plain(value) for part, value in asdict(difference).items()}
                for name, difference in found.items()
            },
        }  # fmt: skip
        write_text_durably(Path(output), json.dumps(record, ensure_ascii=False, indent=1) + "\n")
        sys.stdout.write(f"wrote {output}\n")


def compare_evaluations(
    first: Evaluation, second: Evaluation, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Difference]:
    """Difference of each result that both have.

    Raises:
        DataError: They are not of the same items, or have no measure in common.
    """
    keys = [item.key for item in first.items], [item.key for item in second.items]
    if keys[0] != keys[1]:
        common = len(set(keys[0]) & set(keys[1]))
        raise DataError(
            f"{first.name} and {second.name} are not of the same items in the same order",
            got=f"{len(keys[0]):,} and {len(keys[1]):,} items, {common:,} in common",
            fix="Evaluate both models on the same files with the same settings.",
        )
    measures = [measure for measure in first.measures if measure in list(second.measures)]
    if not measures or not first.items:
        raise DataError("There is nothing to compare", got=f"{len(first.items)} items, {len(measures)} measures")
    results: dict[str, Difference] = {}
    for measure in measures:
        found = compare_rows(
            measure.build(), first.rows(measure), second.rows(measure), seed=seed, resamples=resamples
        )  # fmt: skip
        results |= {measure.label(name): difference for name, difference in found.items()}
    return results


def _draw(first: Evaluation, second: Evaluation, found: dict[str, Difference]) -> str:
    rows = [["metric", "first", "second", "difference", "95 % interval", "p", "better : worse", "p (sign)"]]
    for name, each in found.items():
        values = [format_score(value) for value in (each.first, each.second, each.second - each.first)]
        interval = f"{format_score(each.low)} to {format_score(each.high)}"
        signs = [f"{each.wins} : {each.losses}", f"{each.sign_p_value:.3g}"]
        rows.append([name, *values, interval, f"{each.p_value:.3g}", *signs])
    lines = [f"{first.name}: {len(first.items):,} items", f"first   {first.model}", f"second  {second.model}"]
    differing = {k for k in {*first.settings, *second.settings} if first.settings.get(k) != second.settings.get(k)}
    lines += [
        f"settings differ: {name} {first.settings.get(name)} and {second.settings.get(name)}"
        for name in sorted(differing)
    ]
    return "\n".join([*lines, *align(rows)]) + "\n"

"""A made-up sweep for tests of its report: an optimum that is known, a crash, a retry, prunings, repetitions."""

from __future__ import annotations

import math
import random

from gpt_lightning.tuning.report.report_facts import Attempt, Objective, Point, StudyFacts, TrialFacts

LR, SHAPE, DECAY = "model.optimizer.init_args.lr", "model.schedule.class_path", "model.schedule.init_args.decay"
TOTAL, PER_STEP = 200, 1024


def make_trial(number: int, rng: random.Random, objectives: int = 1, repeats: int | None = None) -> TrialFacts:
    """The loss falls to a bowl around lr 4e-3, deeper for WSD with a decay of 0.3."""
    lr = 2 ** rng.randint(-11, -5)
    shape = rng.choice(["WSD", "Cosine"])
    parameters: dict[str, object] = {LR: lr, SHAPE: shape}
    if shape == "WSD":
        parameters[DECAY] = round(rng.uniform(0.1, 0.6), 2)
    end = 2.0 + 0.1 * (math.log2(lr) + 8) ** 2 + (0.0 if shape == "WSD" else 0.1) + rng.gauss(0, 0.01)
    pruned = end > 2.6 and number > 4
    failed = number == 7
    state = "failed" if failed else "pruned" if pruned else "complete"
    reports = 4 if state != "complete" else 10
    points = tuple(Point(20 * n, 20 * n * PER_STEP, {"val/loss": end + 3 / n - 0.3}) for n in range(1, reports + 1))
    begin = 1e9 + 30.0 * (number // 2)
    attempts = [Attempt(number, state, begin, begin + 2.5 * reports, "out of memory" if failed else "")]
    if number == 3:
        attempts = [
            Attempt(number, "failed", begin, begin + 8, "killed by signal 9"),
            Attempt(90, "complete", begin + 9, begin + 27),
        ]
    if pruned:
        attempts = [Attempt(number, state, begin, begin + 10, "best so far 3.1 is behind 2.9, the median of 5")]
    steps = 20 * reports
    return TrialFacts(
        number=number,
        state=state,
        parameters=parameters,
        values=(points[-1].metrics["val/loss"], 1e6 * lr + number)[:objectives] if state == "complete" else None,
        attempts=tuple(attempts),
        points=points,
        rates=tuple(
            (float(step * PER_STEP), lr * (1.0 if shape == "WSD" and step < 140 else 1 - step / TOTAL))
            for step in range(10, steps, 10)
        ),
        constraints={"peak_mem_gb": rng.uniform(-4, 1)},
        seed=1337 if repeats is None else number,
        steps=steps,
        executed_steps=steps - (60 if number > 10 else 0),
        reused_steps=60 if number > 10 else 0,
        tokens=steps * PER_STEP,
        seconds=2.5 * reports,
        repeats=repeats,
    )


def make_study(trials: int = 30, objectives: int = 1, repetitions: int = 2) -> StudyFacts:
    """A sweep with ``trials`` trials."""
    rng = random.Random(0)
    made = [make_trial(number, rng, objectives) for number in range(trials)]
    goals = (Objective("val/loss"), Objective("perf/tokens_per_second", "maximize"))[:objectives]
    study = StudyFacts("made-up", goals, tuple(made), logarithmic=frozenset({LR}), source="runs/made-up")
    best = study.best
    if best is not None and best.values is not None:
        for seed in range(repetitions):
            shifted = tuple(value + 0.02 * (seed - 0.4) for value in best.values)
            made.append(
                TrialFacts(
                    number=trials + seed,
                    state="complete",
                    parameters=best.parameters,
                    values=shifted,
                    seed=seed,
                    repeats=best.number,
                    attempts=(Attempt(trials + seed, "complete", 1e9 + 600 + 30 * seed, 1e9 + 625 + 30 * seed),),
                )
            )
    return StudyFacts(
        name="made-up <sweep>",
        objectives=goals,
        trials=tuple(made),
        logarithmic=frozenset({LR}),
        base={LR: 1e-3, SHAPE: "Cosine"},
        description="A bowl with a known bottom.",
        source="runs/made-up",
        planned_trials=trials,
        environment={"torch": "2.13.0", "host": "nowhere"},
        importances={"val/loss": {LR: 0.8, SHAPE: 0.15, DECAY: 0.05}},
    )

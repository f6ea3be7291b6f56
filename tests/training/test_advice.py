"""What ``bench`` advises: every rule speaks where it should, is silent where not, and names options that exist."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.profiling.advice import RULES, Measurement, Setup, advise

GOOD = Measurement(
    setup=Setup(device="cuda", precision="bf16-mixed", num_parameters=124_000_000),
    parts={"data": 0.0001, "forward": 0.03, "backward": 0.06, "optimizer": 0.005, "rest": 0.0005},
    fastest_seconds=0.09,
    slowest_seconds=0.1,
    steps=20,
    tokens_per_step=65536,
    flops_per_token=860_000_000,
    peaks={"bf16-mixed": 1e15, "32-true": 5e13},
    memory_bytes=50 * 2**30,
    memory_total_bytes=80 * 2**30,
)


def vary(parts: dict[str, float] | None = None, measured: dict[str, Any] | None = None, **setup: Any) -> Measurement:
    """GOOD with changes."""
    changed = replace(GOOD, setup=replace(GOOD.setup, **setup), parts=GOOD.parts | (parts or {}))
    return replace(changed, **(measured or {}))


FULL = {"memory_bytes": 75 * 2**30}
EMPTY = {"memory_bytes": 2**30, "tokens_per_step": 6553}
SLOW_HALF = {"peaks": {"bf16-mixed": 1e11, "32-true": 2e11}}
FAST_HALF = {"peaks": {"bf16-mixed": 1e15, "32-true": 4e14}}
CASES: dict[str, tuple[Measurement, str]] = {
    "_anomaly": (vary(detect_anomaly=True), "--trainer.detect_anomaly false"),
    "_threads": (vary(device="cpu", threads=2, cores=8, world=2), "OMP_NUM_THREADS=4"),
    "_precision to half": (vary(precision="32-true", measured=FAST_HALF), "--trainer.precision bf16-mixed"),
    "_precision to full": (vary(device="cpu", measured=SLOW_HALF), "--trainer.precision 32-true"),
    "_compile": (vary(compiled=False), "--model.compile true"),
    "_compile without": (vary(compiled=False, can_compile=False), "--model.compile true, after installing"),
    "_fused": (vary(fused=False), "--model.optimizer.fused null"),
    "_memory logits": (vary(batch_size=64, measured=FULL), "--model.objective.chunk_size 1024"),
    "_memory batch": (vary(batch_size=8, measured=FULL), "--data.batch_size 4 --trainer.accumulate_grad_batches 2"),
    "_memory one": (vary(batch_size=1, measured=FULL), "A smaller model or --data.block_size"),
    "_batch same": (vary(accumulate=4, measured=EMPTY), "--data.batch_size 16 --trainer.accumulate_grad_batches 2"),
    "_batch other": (vary(accumulate=1, measured=EMPTY), "--data.batch_size 16 (another global batch"),
    "_chunks": (vary(chunk_size=512, measured={"memory_bytes": 36 * 2**30}), "--model.objective.chunk_size null"),
    "_vocabulary": (vary(padded_vocab_size=50257), "--model.config.vocab_multiple 128"),
    "_data": (vary({"data": 0.02}), "GPT_LIGHTNING_CACHE=FOLDER"),
    "_optimizer": (vary({"optimizer": 0.05}), "--trainer.accumulate_grad_batches"),
    "_rest": (vary({"rest": 0.02}), "fewer callbacks"),
    "_rest logged": (vary({"rest": 0.02}, log_every=1), "--trainer.log_every_n_steps 10"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_rule_speaks_alone(name: str) -> None:
    measured, expected = CASES[name]
    (line,) = advise(measured)
    assert expected in line
    assert len(line) <= 116


def test_every_rule_has_a_case_and_is_silent_otherwise() -> None:
    assert advise(GOOD) == []
    assert {rule.__name__ for rule in RULES} == {name.split()[0] for name in CASES}


@pytest.mark.parametrize(
    "measured",
    [
        vary(device="cpu", threads=2, cores=2),
        vary(precision="32-true", measured={"peaks": {"32-true": 1e15, "bf16-mixed": 1.2e15}}),
        vary(device="cpu", precision="64-true", threads=4, cores=4, measured={"peaks": {"64-true": 1e15}}),
        vary(device="cpu", block_size=1024, batch_size=8, measured=EMPTY),  # its products are large enough
        vary(fused=None),  # an optimizer that has no such kernel
        vary(measured={"memory_bytes": 2**30, "memory_total_bytes": 0}),  # unknown
    ],
)
def test_no_advice_that_would_not_help(measured: Measurement) -> None:
    assert advise(measured) == []


def test_advised_options_exist() -> None:
    lines = [line for measured, _ in CASES.values() for line in advise(measured)]
    pairs = [pair for line in lines for pair in re.findall(r"(--[\w.]+) (?=(\w[\w-]*))", line)]
    options = {name: value for name, value in pairs if re.fullmatch(r"\d+|true|false|null|bf16-mixed|32-true", value)}
    assert len(options) >= 9
    TrainerCommandLine("fit", [f"{name}={value}" for name, value in options.items()])


def test_figures() -> None:
    assert GOOD.step_seconds == pytest.approx(0.0956)
    assert GOOD.tokens_per_second == pytest.approx(65536 / 0.0956)
    assert GOOD.mfu == pytest.approx(65536 / 0.0956 * 0.86e9 / 1e15)
    assert vary(world=4).mfu == pytest.approx(GOOD.mfu / 4)  # four processes share these tokens
    assert sum(GOOD.share(part) for part in GOOD.parts) == pytest.approx(1)

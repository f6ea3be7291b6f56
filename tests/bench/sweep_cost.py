"""What a sweep costs besides training: the same tiny run as a trial and in this process, in turns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gpt_lightning.training.fitting.build import build
from gpt_lightning.tuning.trial.children import prepare_server
from gpt_lightning.tuning.workers.claiming import claim
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper
from gpt_lightning.tuning.workers.slots import Slot
from gpt_lightning.tuning.workers.supervisor import Supervisor
from tests.tuning.sweeping import make_sweep


@dataclass(frozen=True)
class Cost:
    """Medians over trials after the first, in seconds.

    Attributes:
        first: The first trial, which starts the server.
        fork: Until the trial's process exists.
        trial: From the claim to the told result.
        alone: ``build`` and ``fit`` of the same configuration in a warm process.
    """

    first: float
    fork: float
    trial: float
    alone: float

    @property
    def overhead(self) -> float:
        """Per trial, besides training."""
        return self.trial - self.alone


def measure_cost(place: Path, trials: int) -> Cost:
    """Run ``trials`` trials and as many runs without a sweep, one after the other in turns."""
    sweep = make_sweep(place, {"method": "grid", "reuse": {"enabled": False}, "storage": "sqlite"})
    prepare_server()
    reaper, lease = StaleTrialReaper(sweep), Lease()
    supervisor = Supervisor(sweep, Slot(threads=1), lease, lambda: False)
    with_sweep, alone = [], []
    for number in range(trials):
        begun = time.monotonic()
        trial = claim(sweep, reaper, lease)
        assert trial is not None
        assert supervisor.run(trial) == "complete"
        with_sweep.append(time.monotonic() - begun)
        begun = time.monotonic()
        build(sweep.folder.trial(number) / "config.yaml", {"run.dir": str(place / f"alone-{number}")}).fit()
        alone.append(time.monotonic() - begun)
    return Cost(with_sweep[0], median(supervisor.start_seconds[1:]), median(with_sweep[1:]), median(alone[1:]))

"""What one worker may use: a set of devices or a share of one, and its part of the CPU's threads."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gpt_lightning.errors import ConfigError
from gpt_lightning.files.processes import count_cores
from gpt_lightning.tuning.spec.spec import LauncherSettings


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time.

    Attributes:
        index: Number of the slot; -1 = nobody counts.
        devices: Devices as ``CUDA_VISIBLE_DEVICES`` names them: numbers or UUIDs; empty = whatever the process sees.
        threads: CPU threads of a trial; 0 = as many as torch chooses.
    """

    index: int = 0
    devices: tuple[str, ...] = ()
    threads: int = 0

    def environment(self) -> dict[str, str]:
        """Variables of the trial's process."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)} if self.devices else {}


def make_slots(settings: LauncherSettings, found: tuple[str, ...], cores: int | None = None) -> list[Slot]:
    """The slots of this machine.

    Without devices the CPU counts as one, which ``trials_per_device`` trials share; alone on it, a trial gets the
    threads that torch chooses, as ``fit`` would.

    Args:
        settings: Of the sweep file.
        found: Devices of this machine, of which ``settings.devices`` may name some.
        cores: CPU cores; None = those of this process.

    Raises:
        ConfigError: More devices for one trial than there are, or one that does not exist.
    """
    named = found if settings.devices == "auto" else tuple(settings.devices)
    cores = cores or count_cores()
    if not named:
        count = settings.trials_per_device if settings.workers == "auto" else int(settings.workers)
        threads = 0 if count == 1 else max(1, cores // max(count, 1))
        return [Slot(index, (), threads) for index in range(count)]
    size = settings.devices_per_trial
    if size > len(named):
        raise ConfigError(
            "launcher.devices_per_trial is more than there are",
            got=size,
            allowed=f"1 to {len(named)} ({', '.join(named)})",
        )
    sets = [named[start : start + size] for start in range(0, len(named) - size + 1, size)]
    slots = [each for each in sets for _ in range(settings.trials_per_device)]
    if settings.workers != "auto":
        slots = [slots[index % len(slots)] for index in range(int(settings.workers))]
    return [Slot(index, each, max(1, cores // len(slots))) for index, each in enumerate(slots)]


def find_devices() -> tuple[str, ...]:
    """Devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(each.strip() for each in visible.split(",") if each.strip())
    import torch

    return tuple(str(index) for index in range(torch.cuda.device_count()))

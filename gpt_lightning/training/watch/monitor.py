"""``monitor.*``: what a run shows of itself beside its curves, and who is told when something goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpt_lightning.errors import ConfigError
from gpt_lightning.tracking.alerts import AlertRule
from gpt_lightning.tracking.notifications import Receiver
from gpt_lightning.training.runs.settings import LengthLike
from gpt_lightning.training.watch.trackers import Tracker


@dataclass(frozen=True)
class Monitor:
    """What is shown of a run; nothing here changes what it computes.

    Args:
        details: Show more than curves in TensorBoard: texts, samples, histograms, pictures, embeddings, HParams. They
            need its event file (no trainer.logger of your own) and whole weights (not fsdp2 or tp).
        mfu: Log perf/mfu, for which the matrix peak of the device is measured before training (a tenth of a second).
        prompts: Texts that the model continues at each validation; null = run.prompt, [] = none.
        sample_tokens: Length of these continuations.
        details_every: How often to show histograms of weights and gradients, the size of the residual stream, and how
            large updates are beside the weights; null = never.
        text: What attention maps and the residual stream are shown for; null = the first training window.
        text_tokens: How much of it.
        worst_tokens: How many of the worst predicted tokens to list at each validation.
        embedding_rows: How many token embeddings to write for the Projector tab at the end; 0 = none.
        trace_steps: Numbers of steps whose operations are recorded, for Perfetto and as a table.
        trackers: Who else keeps the numbers: CSV, WandB, MLflow.
        alerts: Rules that say when something is wrong: LossSpike, NonFinite, ThroughputDrop, ValidationRising,
            DiskAlmostFull, StalledData, or a class of your own. Null = one of each, [] = none. They are shown in the
            terminal and in TensorBoard and kept in alerts.jsonl.
        tell: Who else is told of alerts: Webhook, Command.
        hang_seconds: When nothing moves for so long, say where every thread stands, in hang-1.txt of the run folder;
            null = never.
        hang_exits: End the process with exit code 4 then.
    """

    details: bool = True
    mfu: bool = True
    prompts: list[str] | None = None
    sample_tokens: int = 40
    details_every: LengthLike | None = "20%"
    text: str | None = None
    text_tokens: int = 32
    worst_tokens: int = 10
    embedding_rows: int = 1000
    trace_steps: list[int] = field(default_factory=list)
    trackers: list[Tracker] = field(default_factory=list)
    alerts: list[AlertRule] | None = None
    tell: list[Receiver] = field(default_factory=list)
    hang_seconds: float | None = 1800.0
    hang_exits: bool = False

    def __post_init__(self) -> None:
        for name, least in (("sample_tokens", 1), ("text_tokens", 2), ("worst_tokens", 0), ("embedding_rows", 0)):
            value = getattr(self, name)
            if value < least:
                raise ConfigError(
                    f"monitor.{name} is a count", got=value, allowed=f">= {least}", fix=f"Set --monitor.{name} {least}."
                )
        if self.hang_seconds is not None and not self.hang_seconds > 0:
            raise ConfigError("monitor.hang_seconds is out of range", got=self.hang_seconds, allowed="above 0, or null")
        if any(step < 1 for step in self.trace_steps):
            raise ConfigError("monitor.trace_steps are numbers of steps", got=self.trace_steps, allowed=">= 1")
        for tracker in self.trackers:
            tracker.check()
        if self.text is not None and not self.text:
            raise ConfigError("monitor.text is empty", got=self.text, allowed="a text, or null", fix="Leave it out.")

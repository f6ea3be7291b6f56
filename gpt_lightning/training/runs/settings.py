"""``run.*``: what belongs to a run rather than to the model, the data or the Trainer."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpt_lightning.errors import ConfigError

LengthLike = int | float | str
"""A Length as written in YAML: 500, 0.05, "5%", "20M tokens" (see ``optim.lengths``)."""


@dataclass(frozen=True)
class RunSettings:
    """Folder, cadence and closing report of a run.

    Args:
        name: Name of the run; null = the stem of the first --config file, else "run".
        dir: Run folder. null = a new numbered folder runs/NAME-1, runs/NAME-2, ...
        max_tokens: Length of training in tokens, instead of trainer.max_steps or trainer.max_epochs.
        validate_every: How often to validate on the whole validation split; always once more at the end.
        save_every: How often to save a checkpoint; always once more at the end.
        keep_checkpoints: How many of the newest checkpoints stay (the best one always does).
        prompt: Start of the sample continuation written at the end.
        sample_tokens: Length of that sample; 0 writes none.
        expected_val_loss: What a config promises, shown beside the loss reached as long as nothing else is set that
            changes what is learned: another text, tokenizer, model or length.
        allow_changes: Settings that may differ from the checkpoint on --resume, e.g. ["trainer.max_steps"].
    """

    name: str | None = None
    dir: str | None = None
    max_tokens: int | None = None
    validate_every: LengthLike = "10%"
    save_every: LengthLike = "10%"
    keep_checkpoints: int = 2
    prompt: str = "The "
    sample_tokens: int = 120
    expected_val_loss: float | None = None
    allow_changes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        bad = self.name is not None and (
            self.name.strip() in ("", ".", "..")
            or "/" in self.name
            or self.name.startswith("-")
            or not self.name.isprintable()
        )
        if bad:
            raise ConfigError(
                "run.name is not the name of a folder that can be typed",
                got=self.name,
                allowed="printable text without slashes, not beginning with a dash",
                fix="Set a path with --run.dir.",
            )
        if self.dir is not None and not self.dir.strip():
            raise ConfigError("run.dir is empty", got=self.dir, allowed="a path", fix="Write --run.dir runs/NAME.")
        if self.keep_checkpoints < 1:
            raise ConfigError(
                "run.keep_checkpoints must keep at least the newest one",
                got=self.keep_checkpoints,
                allowed=">= 1",
                fix="Set --run.keep_checkpoints 1.",
            )
        if self.sample_tokens < 0:
            raise ConfigError(
                "run.sample_tokens is a count", got=self.sample_tokens, allowed=">= 0", fix="0 writes no sample."
            )
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(
                "run.max_tokens is a number of tokens", got=self.max_tokens, allowed=">= 1", fix="Say 20000000 for 20M."
            )

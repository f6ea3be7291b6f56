"""Whether the loss that a config file promises can be expected of a run.

``run.expected_val_loss`` was measured with the settings of the file that states it. With another text, tokenizer, model
or length, or anything else that changes what is learned, it says nothing, and is neither shown nor kept in the run's
own configuration. The seed does not count: a promise has room for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpt_lightning.parsing.origins import Origin

KEY = "run.expected_val_loss"
_HARMLESS = (
    *("config", "print_config", "progress", "dry_run", "resume", "checkpoint", "allow_outside", "seed_everything"),
    *("run.name", "run.dir", "run.prompt", "run.sample_tokens", "run.allow_changes", "run.validate_every"),
    *("run.save_every", "run.keep_checkpoints", "monitor", "model.compile", "generate"),
    *("trainer.accelerator", "trainer.logger", "trainer.profiler", "trainer.log_every_n_steps"),
    *("trainer.enable_progress_bar", "trainer.limit_test_batches", "trainer.limit_predict_batches"),
    *("trainer.detect_anomaly", "trainer.deterministic", "trainer.benchmark"),
    *("data.eval_batch_size", "data.predict_split", "data.keep_store"),
)
"""Settings (with everything below them) that do not change what is learned."""


def expectation_holds(given: Sequence[Origin]) -> bool:
    """Whether every setting that counts comes from where the expectation does, or says the same.

    Args:
        given: Every setting of a start, with its place; later ones win. Without an expectation the answer is True.
    """
    stated = [each for each in given if each.key == KEY and each.value not in ("", "null")]
    if not stated or not stated[-1].in_file:
        return True
    file = stated[-1].file
    last = {each.key: each for each in given}
    measured = {each.key: each.value for each in given if each.file == file}
    return all(
        each.file == file or each.value in ("", measured.get(key)) or not _counts(key) for key, each in last.items()
    )


def _counts(key: str) -> bool:
    return not any(key == entry or key.startswith(f"{entry}.") for entry in (*_HARMLESS, KEY))

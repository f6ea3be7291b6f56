"""``gpt-lightning evaluate infill``: gaps in held-out documents."""

from __future__ import annotations

from gpt_lightning.data.open import open_existing
from gpt_lightning.data.prepare.prepare import PrepareSettings
from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.kinds.gaps import Asking, cut_gaps, fill_gaps
from gpt_lightning.evaluation.outcomes.reporting import Outputs
from gpt_lightning.evaluation.scoring.models import open_model, step_of_card, with_weights


def infill_command(
    model: str,
    store: str,
    split: str = "val",
    limit: int = 200,
    max_middle: int = 8,
    prefix_only: bool = False,
    seed: int = 0,
    slots: int = 8,
    weights: str = "float32",
    prefer: str = "best",
    device: str = "auto",
    name: str = "infill",
    output: str | None = None,
    report: str | None = None,
    tensorboard: str | None = None,
) -> None:
    """Measure how a model fills gaps in held-out documents: exact match, edit similarity, share that ends by itself.

    Example: gpt-lightning evaluate infill runs/fim-1 tokens --max_middle 8
    Example: gpt-lightning evaluate infill runs/quickstart-1 tokens --prefix_only true

    Args:
        model: Run folder, checkpoint folder or exported folder.
        store: Folder or URL of the store.
        split: Of the store: train, val or test.
        limit: Documents, the first of the split.
        max_middle: Characters of a gap at most; its length is drawn evenly.
        prefix_only: Ask to continue what stands in front, for the length of the gap: what a model can do that was not
            trained to fill in.
        seed: Of the lengths and places of the gaps.
        slots: Gaps filled at once; changes time and memory only.
        weights: float32 = as they are; bfloat16, float16 or int8 = as generate --weights decodes with them.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run: auto, cpu, cuda, mps.
        name: Of this evaluation, in files and TensorBoard.
        output: JSON file to write, for gpt-lightning evaluate compare.
        report: Page to write, .html or .md.
        tensorboard: Folder to write events to.
    """
    outputs = Outputs(output, report, tensorboard)
    outputs.check()
    asking = Asking(max_middle, seed, slots, prefix_only)
    if limit < 1:
        raise ConfigError("limit counts documents", got=limit, allowed="1 or more")
    held_out = open_existing(store, PrepareSettings.tokenizer, 0.0)
    loaded = open_model(model, prefer=prefer, device=device, weights=weights)
    # The text counts, not the ids: the model's tokenizer has tokens of its objective besides.
    positions = loaded.model.block_size
    gaps = cut_gaps(held_out.split(split), held_out.tokenizer, asking, positions=positions, limit=limit)
    outputs.write([with_weights(fill_gaps(loaded, gaps, asking, name), weights)], step_of_card(loaded))

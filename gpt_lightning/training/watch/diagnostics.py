"""What TensorBoard shows beside curves: samples, worst tokens, pictures, histograms, the size of updates.

At each validation, with the weights that are validated; and every so many steps, for what training itself does. The
cost lies at these moments alone. No generator of the run is drawn from, and no mode is left changed, so a run with all
of it and one with none end with the same bits. Process 0 shows; the others take part in the sums over validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor, nn

from gpt_lightning.batch import Batch
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.errors import CheckpointError, DataError
from gpt_lightning.generation.decode import generate_text
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.metrics.sums import to_double
from gpt_lightning.model.gpt import GPT
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.pictures import draw_picture
from gpt_lightning.tracking.pictures import draw_attention, draw_heat_map
from gpt_lightning.tracking.probe import observe
from gpt_lightning.tracking.records import build_histogram, build_picture, build_text, write_projector
from gpt_lightning.tracking.texts import describe_sample, describe_worst
from gpt_lightning.training.callbacks.metrics_log import log_point
from gpt_lightning.training.engine.steps import at_step_border
from gpt_lightning.training.modules.module import GPTModule
from gpt_lightning.training.watch.loggers import RunTensorBoard
from gpt_lightning.training.watch.monitor import Monitor
from gpt_lightning.training.watch.validation_losses import Confusions, ValidationLosses

_SAMPLING = Sampling(temperature=0.8, top_k=50)
_MOST_UPDATES = 1 << 16
_ROWS = 8


class Diagnostics(Callback):
    """Shows what ``Monitor`` asks for.

    Args:
        settings: What to show.
        board: Where.
        tokenizer: Of the data.
        prompts: Texts to continue.
        probe_tokens: The text that is looked at, as ids.
        every_steps: Optimizer steps between looks at weights and gradients; None = never.
        seed: Of the samples.
    """

    def __init__(
        self,
        settings: Monitor,
        board: RunTensorBoard,
        tokenizer: Tokenizer,
        *,
        prompts: Sequence[str],
        probe_tokens: Tensor,
        every_steps: int | None,
        seed: int,
    ) -> None:
        self._settings, self._board, self._tokenizer = settings, board, tokenizer
        self._prompts, self._probe_tokens, self._every_steps, self._seed = prompts, probe_tokens, every_steps, seed
        self._before: dict[str, list[Tensor]] = {}
        self._losses, self._confusions = ValidationLosses(settings.worst_tokens, _ROWS), Confusions()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Before a step whose update will be looked at, keep some of the weights."""
        if self._every_steps is not None and (trainer.global_step + 1) % self._every_steps == 0:
            self._before = _sample_weights(optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at weights, gradients and the update of the step just done."""
        step = trainer.global_step
        if self._every_steps is None or step % self._every_steps or not at_step_border(trainer):
            return
        before, self._before = self._before, {}
        if not trainer.is_global_zero or not before:
            return
        assert isinstance(pl_module, GPTModule)
        probe = observe(pl_module.model, self._probe_tokens.to(pl_module.device))
        values = {f"optim/update_ratio/{name}": value for name, value in _measure_update(before, trainer).items()}
        for number, (scale, stream) in enumerate(zip(probe.scales(), probe.streams, strict=True)):
            values[f"activation/rms/{_block(number)}"] = scale
            self._add(build_histogram(f"activations/{_block(number)}", [stream]), step)
        log_point(trainer, values, step)
        for name, module in _parts_of(pl_module.model):
            weights = list(module.parameters())
            self._add(build_histogram(f"weights/{name}", weights), step)
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            if gradients:
                self._add(build_histogram(f"gradients/{name}", gradients), step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._losses, self._confusions = ValidationLosses(self._settings.worst_tokens, _ROWS), Confusions()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep losses by position, and the worst; nothing waits for the device."""
        if outputs is not None and outputs["losses"] is not None:
            self._confusions.add(outputs.pop("predictions"))
            self._losses.add(batch, **outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show it; a mean of the weights is still in their place."""
        assert isinstance(pl_module, GPTModule)
        strategy = trainer.strategy if trainer.world_size > 1 else None
        positions, confusions = self._losses.by_position(strategy), self._confusions.shares(strategy)
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        for number, prompt in enumerate(self._prompts, 1):
            self._add(build_text(f"samples/prompt_{number}", self._continue(pl_module, prompt)), step)
        if positions:
            title = f"mean validation loss by position, after {step:,} steps"
            curve = Series("val/loss", [place for place, _ in positions], [loss for _, loss in positions])
            chart = LineChart([curve], title, x_label="position in the window", y_label="nats per token")
            self._add(build_picture("losses/by_position", draw_picture(chart)), step)
        table = self._losses.first_rows()
        if table is not None:
            title = f"loss of every token of the first validation windows, after {step:,} steps"
            picture = draw_heat_map(table, title=title, x_label="position", y_label="window", unit="nats")
            self._add(build_picture("losses/tokens", picture), step)
        if confusions is not None:
            picture = draw_heat_map(
                confusions,
                title=f"labels taken for each other, after {step:,} steps",
                x_label="predicted",
                y_label="label",
                unit="of the label",
                names=pl_module.context.labels,
            )
            self._add(build_picture("labels/confusion", picture), step)
        worst = self._losses.worst(self._tokenizer)
        if worst:
            self._add(build_text("samples/worst_tokens", describe_worst(worst)), step)
        probe = observe(pl_module.model, self._probe_tokens.to(pl_module.device))
        picture = draw_attention(probe.attention, f"attention after {step:,} steps")
        self._add(build_picture("attention/heads", picture), step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the token embeddings."""
        rows = self._settings.embedding_rows
        if not trainer.is_global_zero or not rows:
            return
        assert isinstance(pl_module, GPTModule)
        table = pl_module.model.token_embedding.weight[: min(rows, pl_module.model.vocab_size)]
        names = [self._tokenizer.decode([token]) for token in range(len(table))]
        write_projector(Path(self._board.log_dir), table, names, "token embeddings")

    def _add(self, record: Summary | None, step: int) -> None:
        if record is not None:
            self._board.add_summary(record, step)

    def _continue(self, module: GPTModule, prompt: str) -> str:
        generator = torch.Generator(device=module.device).manual_seed(self._seed)
        try:
            # A compiled model would be compiled anew for every length.
            with torch.compiler.set_stance("force_eager"):
                pieces = list(
                    generate_text(
                        module.model,
                        self._tokenizer,
                        prompt,
                        max_tokens=self._settings.sample_tokens,
                        sampling=_SAMPLING,
                        generator=generator,
                    )
                )
        except (DataError, CheckpointError) as problem:
            # A vocabulary of characters may not know the prompt: no reason to stop training.
            return f"No sample: {problem}\n"
        return describe_sample(prompt, "".join(pieces))


def _block(number: int) -> str:
    return f"block_{number:02d}"


def _parts_of(model: GPT) -> list[tuple[str, nn.Module]]:
    """Blocks, and the modules with weights outside them."""
    parts = [(_block(number), block) for number, block in enumerate(model.blocks)]
    return parts + [
        (name, module)
        for name, module in model.named_children()
        if module is not model.blocks and next(module.parameters(), None) is not None
    ]


def _sample_weights(optimizer: Any) -> dict[str, list[Tensor]]:
    """Evenly spaced entries of every trained weight, by parameter group."""
    return {str(group["name"]): [_sample(weight) for weight in group["params"]] for group in optimizer.param_groups}


def _sample(weight: Tensor) -> Tensor:
    stride = max(1, weight.numel() // _MOST_UPDATES)
    return weight.detach().reshape(-1)[::stride].clone()


def _measure_update(before: dict[str, list[Tensor]], trainer: Trainer) -> dict[str, float]:
    """Norm of the change over the norm of the weights, of the sampled entries; nothing where all weights are 0."""
    after = _sample_weights(trainer.optimizers[0])
    ratios = {}
    for name, old in before.items():
        changes = torch.stack([to_double(new - was).square().sum() for new, was in zip(after[name], old, strict=True)])
        sizes = torch.stack([to_double(was).square().sum() for was in old])
        change, size = torch.stack([changes.sum().sqrt(), sizes.sum().sqrt()]).tolist()
        if size > 0:
            ratios[name] = change / size
    return ratios

"""``GPTModule``: decoder + objective + optimizer + schedule under Lightning's Trainer, without logic of its own.

Everything it calls is a plain object that works without Lightning; this class only says when. It stores no
hyper-parameters in Lightning's sense: a checkpoint carries the architecture and the tokenizer as plain data
(``on_save_checkpoint``), so that it loads with ``weights_only=True`` and rebuilds without this class.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from gpt_lightning import adapters, objectives
from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.data.store.manifest import Manifest
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Learner, Objective
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.optim.clipping import clip_gradients, measure_gradients
from gpt_lightning.optim.groups import join_extras, keep_settings, scale_gradients, set_learning_rates
from gpt_lightning.optim.optimizers import AdamW, OptimizerRecipe
from gpt_lightning.optim.parametrization import Parametrization, Standard
from gpt_lightning.optim.schedules import cyclic, piecewise  # noqa: F401 (short names find imported classes)
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import Cosine, Schedule
from gpt_lightning.training.engine.sharded_strategy import Sharded
from gpt_lightning.training.loading.datamodule import TokenDataModule
from gpt_lightning.training.modules import adapting
from gpt_lightning.training.modules.ema import EMA, OptimizerAverage
from gpt_lightning.training.modules.measuring import Measures, positions_of
from gpt_lightning.training.modules.nonfinite import BadStep, NonFinitePolicy, Stop, unscale_gradients
from gpt_lightning.training.modules.stock import TextFacts, check_text, find_horizon, meet_needs
from gpt_lightning.training.modules.weighing import StepWeight
from gpt_lightning.weights.checking import check_fit, decoder_weights, hash_weights

for _package in (objectives, adapters):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)  # short names in a config find imported classes

_CHANGING = frozenset({"_current_fx_name", "_step_loss", "grad_norm"})
_EVALUATION_SEED = -1
"""Of the draws of every validation and test: none of a training (those are not negative), and the same in all runs."""


class GPTModule(LightningModule):
    """A GPT under training.

    Args:
        config: Architecture of the decoder; sizes left null are taken from the data.
        objective: What the decoder learns; turns (model, batch, draws) into a loss.
        optimizer: Which optimizer and its base learning rate.
        schedule: Factor on the learning rate as a pure function of the step.
        compile: Compile the decoder and its loss in place (keeps the names of the weights): less time and memory after
            the first step, which takes half a minute longer.
        parametrization: How initial values and learning rates follow width and depth.
        nonfinite: What happens when a loss or a gradient is not finite.
        ema_decay: Keep a running mean of the weights with this decay, e.g. 0.999: it is what is validated and what a
            checkpoint offers to generate. Null = none.
        adaptation: What of the decoder is trained, and what is added to it for that (LoRA, ...); wants --init_from.
            Null = all of it.
        checkpoint_activations: Every so-many-th block is computed a second time in the backward pass instead of
            keeping its activations: 1 = every block, which saves most memory for about a third more work. Null = none.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        config: GPTConfig = GPTConfig(),
        objective: Objective = CausalLM(),
        optimizer: OptimizerRecipe = AdamW(),
        schedule: Schedule = Cosine(),
        compile: bool = False,
        parametrization: Parametrization = Standard(),  # noqa: B008 (no state)
        nonfinite: NonFinitePolicy = Stop(),  # noqa: B008 (no state)
        ema_decay: float | None = None,
        adaptation: Adaptation | None = None,
        checkpoint_activations: int | None = None,
    ) -> None:
        super().__init__()
        if checkpoint_activations is not None and checkpoint_activations < 1:
            raise ConfigError(
                "checkpoint_activations counts blocks",
                got=checkpoint_activations,
                allowed="1 (every block) or more, or null",
            )
        if ema_decay is not None and optimizer.keeps_average:
            raise ConfigError(
                "ema_decay and the optimizer both keep a mean of the weights",
                got={"ema_decay": ema_decay, "optimizer": type(optimizer).__name__},
                allowed="one of both",
                fix="Set model.ema_decay to null.",
            )
        self.checkpoint_activations = checkpoint_activations
        self.config, self.objective, self.optimizer_recipe, self.schedule = config, objective, optimizer, schedule
        self.compile_model, self.parametrization, self.nonfinite = compile, parametrization, nonfinite
        self.adaptation = adaptation
        self.strict_loading = adaptation is None
        self._ema = None if ema_decay is None else EMA(ema_decay)
        self.skipped_steps: list[int] = []
        self._trained: list[Tensor] = []
        self.seed = 0
        self.horizon: Horizon | None = None
        self.card: dict[str, Any] = {}
        self.initial_weights: dict[str, Tensor] | None = None
        self.base: dict[str, str] | None = None
        self.manifest: Manifest | None = None
        self.tokenizer: Tokenizer | None = None
        self.grad_norm: Tensor | None = None
        self._step_loss: Tensor | None = None
        self._step_weight = StepWeight()
        self.context, self._step_values = Context(), objective.step_values()
        self.agree: Callable[[bool], bool] = bool
        self.measure_norm: Callable[[list[Tensor]], Tensor] = measure_gradients

    def __setattr__(self, name: str, value: Any) -> None:
        """Set names that change many times a step without asking whether they are parameters or modules.

        Lightning notes the current hook's name on the module some forty times a step; torch's own ``__setattr__``
        made that a quarter of the Trainer's cost.
        """
        if name in _CHANGING:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def begin_with(self, weights: dict[str, Tensor], path: Path) -> None:
        """Set the weights (of a decoder of ``config``, found at ``path``) to begin with; the base of an adaptation."""
        self.initial_weights = weights
        if self.adaptation is not None:
            self.base = {"sha256": hash_weights(weights), "path": str(path.resolve())}

    def configure_model(self) -> None:
        """Build the decoder once, on whatever device and dtype the strategy has set."""
        if "model" in self._modules:
            return
        strategy = None if self._trainer is None else self._trainer.strategy
        if isinstance(strategy, Sharded):
            self._configure_sharded(strategy)
        else:
            self._configure_whole()
        self.model.checkpoint_every, self.model.sights = self.checkpoint_activations, self.objective.sights()
        self.initial_weights = None
        self.extras = self._build_extras()

    def _has_extras(self) -> bool:
        with torch.device("meta"):
            return bool(self.objective.build_extras(self.config, self.context))

    def _build_extras(self) -> nn.ModuleDict:
        # Without a trace in the global generator, which seeds dropout.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            return self.objective.build_extras(self.config, self.context)

    def _configure_whole(self) -> None:
        self.model = GPT(self.config)
        self.model.init_weights(torch.Generator().manual_seed(self.seed))
        self.parametrization.scale_weights(self.model)
        if self.initial_weights is not None:
            self.model.load_state_dict(self.initial_weights)
        if self.adaptation is not None:
            adapting.attach(self.adaptation, self.model, self.initial_weights, self.seed)
        if self.compile_model:
            self.model.compile()

    def _configure_sharded(self, strategy: Sharded) -> None:
        sharded = strategy.build_model(self.config, compile=self.compile_model)
        if self.initial_weights is None:
            sharded.draw(self.seed, self.parametrization)
        else:
            sharded.load(self.initial_weights)
        self.model, self.measure_norm = sharded.model, sharded.measure_norm

    def setup(self, stage: str) -> None:
        """Create the validation metrics; under a Trainer that ``build`` did not make, learn of data and length."""
        data = getattr(self._trainer, "datamodule", None)  # None where somebody asks for the metrics alone
        if self.manifest is None and isinstance(data, TokenDataModule):
            self.take_text(meet_needs(self.config, self.objective, data.open_store(), data.block_size))
        if self.horizon is None and stage == "fit" and isinstance(data, TokenDataModule):
            self.horizon = find_horizon(self.trainer, data)
        if "measures" not in self._modules:
            self.measures = Measures(self.objective, self.context, self._sources_of("val", "test"))

    def take_text(self, facts: TextFacts) -> None:
        """Learn of the data, before the model is built."""
        self.config, self.context = facts.config, facts.context
        self.manifest, self.tokenizer = facts.manifest, facts.tokenizer

    @property
    def text_tokenizer(self) -> Tokenizer:
        """That of the data, with the special tokens of the objective."""
        assert self.tokenizer is not None, "the data are not known yet"
        return self.tokenizer

    def _learner(self) -> Learner:
        """What learns, as the objective shall see it now."""
        declared = self._step_values
        if not declared:
            return Learner(self.model, self.extras, self.context)
        values = {name: value.base for name, value in declared.items()}
        if self.training:
            assert self.horizon is not None
            values = {name: value.at(self.trainer.global_step, self.horizon) for name, value in declared.items()}
        return Learner(self.model, self.extras, replace(self.context, values=values))

    def _sources_of(self, *splits: str) -> list[str]:
        """Sources of a mixture in the order of their loaders; none where the data are one."""
        data = getattr(self.trainer, "datamodule", None)
        sources = [data.sources_of(split) for split in splits] if isinstance(data, TokenDataModule) else []
        return list(dict.fromkeys(name for names in sources for name in names))

    def on_train_start(self) -> None:
        """The next micro-batch is the first of a step, whatever an earlier training of this module left behind."""
        self._step_loss, self._step_weight = None, StepWeight()

    def _compute_loss(self, batch: Batch, seed: int, objective: Objective | None = None) -> LossOutput:
        batch = batch.number_rows()
        assert batch.samples is not None
        return (objective or self.objective)(self._learner(), batch, Draws(seed, batch.samples))

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """One micro-step's share of the step's loss; the extra entries are what the metrics log reads."""
        output = adapting.add_penalty(self.adaptation, self.model, self._compute_loss(batch, self.seed))
        loss = output.loss.detach()
        self._step_loss = loss if self._step_loss is None else self._step_loss + loss
        share = self._step_weight.add(output, batch)
        weights = {f"weight {name}": weight for name, weight in output.part_weights.items()}
        return {"loss": share, "mean": loss, "weight": output.weight, **output.parts, **weights}

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any] | None:
        """Add one batch to the sums over the whole split, and over its source; for callbacks, see ``positions_of``."""
        return self._measure(batch, "val", dataloader_idx)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Like validation, on the test split."""
        self._measure(batch, "test", dataloader_idx)

    def _measure(self, batch: Batch, split: str, loader: int) -> dict[str, Any] | None:
        output = causal = self._compute_loss(batch, _EVALUATION_SEED)
        if not self.objective.is_causal_lm:
            causal = self._compute_loss(batch, _EVALUATION_SEED, CausalLM(self.objective.chunk_size))
        sources = self._sources_of(split)
        self.measures.update(output, causal, sources[loader] if sources else None)
        return positions_of(causal, output.predictions)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Log-probability (nats) of every token of every window, with its id and weight; or what labels it has."""
        output = self._compute_loss(batch, _EVALUATION_SEED)
        if output.predictions is not None:
            return dict(vars(output.predictions))
        assert output.losses is not None
        assert output.targets is not None
        weights = torch.ones_like(output.losses) if output.weights is None else output.weights
        return {"log_probabilities": -output.losses, "targets": output.targets, "weights": weights}

    def on_validation_epoch_end(self) -> None:
        """Publish ``val/loss`` and the other ``measures`` for callbacks; loggers get them from ours."""
        self._publish("val")

    def on_test_epoch_end(self) -> None:
        """Publish ``test/...``."""
        self._publish("test")

    def _publish(self, stage: str) -> None:
        values = self.measures.compute(stage, self._sources_of(stage))
        # logger=False: Lightning would stamp these one step off the training curve.
        self.log_dict(values, logger=False, sync_dist=False)

    @property
    def has_mean(self) -> bool:
        """Whether a mean of the weights is kept, by us or by the optimizer."""
        return self._ema is not None or self.optimizer_recipe.keeps_average

    def weight_copies(self) -> list[tuple[str, str]]:
        """Names of the settings that copy all weights, which no sharded strategy can, each with its alternative."""
        copies = [] if self._ema is None else [("ema_decay", "Leave model.ema_decay out")]
        if self._has_extras():
            copies.append((f"What the objective {type(self.objective).__name__} trains", "Choose another objective"))
        if self.adaptation is not None:
            copies.append((f"adaptation {type(self.adaptation).__name__}", "Leave model.adaptation out"))
        if self.optimizer_recipe.keeps_average:
            copies.append((f"The optimizer {type(self.optimizer_recipe).__name__}", "Say --model.optimizer AdamW"))
        if self.nonfinite.needs_whole_weights:
            copies.append((f"nonfinite {type(self.nonfinite).__name__}", "Say --model.nonfinite Skip"))
        return copies

    def configure_callbacks(self) -> list[Callback]:
        """Means of the weights, and what the policy needs; ``trainer.callbacks`` may change on a resume, these not."""
        averages: list[Callback] = [] if self._ema is None else [self._ema]
        if self.optimizer_recipe.keeps_average:
            averages.append(OptimizerAverage())
        return [*averages, *self.nonfinite.callbacks()]

    def configure_optimizers(self) -> Optimizer:
        """The optimizer alone: the schedule is applied in ``optimizer_step``, from the step and nothing else."""
        if self.adaptation is not None:
            adapting.widen_trained(self.model)
        # Kept, because walking through the modules at every step costs; in the model's order, so that the last digit of
        # the gradient's norm does not depend on how parameters are grouped.
        trained = self.model if not self.extras else join_extras(self.model, self.extras, self.objective.roles())
        self._trained = [parameter for parameter in trained.parameters() if parameter.requires_grad]
        optimizer = self.optimizer_recipe.build(trained, self.parametrization)
        keep_settings(optimizer)
        return optimizer

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Set every group's learning rate for this step, then step."""
        if self.horizon is None:
            raise ConfigError(
                "The schedule does not know how long the run is",
                got=type(self.trainer.datamodule).__name__ if hasattr(self.trainer, "datamodule") else "loaders",
                allowed="a TokenDataModule, or module.horizon",
                fix="Set module.horizon = Horizon(total_steps=..., tokens_per_step=...) before fit.",
            )
        step = self.trainer.global_step
        set_learning_rates(optimizer, self.schedule.factor(step, self.horizon))
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.adaptation is not None:
            self.adaptation.after_step(self.model, step, self.horizon)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Make one weighted mean of the step's gradient, clip it, and let the policy decide about a non-finite one.

        All before it reaches the weights. Our own clipping, because Lightning's refuses a fused optimizer under mixed
        precision, and because the norm is wanted for the log anyway.
        """
        trainer = self.trainer
        scaler = unscale_gradients(trainer, optimizer)
        scale_gradients(optimizer)
        if self.adaptation is not None and self.horizon is not None:
            self.adaptation.before_step(self.model, trainer.global_step, self.horizon)
        self.objective.close_step(self._learner(), self._total)
        scale = self._step_weight.close(trainer.accumulate_grad_batches, trainer.strategy, trainer.world_size)
        self.grad_norm = clip_gradients(self._trained, gradient_clip_val, self.measure_norm, scale)
        loss, self._step_loss = self._step_loss, None
        if scaler is not None:
            return  # float16: overflow is expected, the gradient scaler skips the step itself
        finite = bool(torch.isfinite(self.grad_norm)) and (loss is None or bool(torch.isfinite(loss)))
        if self.agree(not finite):
            value, rate = None if loss is None else loss.item(), optimizer.param_groups[0]["lr"]
            step = BadStep(self.trainer.global_step + 1, value, self.grad_norm.item(), rate)
            self.nonfinite.meet(step, self.skipped_steps)
            optimizer.zero_grad(set_to_none=True)  # without gradients an optimizer leaves weights and state alone

    def _total(self, number: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return number
        reduced = self.trainer.strategy.reduce(number, reduce_op="sum")
        assert isinstance(reduced, Tensor)
        return reduced

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another architecture, or of another tokenizer than that of the data; then go on."""
        self.skipped_steps = list(checkpoint.get("skipped_steps", []))
        card = checkpoint.get("gpt_lightning", {})
        if self.manifest is not None and "tokenizer" in card:
            check_text(self.manifest, card)
        if self.adaptation is not None:
            adapting.check_adapted(self, checkpoint, self.base)
            return
        with torch.device("meta"):  # self.model may be a share of the whole
            check_fit(decoder_weights(checkpoint["state_dict"]), GPT(self.config), "The checkpoint")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model without this run: architecture, tokenizer, data, config (plain data)."""
        checkpoint["gpt_lightning"] = dict(self.card)
        checkpoint["skipped_steps"] = list(self.skipped_steps)
        if self.adaptation is not None:
            adapting.keep_trained(self, checkpoint, self.base)

"""``build``: configuration in, ``Run`` out. The only place where trainer, module and datamodule are created.

1. parse        files, overrides, environment -> one checked configuration
2. data         open the store, or prepare it first
3. trainer      its devices give the number of processes, which gives the global batch
4. lengths      steps, tokens, epochs and shares -> optimizer steps
5. model        sizes left open are taken from the data; checks that need both sides
6. card         the resolved configuration and what a checkpoint has to say about itself
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.seed import seed_everything
from lightning.pytorch import Trainer

from gpt_lightning.data.store.checks import check_global_batch
from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.shipped import find_shipped
from gpt_lightning.training.engine.checkpoint_io import DurableCheckpointIO
from gpt_lightning.training.engine.processes import check_launched, forget_foreign_launch
from gpt_lightning.training.engine.sharded_strategy import Sharded
from gpt_lightning.training.engine.sharding import check_sharding, choose_strategy, count_streams
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.fitting.consent import OPTION, ask_consent
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.loading.datamodule import Share, TokenDataModule
from gpt_lightning.training.modules.measuring import Measures
from gpt_lightning.training.modules.module import GPTModule
from gpt_lightning.training.modules.stock import meet_needs
from gpt_lightning.training.reuse.fingerprint import describe_environment
from gpt_lightning.training.runs.lengths import MicroStep, Plan, choose_cadence, plan_run
from gpt_lightning.training.runs.settings import RunSettings
from gpt_lightning.training.runs.trainer_checks import check_callbacks, check_ranges
from gpt_lightning.training.watch.monitor import Monitor
from gpt_lightning.weights.starting import InitialWeights, read_initial_weights

_COMMAND_KEYS = ("config", "preset", "resume", "init_from", "checkpoint", "progress", "dry_run", "generate", OPTION)
"""Arguments of one start, not of the run: never part of the resolved configuration (a preset is resolved in it)."""


def build(
    *sources: str | Path | Mapping[str, Any], args: Sequence[str] = (), command: str = "fit", typed: bool = True
) -> Run:
    """Make a run from configuration files and settings.

    Args:
        sources: YAML files (paths, or names of those that come along: "quickstart") and nested or dotted settings
            (mappings), merged in order, later ones win.
        args: Further arguments as on the command line, e.g. ``["--trainer.max_steps=20"]``; they win.
        command: fit, validate, test or predict.
        typed: As for ``TrainerCommandLine``: whether mappings and ``args`` are the caller's own words.

    Raises:
        ConfigError: A setting is unknown, of the wrong type or out of range.
        DataError: The data do not fit the settings.
    """
    line: list[str] = []
    for source in sources:
        if isinstance(source, Mapping):
            line += _as_arguments(source)
        else:
            line.append(f"--config={find_shipped(str(source), bare=True) or source}")
    return build_parsed(TrainerCommandLine(command, [*line, *args], typed=typed))


def _as_arguments(settings: Mapping[str, Any], prefix: str = "", depth: int | None = None) -> list[str]:
    arguments = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value and depth != 0:
            # What a class that is named here takes is whole: a table of records cannot be begun with a part of one.
            whole = key == "init_args" and "class_path" in settings
            arguments += _as_arguments(value, f"{prefix}{key}.", 0 if whole else None)
        else:
            text = str(value) if isinstance(value, (str, Path)) else json.dumps(value, default=os.fspath)
            arguments.append(f"--{prefix}{key}={text}")
    return arguments


def build_parsed(line: TrainerCommandLine) -> Run:
    """Steps 2 to 6 of ``build``, for a command line that is already parsed."""
    quieten_lightning()
    forget_foreign_launch()
    config = line.config
    settings = RunSettings(**config.run.as_dict())
    seed = int(config.seed_everything)
    check_ranges(config.trainer.as_dict(), seed)
    seed_everything(seed, verbose=False)
    init_from = config.get("init_from")
    initial = None if init_from is None else read_initial_weights(init_from)

    ask_consent(line)
    # Settings and devices are refused before minutes are spent on preparing text.
    parts = line.parser.instantiate(config)
    module: GPTModule = parts.model
    datamodule: TokenDataModule = parts.data
    trainer = _build_trainer(parts.trainer.as_dict())
    check_launched(trainer)
    datamodule.seed = seed
    try:
        return _complete(line, settings, parts.monitor, initial, module, datamodule, trainer)
    except BaseException:
        datamodule.close()
        raise


def _complete(
    line: TrainerCommandLine,
    settings: RunSettings,
    monitor: Monitor,
    initial: InitialWeights | None,
    module: GPTModule,
    datamodule: TokenDataModule,
    trainer: Trainer,
) -> Run:
    """Bring together what fits together."""
    config, seed = line.config, datamodule.seed
    _check_on_the_fly(datamodule, trainer)
    store = datamodule.open_store()
    config["data.shuffle_tokens"] = datamodule.shuffle_tokens
    module.take_text(meet_needs(module.config, module.objective, store, datamodule.block_size))
    config["model.config.vocab_size"], config["model.config.block_size"] = module.config.data_sizes()

    check_sharding(trainer, module.config, module.optimizer_recipe, module.weight_copies())
    micro = MicroStep(datamodule.block_size, datamodule.batch_size, count_streams(trainer))
    share = _choose_share(micro, datamodule, trainer)
    _check_global_batch(datamodule, share)
    if not datamodule.has_validation():
        trainer.limit_val_batches = 0
    _check_validation(datamodule, module, trainer, micro.world)
    if initial is not None:
        # Here rather than when the model is built: by then the run has a folder.
        initial.check_tokenizer(store.manifest.tokenizer, settings.allow_changes)
        module.begin_with(initial.fit(module.config), initial.path)
    plan = plan_run(
        settings,
        max_steps=config.trainer.max_steps,
        max_epochs=config.trainer.max_epochs,
        global_batch_size=share.global_batch_size,
        block_size=datamodule.block_size,
        epoch=datamodule.windows_per_epoch(),
        ramp=datamodule.batch_ramp,
    )
    if monitor.details_every is not None:
        choose_cadence(monitor.details_every, plan.horizon, "monitor.details_every")  # refused now or never
    _apply(plan, micro, trainer, module, datamodule)
    module.seed = seed
    resolved = resolve_config(line, plan)
    module.card = {
        "format": 1,
        "model": module.config.to_dict(),
        "tokenizer": module.text_tokenizer.describe(),
        "sights": sorted(module.objective.sights()),
        "data_fingerprint": store.fingerprint,
        "global_batch_size": share.global_batch_size,
        "config": resolved,
        "environment": describe_environment(trainer.strategy.root_device, trainer.world_size),
    }
    use = module.objective.describe_use(module.context)
    module.card |= {"use": {**use, "max_tokens": datamodule.block_size}} if use else {}
    module.card |= {} if module.adaptation is None else {"adaptation": resolved["model"]["adaptation"]}
    return Run(
        trainer=trainer,
        module=module,
        datamodule=datamodule,
        plan=plan,
        settings=settings,
        config=resolved,
        seed=seed,
        name=settings.name or _name_of(config.get("config")),
        stock_logger=config.trainer.logger in (None, True),
        progress="none" if config.trainer.enable_progress_bar is False else config.get("progress"),
        monitor=monitor,
        defaults=partial(resolve_defaults, line),
        initial_path=None if initial is None else initial.path,
    )


def build_bare_trainer(line: TrainerCommandLine, names: Sequence[str]) -> Trainer:
    """A Trainer with some of the options of a command line, for work that is no training.

    Args:
        line: Already parsed.
        names: The options that count.

    Raises:
        ConfigError: They do not fit this machine, or the launcher.
    """
    quieten_lightning()
    options = line.parser.instantiate(line.config).trainer
    idle = dict.fromkeys(("logger", "plugins", "callbacks", "precision"))
    trainer = _build_trainer({**idle, **{name: options[name] for name in names}})
    check_launched(trainer)
    return trainer


def _build_trainer(options: dict[str, Any]) -> Trainer:
    """A Trainer without loggers, bars and savers of its own; ``Run`` adds ours."""
    loggers = options.pop("logger")
    plugins = options.pop("plugins") or []
    options |= {
        "logger": False if loggers in (None, True, False) else loggers,
        "plugins": [*(plugins if isinstance(plugins, list) else [plugins]), DurableCheckpointIO()],
        "max_steps": -1,
        "max_epochs": -1,
        "min_epochs": 0,  # with trainer.min_steps Lightning would ask for a whole epoch, and a run is but one
        "check_val_every_n_epoch": None,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
    }
    if SLURMEnvironment.detect():
        # Lightning's own requeue would save into a file of its own, mid-accumulation; ours is SIGTERM + --resume auto.
        options["plugins"].append(SLURMEnvironment(auto_requeue=False))
    options["callbacks"] = list(options["callbacks"] or [])
    check_callbacks(options["callbacks"], None)
    options["strategy"] = choose_strategy(options["strategy"])
    if isinstance(options["strategy"], Sharded):
        options["inference_mode"] = False  # parameters gathered there could not be trained on afterwards
    try:
        with warnings.catch_warnings():
            # Lightning would train in another precision than the one asked for.
            warnings.filterwarnings("error", message=".*AMP with fp16 is not supported on CPU.*")
            return Trainer(**options)
    except (MisconfigurationException, ValueError, TypeError, ImportError, UserWarning) as error:
        raise ConfigError(
            f"The Trainer refused its settings: {' '.join(str(error).split()).rstrip('.! ')}",
            got={name: options[name] for name in ("accelerator", "devices", "strategy", "precision")},
            fix=f"This machine has: {_found_devices()}. Compare trainer.accelerator (auto takes the best there is), "
            "devices, strategy, precision.",
        ) from error


def _choose_share(micro: MicroStep, datamodule: TokenDataModule, trainer: Trainer) -> Share:
    """The global batch as micro-batches, which the Trainer is told."""
    accumulate = micro.choose_accumulation(datamodule.global_batch_tokens, trainer.accumulate_grad_batches)
    trainer.accumulate_grad_batches = accumulate
    return Share(datamodule.batch_size, accumulate, world=micro.world)


def _found_devices() -> str:
    found = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count() if found is not None and torch.accelerator.is_available() else 0
    return f"cpu and {count} x {found.type}" if found is not None and count else "cpu only"


def _check_global_batch(datamodule: TokenDataModule, share: Share) -> None:
    windows = datamodule.windows_per_epoch()
    if windows is not None:
        check_global_batch(windows, batch_size=share.batch_size, accumulate=share.accumulate, world=share.world)


def _check_validation(datamodule: TokenDataModule, module: GPTModule, trainer: Trainer, world: int) -> None:
    """Refuse a share of the validation split that is no batch, and a wait for a measure that never comes."""
    limit = trainer.limit_val_batches
    is_share = isinstance(limit, float) and 0 < limit < 1
    fewest = min(datamodule.count_validation_batches(world), default=None) if is_share else None
    if fewest is not None and int(fewest * limit) < 1:
        raise ConfigError(
            f"trainer.limit_val_batches is a share of {fewest} batches and less than one of them",
            got=limit,
            allowed=f"{1 / fewest:.2g} to 1.0, or a number of batches",
            fix="Say --trainer.limit_val_batches 1.",
        )
    measured = [f"val/{name}" for name in Measures(module.objective, module.context).names()]
    measured += [f"val/loss/{name}" for name in datamodule.sources_of("val")]
    check_callbacks(vars(trainer)["callbacks"], measured)


def _check_on_the_fly(datamodule: TokenDataModule, trainer: Trainer) -> None:
    """Settings that need a finished store, refused before one is begun."""
    if not datamodule.on_the_fly:
        return
    if trainer.num_nodes > 1:
        raise ConfigError(
            "data.on_the_fly works on one machine",
            got=trainer.num_nodes,
            allowed="trainer.num_nodes 1",
            fix="Run gpt-lightning prepare first, and leave data.on_the_fly out.",
        )
    if not datamodule.keep_store and trainer.world_size > 1:
        raise ConfigError(
            "data.keep_store false is for one device",
            got=trainer.world_size,
            allowed="trainer.devices 1",
            fix="Leave data.keep_store out: the processes share the store.",
        )
    for split in ("val", "test", "predict"):
        limit = getattr(trainer, f"limit_{split}_batches")
        if isinstance(limit, float) and 0 < limit < 1:
            raise ConfigError(
                f"trainer.limit_{split}_batches is a share of a split whose size data.on_the_fly does not know",
                got=limit,
                allowed="a number of batches, or 1.0",
                fix=f"Set --trainer.limit_{split}_batches 50.",
            )


def _apply(plan: Plan, micro: MicroStep, trainer: Trainer, module: GPTModule, datamodule: TokenDataModule) -> None:
    """Hand the lengths to those who use them; ramp and schedule say now if their parts do not fit."""
    micro.check_sizes(plan.horizon.batch_sizes)
    module.schedule.check(plan.horizon)
    for value in module.objective.step_values().values():
        value.schedule.check(plan.horizon)
    module.horizon = plan.horizon
    datamodule.batch_sizes = plan.horizon.batch_sizes
    module.agree = lambda flag: (
        flag if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(flag, all=False)
    )
    trainer.fit_loop.epoch_loop.max_steps = plan.horizon.total_steps
    trainer.val_check_interval = plan.validate_every * trainer.accumulate_grad_batches


def resolve_config(line: TrainerCommandLine, plan: Plan) -> dict[str, Any]:
    """The configuration as plain data with nothing left open, readable by ``--config`` again."""
    config = line.config.clone()
    config["trainer.max_steps"] = plan.horizon.total_steps
    config["trainer.max_epochs"] = config["run.max_tokens"] = None
    config["run.dir"] = None  # where this run lives is not what it is; a second one gets a folder of its own
    return plain_settings(line, config)


def resolve_defaults(line: TrainerCommandLine) -> dict[str, Any]:
    """What the configuration would be, had nothing been set; below a chosen class, the defaults of that class."""
    return with_default_classes(line, plain_settings(line, line.parser.get_defaults()))


def with_default_classes(line: TrainerCommandLine, settings: dict[str, Any]) -> dict[str, Any]:
    """Name the classes of the code where others were chosen: a configuration differs in its class, too."""
    for key, path in line.parser.default_classes.items():
        section: Any = settings
        for name in key.split("."):
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and "class_path" in section:
            section["class_path"] = path
    return settings


def plain_settings(line: TrainerCommandLine, config: Namespace) -> dict[str, Any]:
    """A configuration of a command line as plain data, without what belongs to one start; ``config`` loses it too."""
    for key in _COMMAND_KEYS:
        config.pop(key, None)
    return dict(json.loads(line.parser.dump(config, format="json_compact", skip_unset=False, skip_validation=True)))


def _name_of(config_files: Any) -> str:
    if not config_files:
        return "run"
    path = Path(str(config_files[0]))
    # A run folder's own config.yaml names the run, not "config".
    return path.parent.name.rpartition("-")[0] or path.parent.name if path.name == "config.yaml" else path.stem


def quieten_lightning() -> None:
    """Drop Lightning's advertisements and notices about things that are arranged differently here, on purpose."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message=message)


_HARMLESS = (
    ".*does not have many workers.*",
    ".*`srun` command is available.*",  # on a machine with SLURM, where a plain process is what was asked for
    ".*GPU available but not used.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*smaller than the logging interval.*",
    ".*sync_dist=True.*",  # the metrics have summed over the processes already
    ".*returned a view tensor.*",  # FSDP2 warns of in-place changes, which the decoder does not make
    ".*callbacks used to create the checkpoint need to be provided.*",
)

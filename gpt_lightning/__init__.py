"""gpt_lightning: the experiment platform for GPT language models on Lightning.

Layers; a package imports only packages of lower layers, and packages of one layer never import each other; the large
ones hold the same order inside (checked by ``make check``)::

   10  cli           the table of commands
    9  apps          from a file of one's own to a server, on everything below
    8  continual     whether a new version may take the place of the one in use
    7  tuning        sweeps: Optuna chooses settings, trials are runs like any other
       evaluation    perplexity, texts against references, tasks, comparison of models
       monitoring    runs listed, compared, plotted, reported
    6  training      Lightning: module, datamodule, run folder, resume, the LightningCLI
    5  objectives    what a model learns           generation   text out of a model
       tracking      what a run shows: texts, pictures, alerts
       feedback      what people said about answers, as data to train on; above ``registry``
       registry      versions of a model, aliases, their history; above ``weights``
    4  weights       a model out of a checkpoint; models of other libraries in and out
       adapters      little that is trained beside a frozen model; below ``weights``, which loads it
    3  model         the decoder                   optim        schedules, groups, optimizers
       data          text -> tokens -> windows     metrics      loss, BLEU, ROUGE, accuracy ... as sums
       checkpoints   complete and checksummed, or invisible
       reports       pages in one file, charts
    2  batch         the nouns that travel         parsing      strict YAML, one-line errors
    1  files         whole or not at all, locks, processes: what systems differ in
    0  errors        one family

A batch of tokens goes one way: ``data.readers`` -> ``data.tokenizers`` -> ``data.store`` (once, in ``data.prepare``) ->
``data.stream`` (windows as a pure function of the sample number) -> ``training.loading`` -> ``objectives`` (shift, mask
or corrupt on the device) -> ``model`` -> loss. Flowing back: only ``state_dict``.

From Python the same as from the command line; the names below load their package when they are first used::

    import gpt_lightning as gl

    run = gl.build("configs/quickstart.yaml", {"trainer.max_steps": 50})
    result = run.fit()
    loaded = gl.load_model(result.folder)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpt_lightning._version import __version__

if TYPE_CHECKING:
    from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
    from gpt_lightning.generation.decode import generate_text
    from gpt_lightning.generation.engine import Engine
    from gpt_lightning.generation.requests import Request
    from gpt_lightning.generation.sampling import Sampling
    from gpt_lightning.model.config import GPTConfig
    from gpt_lightning.model.gpt import GPT
    from gpt_lightning.training.fitting.build import build
    from gpt_lightning.weights.loading import load_model

_HOMES = {
    "Engine": "generation.engine",
    "GPT": "model.gpt",
    "GPTConfig": "model.config",
    "PrepareSettings": "data.prepare.prepare",
    "Request": "generation.requests",
    "Sampling": "generation.sampling",
    "build": "training.fitting.build",
    "find_or_prepare": "data.prepare.prepare",
    "generate_text": "generation.decode",
    "load_model": "weights.loading",
}

__all__ = [
    "GPT",
    "Engine",
    "GPTConfig",
    "PrepareSettings",
    "Request",
    "Sampling",
    "__version__",
    "build",
    "find_or_prepare",
    "generate_text",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"gpt_lightning.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gpt_lightning' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)

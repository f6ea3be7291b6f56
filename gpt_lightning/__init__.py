"""gpt_lightning: the experiment platform for GPT language models on Lightning.

The house, floor by floor; a room imports only rooms on lower floors, and rooms on one floor never import each other
(checked by ``make check``)::

    7  cli           the table of commands
    6  tuning        sweeps: Optuna chooses settings, trials are runs like any other
       evaluation    perplexity, texts against references, tasks, comparison of models
       monitoring    runs listed, compared, plotted, reported
    5  training      Lightning: module, datamodule, run folder, resume, the LightningCLI
    4  objectives    what a model learns           generation   text out of a model
       board         what a run shows: texts, pictures, alerts
    3  weights       a model out of a checkpoint; models of other libraries in and out
    2  model         the decoder                   optim        schedules, groups, optimizers
       data          text -> tokens -> windows     metrics      loss, BLEU, ROUGE, accuracy ... as sums
       checkpoints   complete and checksummed, or invisible
       pages         reports in one file, charts
    1  batch         the nouns that travel         parsing      strict YAML, one-line errors
       files         whole or not at all, locks, processes: what systems differ in
    0  errors        one family

A batch of tokens goes one way: ``data.readers`` -> ``data.tokenizers`` -> ``data.shards`` (once, in ``prepare``) ->
``data.stream`` (windows as a pure function of the sample number) -> ``training.datamodule`` -> ``objectives`` (shift,
mask or corrupt on the device) -> ``model`` -> loss. Flowing back: only ``state_dict``.

From Python the same as from the command line; the names below load their room when they are first used::

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

_ROOMS = {
    "Engine": "generation.engine",
    "GPT": "model.gpt",
    "GPTConfig": "model.config",
    "PrepareSettings": "data.prepare",
    "Request": "generation.requests",
    "Sampling": "generation.sampling",
    "build": "training.build",
    "find_or_prepare": "data.prepare",
    "generate_text": "generation.text",
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
    if name in _ROOMS:
        return getattr(import_module(f"gpt_lightning.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'gpt_lightning' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)

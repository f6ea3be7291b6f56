"""``fit`` beside other projects' loops on this CPU, taking turns. Prints JSON.

The others run in processes of their own, as their users run them: what ``fit`` asks of the C library (see
``keep_freed_memory``) would help them too.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_lightning.model.flops import count_training_flops, measure_matrix_peak
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Learner
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.optim.clipping import clip_gradients
from gpt_lightning.optim.groups import set_learning_rates
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import Run
from tests.bench.apart import Apart
from tests.bench.nano_gpt import NanoGPT, NanoLoop
from tests.bench.publish import SEED
from tests.bench.turns import Loop, Timed, Turns, read_tokens

SIZES: dict[str, dict[str, Any]] = {
    "check": {"model.config": {"n_layer": 1, "n_head": 2, "n_embd": 16}, "data": {"block_size": 16, "batch_size": 4}},
    "tiny": {"model.config": {"n_layer": 4, "n_head": 4, "n_embd": 128}, "data": {"block_size": 64, "batch_size": 12}},
    "lean": {
        "model.config": {
            "n_layer": 4,
            "n_head": 4,
            "n_embd": 128,
            "bias": False,
            "norm": "rms",
            "mlp": "relu2",
            "n_kv_head": 1,
        },
        "data": {"block_size": 64, "batch_size": 12},
    },
    "million": {
        "model.config": {"n_layer": 4, "n_head": 4, "n_embd": 160},
        "data": {"block_size": 64, "batch_size": 12},
    },
    "gpt2": {
        "model.config": {"n_layer": 12, "n_head": 12, "n_embd": 768, "vocab_size": 50257, "block_size": 1024},
        "data": {"block_size": 256, "batch_size": 2},
    },
}
_TURNS: dict[str, dict[str, int]] = {"gpt2": {"segment": 2, "unseen": 0}}


class BareLoop:
    """The very step of ``fit`` without the Trainer: our objective, optimizer, clipping, schedule and stream."""

    def __init__(self, run: Run) -> None:
        self.module = run.module
        self.model = GPT(run.module.config, torch.Generator().manual_seed(SEED))
        if run.module.compile_model:
            self.model.compile()
        self.weights = list(self.model.parameters())
        self.optimizer = run.module.optimizer_recipe.build(self.model)
        batches = iter(run.datamodule.train_dataloader())
        # The loader asks where the run stands when its first batch is taken: now, at step 0, or it would end too soon.
        self.batches, self.count = chain([next(batches)], batches), 0

    def step(self) -> None:
        """Learning rate, gradient, clipping, the check for non-finite numbers, update."""
        assert self.module.horizon is not None
        set_learning_rates(self.optimizer, self.module.schedule.factor(self.count, self.module.horizon))
        batch = next(self.batches).number_rows()
        assert batch.samples is not None
        batch.tokens = batch.tokens.long()
        loss = self.module.objective(Learner(self.model), batch, Draws(0, batch.samples)).loss
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_gradients(self.weights, 1.0)
        assert bool(torch.isfinite(norm))
        assert bool(torch.isfinite(loss))
        self.optimizer.step()
        self.count += 1


class Answering(nn.Module):
    """A model that gives logits, with nanoGPT's interface."""

    def __init__(self, model: nn.Module, read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.read = model, read

    def forward(self, idx: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.read(self.model(idx))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def find_checkouts(run: Run) -> dict[str, Callable[[], nn.Module]]:
    """Makers of other projects' models, where an environment variable says where they lie; picklable."""
    config, (vocab_size, positions) = run.module.config, run.module.config.data_sizes()
    sizes = {"n_layer": config.n_layer, "n_head": config.n_head, "n_embd": config.n_embd}
    makers: dict[str, Callable[..., nn.Module]] = {
        "nanoGPT": _make_nanogpt,
        "litgpt": _make_litgpt,
        "transformers": _make_transformers,
    }
    places = {name: os.environ.get(f"{name.upper()}_CHECKOUT") for name in makers}
    return {
        f"{name} checkout": partial(make, place, sizes, vocab_size, positions)
        for name, make in makers.items()
        if (place := places[name])
    }


def _make_nanogpt(place: str, sizes: dict[str, int], vocab_size: int, positions: int) -> nn.Module:
    spec = importlib.util.spec_from_file_location("nanogpt_model", Path(place) / "model.py")
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    record = theirs.GPTConfig(**sizes, block_size=positions, vocab_size=vocab_size, dropout=0.0, bias=True)
    model: nn.Module = theirs.GPT(record)
    return model


def _make_litgpt(place: str, sizes: dict[str, int], vocab_size: int, positions: int) -> nn.Module:
    sys.path.insert(0, place)
    litgpt = importlib.import_module("litgpt")
    record = litgpt.Config(**sizes, block_size=positions, vocab_size=vocab_size, padded_vocab_size=vocab_size)
    return Answering(litgpt.GPT(record), _same)


def _make_transformers(place: str, sizes: dict[str, int], vocab_size: int, positions: int) -> nn.Module:
    sys.path.insert(0, place)
    transformers = importlib.import_module("transformers")
    rest = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "use_cache": False}
    record = transformers.GPT2Config(**sizes, n_positions=positions, vocab_size=vocab_size, **rest)
    return Answering(transformers.GPT2LMHeadModel(record), attrgetter("logits"))


def _same(logits: Tensor) -> Tensor:
    return logits


def make_nano_loop(make: Callable[[], nn.Module], tokens: np.ndarray[Any, Any], **options: Any) -> NanoLoop:
    """A model and nanoGPT's loop around it, over there."""
    return NanoLoop(make(), tokens, **options)


def compare(size: str, rounds: int, source: str, *, compiled: bool) -> dict[str, Any]:
    """Steps of all loops, and the matrix peak measured before and after them."""
    turns_of = {"segment": 6, "unseen": 1} | _TURNS.get(size, {})
    steps = (rounds + 1) * turns_of["segment"] + 1
    settings = {
        "trainer.max_steps": steps,
        "data.source": source,
        "model.compile": compiled,
        "model.schedule.warmup": "5%",
        "trainer.limit_val_batches": 1,
        "run.validate_every": "100%",
        "seed_everything": SEED,
    }
    peaks = [measure_matrix_peak(torch.device("cpu"))]
    run = build("configs/shakespeare_char.yaml", SIZES[size], settings)
    tokens, data = read_tokens(run), run.datamodule

    def nano(make: Callable[[], nn.Module], **options: bool) -> Callable[[], Apart]:
        sizes = {"block_size": data.block_size, "batch_size": data.batch_size}
        return partial(Apart, partial(make_nano_loop, make, tokens, **sizes, **options))

    vocab_size, _ = run.module.config.data_sizes()
    own = partial(NanoGPT, run.module.config, vocab_size)
    rivals: dict[str, Callable[[], Loop | Timed]] = {
        "bare": partial(BareLoop, run),
        "nano": nano(own, fused=False, compiled=False),
    }
    if compiled and size != "gpt2":  # memory: every loop holds 2 GB
        rivals["nano compiled, fused"] = nano(own, fused=True, compiled=True)
    rivals |= {name: nano(make, fused=False, compiled=False) for name, make in find_checkouts(run).items()}
    turns = Turns(rivals, **turns_of)
    with tempfile.TemporaryDirectory() as folder:
        run.rehearse(Path(folder), steps, turns)
    peaks.append(measure_matrix_peak(torch.device("cpu")))
    return {
        "times": turns.summary("nano"),
        "fit_to_bare": 1 / turns.ratio("fit", "bare"),
        "tokens": run.plan.horizon.tokens_per_step,
        "flops_per_token": count_training_flops(run.module.config, run.datamodule.block_size),
        "peak": max(peaks),
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("rounds", type=int)
    parser.add_argument("source")
    parser.add_argument("--compiled", action="store_true")
    chosen = parser.parse_args()
    found = compare(chosen.size, chosen.rounds, chosen.source, compiled=chosen.compiled)
    sys.stdout.write(json.dumps(found) + "\n")

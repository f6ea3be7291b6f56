"""Decoding speed beside other decoders on the same weights, in turns within one process. Prints JSON.

Every rival continues the same prompts greedily by the same number of tokens; the time of every step is noted, so that
a low percentile shows what a step costs when nothing else disturbs it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import pack
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.gpt2 import to_gpt2
from tests.bench.publish import SEED


class Decoder(ABC):
    """One of the programs compared."""

    @abstractmethod
    def decode(self, prompts: list[list[int]], count: int) -> tuple[list[list[int]], list[float]]:
        """New tokens of each prompt, and the moments (seconds) at which a further token of all was there."""


class Ours(Decoder):
    """The engine with packed weights."""

    def __init__(self, model: GPT, weights: str, rows: int, draft_tokens: int = 0) -> None:
        self._engine = Engine(pack(model, weights), slots=rows)
        self._draft_tokens = draft_tokens

    def decode(self, prompts: list[list[int]], count: int) -> tuple[list[list[int]], list[float]]:
        """As in ``Decoder.decode``."""
        tickets = [
            self._engine.submit(
                Request(prompt, max_tokens=count, sampling=Sampling(temperature=0.0), draft_tokens=self._draft_tokens)
            )
            for prompt in prompts
        ]
        texts: dict[int, list[int]] = {ticket: [] for ticket in tickets}
        moments: list[float] = []
        while self._engine.busy:
            events = self._engine.step()
            moments += [time.perf_counter()] * max(len(event.ids) for event in events)
            for event in events:
                texts[event.ticket] += event.ids
        return [texts[ticket] for ticket in tickets], moments


class Transformers(Decoder):
    """``generate`` of transformers with its dynamic cache."""

    def __init__(self, model: GPT) -> None:
        import transformers

        config = model.config
        self._model: Any = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=model.vocab_size,
                n_positions=model.block_size,
                n_embd=config.n_embd,
                n_layer=config.n_layer,
                n_head=config.n_head,
                bos_token_id=0,
                eos_token_id=None,
                pad_token_id=0,
            )
        )
        self._model.eval()  # type: ignore[no-untyped-call]
        self._model.load_state_dict(to_gpt2(model.state_dict(), config), strict=False)
        self._model.tie_weights()

    def decode(self, prompts: list[list[int]], count: int) -> tuple[list[list[int]], list[float]]:
        """As in ``Decoder.decode``."""
        moments: list[float] = []

        class Watch:
            def __call__(self, ids: torch.Tensor, _: Any, **__: Any) -> torch.Tensor:
                moments.append(time.perf_counter())
                return torch.zeros(len(ids), dtype=torch.bool)

        ids = torch.tensor(prompts)
        with torch.inference_mode():
            found = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                stopping_criteria=[Watch()],
            )
        return found[:, ids.shape[1] :].tolist(), moments


class NoCache(Decoder):
    """As nanoGPT's ``sample.py``: the whole context again for every token."""

    def __init__(self, model: GPT) -> None:
        self._model = model

    def decode(self, prompts: list[list[int]], count: int) -> tuple[list[list[int]], list[float]]:
        """As in ``Decoder.decode``."""
        ids, moments = torch.tensor(prompts), []
        with torch.inference_mode():
            for _ in range(count):
                following = self._model.logits(self._model(ids)[:, -1]).argmax(-1, keepdim=True)
                ids = torch.cat((ids, following), dim=1)
                moments.append(time.perf_counter())
        return ids[:, -count:].tolist(), moments


RIVALS: dict[str, Callable[[GPT, int], Decoder]] = {
    "transformers": lambda model, rows: Transformers(model),
    "float32": lambda model, rows: Ours(model, "float32", rows),
    "float16": lambda model, rows: Ours(model, "float16", rows),
    "int8": lambda model, rows: Ours(model, "int8", rows),
    "float32, 4 guesses": lambda model, rows: Ours(model, "float32", rows, draft_tokens=4),
    "no cache": lambda model, rows: NoCache(model),
}
"""By their name in the table; the first is what the others are compared with."""


def compare(
    config: GPTConfig, *, rows: int, prompt: int, count: int, rounds: int, names: Sequence[str] = tuple(RIVALS)
) -> Iterator[dict[str, Any]]:
    """Seconds of every step and of whole texts, by rival, and whether the greedy texts agree: so far, after every turn.

    A measurement that is cut short leaves what it had found.
    """
    model = GPT(config, torch.Generator().manual_seed(SEED)).eval()
    generator = torch.Generator().manual_seed(SEED + 1)
    prompts = torch.randint(model.vocab_size, (rows, prompt), generator=generator).tolist()
    rivals = {name: RIVALS[name](model, rows) for name in names}
    steps: dict[str, list[float]] = {name: [] for name in rivals}
    turns: dict[str, list[float]] = {name: [] for name in rivals}
    texts: dict[str, list[list[int]]] = {}
    for turn in range(rounds + 1):
        for name, rival in rivals.items():
            if name == "no cache" and turn != 1:
                continue  # an order of magnitude slower, and nothing is compared with it
            begin = time.perf_counter()
            texts[name], moments = rival.decode(prompts, count)
            if turn:  # the first one allocates
                turns[name].append((moments[-1] - begin) / count)
                steps[name] += [later - earlier for earlier, later in itertools.pairwise(moments)]
        if turn:
            yield _summarize(turns, steps, texts)


def _summarize(
    turns: dict[str, list[float]], steps: dict[str, list[float]], texts: dict[str, list[list[int]]]
) -> dict[str, Any]:
    found = {}
    for name in turns:
        ordered = sorted(steps[name])
        found[name] = {
            "median": statistics.median(turns[name]),
            "best": min(turns[name]),
            "step_p10": ordered[len(ordered) // 10],
            "ratio": statistics.median(
                theirs / mine for theirs, mine in zip(turns["transformers"], turns[name], strict=False)
            ),
            "same": texts[name] == texts["transformers"],
        }
    return found


def main() -> None:
    """Measure one number of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--names", nargs="+", choices=RIVALS, default=list(RIVALS))
    arguments = parser.parse_args()
    for found in compare(
        GPTConfig.preset("gpt2"),
        rows=arguments.rows,
        prompt=64,
        count=arguments.count,
        rounds=arguments.rounds,
        names=arguments.names,
    ):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does, here for all rivals
    main()

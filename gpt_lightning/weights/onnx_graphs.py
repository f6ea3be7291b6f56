"""A model as ONNX graphs, for onnxruntime in any language: any number of rows, of tokens, of tokens before these.

    model.onnx             input_ids (batch, time) -> logits (batch, time, vocab)
    model_with_past.onnx   the same behind cached positions: past_key_values.N.key and .value (batch, groups, past,
                           head) in, present.N.key and .value (past + time) out; past 0 begins a text
    model.onnx             of a model that labels texts: input_ids and ends (batch, items), the position of the last
                           token of each -> logits (batch, items, labels), before calibration
    config.json            sizes, the end token, names of labels and their calibration
    tokenizer.json         as in ``exporting``

The graphs come from ``torch.export``. Nothing is traced by example: sizes that vary are symbols, and
``verify_graphs`` runs each graph on shapes that no export has seen.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gpt_lightning.data.tokenizers.tokenizer_json import describe_as_json
from gpt_lightning.data.tokenizers.tokenizer_json_reading import FILE
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.cache import KeyValueCache, LayerCache
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.pooling import pool
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.weights.hub import CONFIG_FILE
from gpt_lightning.weights.loading import LoadedModel

WHOLE, CONTINUED = "model.onnx", "model_with_past.onnx"
_TOLERANCE = 1e-4
_BATCHES, _TIMES = (1, 3), (1, 7, 64)
_EXAMPLE = (2, 5, 3)
"""Rows, tokens and cached positions that a graph is made with: none of those it is checked with."""


class _PastLayer(LayerCache):
    """Keys and values that come in and go out, with no memory of their own."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__(capacity=0)
        self.pair, self.length = (keys, values), keys.shape[2]

    def extend(
        self,
        keys: Float[Tensor, "batch heads new head"],
        values: Float[Tensor, "batch heads new head"],
    ) -> tuple[Float[Tensor, "batch heads time head"], Float[Tensor, "batch heads time head"]]:
        """As in ``LayerCache.extend``."""
        before_keys, before_values = self.pair
        self.pair = torch.cat((before_keys, keys), dim=2), torch.cat((before_values, values), dim=2)
        return self.pair


class _Whole(nn.Module):
    """Tokens to logits."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocab"]:
        return self.model.logits(self.model(tokens))


class _Continued(_Whole):
    """The same behind cached positions; their keys and values grow by the new ones."""

    def forward(self, tokens: Int[Tensor, "batch time"], *past: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        cache = KeyValueCache(len(past) // 2, capacity=1)
        layers = [_PastLayer(keys, values) for keys, values in zip(past[::2], past[1::2], strict=True)]
        cache.layers = list(layers)
        logits = self.model.logits(self.model(tokens, cache))
        return (logits, *(each for layer in layers for each in layer.pair))


class _Labelled(nn.Module):
    """Tokens to the numbers of a head."""

    def __init__(self, model: GPT, head: Float[Tensor, "labels embed"], pooling: str) -> None:
        super().__init__()
        self.model, self.head, self.pooling = model, nn.Parameter(head), pooling

    def forward(
        self, tokens: Int[Tensor, "batch time"], ends: Int[Tensor, "batch items"]
    ) -> Float[Tensor, "batch items labels"]:
        return F.linear(pool(self.model(tokens), ends, self.pooling), self.head)


def past_names(layers: int, word: str = "past_key_values") -> list[str]:
    """Names of the cached tensors: ``past_key_values.0.key``, or of what grows of them, ``present.0.key``."""
    return [f"{word}.{layer}.{kind}" for layer in range(layers) for kind in ("key", "value")]


def write_graphs(loaded: LoadedModel, folder: Path) -> list[str]:
    """Write the graphs of a model, and what their user needs to know.

    Args:
        loaded: In evaluation mode.
        folder: An empty one.

    Returns:
        What whoever uses them should know, a sentence each.

    Raises:
        ConfigError: Something stands ahead of every text, which no graph here holds.
        DataError: onnx or onnxscript are not installed.
    """
    for package in ("onnx", "onnxscript"):
        import_extra(package, "onnx", "export --format onnx needs")
    model = loaded.model
    if model.ahead is not None:
        raise ConfigError(
            "Learned positions ahead of a text are not written as ONNX",
            got=type(model.ahead).__name__,
            fix="Use --adapter_only true, or an adapter that merges into the weights (LoRA).",
        )
    rows, time, before = _EXAMPLE
    tokens = torch.zeros(rows, time, dtype=torch.long)
    notes = []
    if loaded.head is not None:
        head = _Labelled(model, loaded.head, loaded.card["use"].get("pooling", "last"))
        example = (tokens, torch.full((rows, 1), time - 1))
        _write(head, example, ("input_ids", "ends"), ("logits",), folder / WHOLE)
    else:
        _write(_Whole(model), (tokens,), ("input_ids",), ("logits",), folder / WHOLE)
        if "causal" not in model.sights:
            notes.append("Prompts were seen from both sides in training; the graphs read them causally.")
        if _looks_back(model):
            notes.append(f"No {CONTINUED}: this model mixes in the token before, which a cache of keys does not hold.")
        else:
            config = model.config
            shape = (rows, config.key_value_heads, before, config.head_size)
            past, names = [torch.zeros(shape) for _ in past_names(config.n_layer)], past_names(config.n_layer)
            present = past_names(config.n_layer, "present")
            _write(_Continued(model), (tokens, *past), ("input_ids", *names), ("logits", *present), folder / CONTINUED)
    _write_json(folder / CONFIG_FILE, _describe(loaded))
    _write_json(folder / FILE, describe_as_json(loaded.tokenizer))
    return notes


def _looks_back(model: GPT) -> bool:
    return model.smear is not None or model.bigram_embedding is not None


def _describe(loaded: LoadedModel) -> dict[str, Any]:
    config = loaded.model.config
    sizes = {"vocab_size": loaded.model.vocab_size, "block_size": loaded.model.block_size}
    cache = {"n_layer": config.n_layer, "key_value_heads": config.key_value_heads, "head_size": config.head_size}
    use = {"use": dict(loaded.card["use"])} if loaded.head is not None else {}
    return {**sizes, **cache, "eos_token_id": loaded.tokenizer.eot_id, **use}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write(
    module: nn.Module, example: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], path: Path
) -> None:
    """One graph whose every size varies that two calls may differ in: rows, tokens, items, cached positions."""
    varies = torch.export.Dim.DYNAMIC
    shapes = [dict.fromkeys((0, 2) if each.ndim == 4 else (0, 1), varies) for each in example]
    # *past is one argument of its signature.
    dynamic: tuple[Any, ...] = (shapes[0], tuple(shapes[1:])) if isinstance(module, _Continued) else tuple(shapes)
    with _quietly(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            example,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's words about torchvision, and its own use of deprecated functions."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def verify_graphs(loaded: LoadedModel, folder: Path, seed: int = 0) -> str:
    """Check the graphs of a folder, and compare them in onnxruntime with the model, over many shapes.

    Args:
        loaded: What they were made from.
        folder: Where they are.
        seed: Of the tokens.

    Returns:
        A line that says what was compared.

    Raises:
        CheckpointError: They differ, or take only the sizes of one example.
        DataError: onnxruntime is not installed.
    """
    checker, runtime = (import_extra(name, "onnx", "--verify needs") for name in ("onnx.checker", "onnxruntime"))
    generator, worst = torch.Generator().manual_seed(seed), 0.0
    graphs = {}
    for path in sorted(folder.glob("*.onnx")):
        checker.check_model(str(path))
        graphs[path.name] = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    times = [time for time in _TIMES if time <= loaded.model.block_size]
    for batch in _BATCHES:
        for time in times:
            tokens = torch.randint(0, loaded.model.vocab_size, (batch, time), generator=generator)
            for name, graph in graphs.items():
                found, expected = _both(loaded, graph, tokens, cut=time // 2 if name == CONTINUED else None)
                worst = max(worst, float((found - expected).abs().max()))
    if not worst <= _TOLERANCE:
        raise CheckpointError(f"The graphs in {folder} differ from the model: logits by {worst:.2g}")
    return (
        f"{', '.join(graphs)} agree with the model in onnxruntime: logits within {worst:.1g} for batches of "
        f"{' and '.join(map(str, _BATCHES))} and {', '.join(map(str, times))} tokens"
    )


@torch.inference_mode()
def _both(loaded: LoadedModel, graph: Any, tokens: Tensor, *, cut: int | None) -> tuple[Tensor, Tensor]:
    """What a graph and the model say of the same tokens; with ``cut``, the graph reads them in two pieces."""
    if loaded.head is not None:
        ends = torch.full((len(tokens), 1), tokens.shape[1] - 1)
        head = _Labelled(loaded.model, loaded.head, loaded.card["use"].get("pooling", "last"))
        return _call(graph, input_ids=tokens, ends=ends)[0], head(tokens, ends)
    expected = loaded.model.logits(loaded.model(tokens))
    if cut is None:
        return _call(graph, input_ids=tokens)[0], expected
    config = loaded.model.config
    names = past_names(config.n_layer)
    past = [torch.zeros(len(tokens), config.key_value_heads, 0, config.head_size) for _ in names]
    pieces = []
    for piece in (part for part in (tokens[:, :cut], tokens[:, cut:]) if part.shape[1]):
        logits, *past = _call(graph, input_ids=piece, **dict(zip(names, past, strict=True)))
        pieces.append(logits)
    return torch.cat(pieces, dim=1), expected


def _call(graph: Any, **inputs: Tensor) -> list[Tensor]:
    """Run a graph.

    Raises:
        CheckpointError: It does not take these sizes.
    """
    try:
        found = graph.run(None, {name: each.numpy() for name, each in inputs.items()})
    except Exception as error:  # onnxruntime's errors have no class in common but this
        shape = tuple(inputs["input_ids"].shape)
        raise CheckpointError(f"The graph does not take tokens of the shape {shape}: {error}") from error
    return [torch.from_numpy(each) for each in found]

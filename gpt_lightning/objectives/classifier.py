"""A trained model with a head, as something that labels texts: ``predict``, ``evaluate classify``, the server, yours.

    classifier = load_classifier("runs/classify-1")
    classifier.label([["What a lovely room"], ["The soup was cold"]])
    [{"text": "What a lovely room", "label": "good", "probabilities": {"bad": 0.02, "good": 0.98}}, ...]

Every text is a list: of one, of two for a model of pairs, of its words for ``TokenClassify``. Texts become tokens by
the layout that training read, so both see the same; too long ones are cut as there. What calibration on validation has
found lies beside the checkpoints (``weights.calibration``), goes into an export, and is used wherever it is there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.batch import IGNORE_INDEX
from gpt_lightning.checkpoints.durable import step_of
from gpt_lightning.data.layouts.labelled import Labelled, LabelledLayout, MultiLabelled, Regression
from gpt_lightning.data.layouts.tagged import Tagged
from gpt_lightning.data.readers.readers import Reading
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.errors import CheckpointError, ConfigError, RunFolderError
from gpt_lightning.files.atomic import replacing
from gpt_lightning.model.pooling import pool
from gpt_lightning.objectives.labels import READOUTS
from gpt_lightning.objectives.readouts import Calibration, Readout
from gpt_lightning.weights.calibration import ENTRY as CALIBRATION
from gpt_lightning.weights.calibration import write_calibration
from gpt_lightning.weights.checking import check_finite
from gpt_lightning.weights.loading import LoadedModel, load_model

_LAYOUTS: dict[str, type[LabelledLayout]] = {
    "Classify": Labelled,
    "MultiLabel": MultiLabelled,
    "Regress": Regression,
    "TokenClassify": Tagged,
}
_BATCH_TOKENS = 8192
"""Of a pass; with the padding of the shorter texts."""
_CHUNK = 512
"""Texts that are sorted by length together."""


@dataclass(frozen=True)
class Row:
    """A text as tokens.

    Attributes:
        ids: With end-of-text in front.
        ends: Position of the last token of whatever has an answer.
    """

    ids: list[int]
    ends: list[int]


@dataclass(frozen=True)
class Classifier:
    """A model that labels texts.

    Attributes:
        loaded: Decoder, tokenizer, head.
        layout: How texts become tokens, and which fields of a record they are.
        readout: What the head's numbers mean.
        labels: Names in order; empty for a regression.
        calibration: Of its probabilities.
    """

    loaded: LoadedModel
    layout: LabelledLayout
    readout: Readout
    labels: tuple[str, ...]
    calibration: Calibration

    def label(self, texts: Iterable[Sequence[str]]) -> Iterator[dict[str, Any]]:
        """What is said of every text, plain data, in order.

        Args:
            texts: Each as ``layout.read_texts`` gives it: a list of one or two texts, or of words.
        """
        waiting = iter(texts)
        while chunk := list(islice(waiting, _CHUNK)):
            for text, outputs in zip(chunk, self.score([self.encode(text) for text in chunk]), strict=True):
                values = self.readout.read(outputs, self.calibration.temperature).tolist()
                said = [self.readout.describe(each, self.labels, self.calibration) for each in values]
                yield self.layout.describe_item(text, said)

    def takes(self, text: Sequence[str]) -> bool:
        """Whether a text has as many parts as those of the training: one, two of a pair, any number of words."""
        return self.layout.num_parts in (None, len(text))

    def encode(self, text: Sequence[str]) -> Row:
        """A text as training would read it."""
        tokenizer = self.loaded.tokenizer
        ids, ends = self.layout.tokenize(text, tokenizer.eot_id, tokenizer.encode, Counter())
        return Row([tokenizer.eot_id, *ids.tolist()], [end + 1 for end in ends])

    @torch.inference_mode()
    def score(self, rows: Sequence[Row]) -> list[Float[Tensor, "items labels"]]:
        """The head's numbers for every answer of every row, on the CPU, before calibration."""
        device = next(self.loaded.model.parameters()).device
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        order = sorted(range(len(rows)), key=lambda number: len(rows[number].ids))
        while order:
            most = max(1, _BATCH_TOKENS // len(rows[order[-1]].ids))
            chosen = [order.pop() for _ in range(min(len(order), most))]
            tokens = _pad([rows[number].ids for number in chosen], self.loaded.tokenizer.eot_id)
            ends = _pad([rows[number].ends for number in chosen], IGNORE_INDEX)
            outputs = self._pass(tokens.to(device), ends.to(device)).cpu()
            for row, number in enumerate(chosen):
                found[number] = outputs[row, : len(rows[number].ends)]
        return found

    def _pass(self, tokens: Tensor, ends: Tensor) -> Float[Tensor, "batch items labels"]:
        states = pool(self.loaded.model(tokens), ends, self.loaded.card["use"].get("pooling", "last"))
        assert self.loaded.head is not None
        return F.linear(states, self.loaded.head.to(states.dtype)).float()


def _pad(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=fill)


def load_classifier(path: Path | str, *, prefer: str = "best", device: str = "cpu") -> Classifier:
    """Load what ``Classify``, ``MultiLabel``, ``Regress`` or ``TokenClassify`` has trained.

    Args:
        path: Run folder or checkpoint folder.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where the weights go.

    Raises:
        CheckpointError: Nothing usable there, or a language model without a head.
    """
    return classifier_of(load_model(path, prefer=prefer, device=device))


def classifier_of(loaded: LoadedModel) -> Classifier:
    """The classifier that a loaded model is.

    Raises:
        CheckpointError: It has no head.
    """
    use = loaded.card.get("use")
    if use is None or loaded.head is None:
        raise CheckpointError(
            f"{loaded.path} is a language model and has no head that labels texts",
            allowed=", ".join(READOUTS),
            fix="Train one with gpt-lightning fit --config configs/finetune/classify.yaml --init_from RUN.",
        )
    check_finite({"score.weight": loaded.head}, loaded.path)
    layout = _build_layout(use, loaded.card)
    known = use.get(CALIBRATION)
    calibration = Calibration() if known is None else Calibration(known["temperature"], tuple(known["thresholds"]))
    return Classifier(loaded, layout, READOUTS[use["objective"]], tuple(use["labels"]), calibration)


def _build_layout(use: Mapping[str, Any], card: Mapping[str, Any]) -> LabelledLayout:
    """That of the training data, as far as the card tells; its own fields otherwise."""
    kind = _LAYOUTS[use["objective"]]
    stated = (card.get("config") or {}).get("data", {}).get("layout") or {}
    known = stated.get("init_args", {}) if str(stated.get("class_path", "")).endswith(f".{kind.__name__}") else {}
    labels = {"labels": list(use["labels"])} if use["labels"] else {}
    layout = kind(**{**known, **labels}).limited_to(use["max_tokens"])
    assert isinstance(layout, LabelledLayout)
    return layout


def keep_calibration(classifier: Classifier, calibration: Calibration) -> Classifier:
    """Write what was found beside the checkpoint, for whoever loads it again; the classifier with it.

    Raises:
        ConfigError: The model is an export, whose files say it already.
    """
    path = classifier.loaded.path
    if step_of(path) is None:
        raise ConfigError(
            f"{path} is an exported model, and what is found is kept beside checkpoints",
            fix="Calibrate the run, and export it again.",
        )
    write_calibration(path, asdict(calibration))
    return replace(classifier, calibration=calibration)


def label_file(classifier: Classifier, source: Path, output: Path) -> int:
    """Label the texts of a file of records; a JSON line each, in order: its ``id`` or number, text and labels.

    Args:
        classifier: Its layout says which fields hold the text.
        source: .jsonl, .csv, .parquet ...
        output: New file of JSON lines, complete or not there.

    Returns:
        How many.

    Raises:
        DataError: A record has no text; nothing is written.
        RunFolderError: ``output`` exists.
    """
    if output.exists():
        raise RunFolderError(f"{output} exists", fix="Name a new file.")
    reading = Reading("file", "", "utf-8", fields=(*classifier.layout.fields, "id"))
    documents = [document for reader in open_sources([str(source)], reading) for document in reader.iterate_documents()]
    names = [document.fields.get("id", number) for number, document in enumerate(documents, 1)]
    said = classifier.label([classifier.layout.read_texts(document) for document in documents])
    with replacing(output) as file:
        for name, line in zip(names, said, strict=True):
            file.write(json.dumps({"id": name, **line}, ensure_ascii=False).encode() + b"\n")
    return len(names)

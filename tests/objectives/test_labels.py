"""Labels and numbers of texts: oracles are torch's own losses, scikit-learn's measures and the text alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from gpt_lightning.batch import Batch, LossOutput, Predictions
from gpt_lightning.errors import ConfigError
from gpt_lightning.metrics.predictions import measure_classes, measure_marks, measure_numbers
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Learner
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.labels import Classify, Labelling, MultiLabel, Pooling, Regress, TokenClassify
from gpt_lightning.objectives.readouts import AnyLabels, OneLabel
from tests.objectives.applying import LABELS, apply, build_extras

_CONFIG = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=24, vocab_size=13)
_TEXTS = [[0, 3, 4, 5], [0, 2], [0, 6, 5, 4, 3, 2, 1]]
_COLUMNS = {"label": [2, 0, 1], "labels": [[1, 0, 1], [0, 0, 0], [0, 1, 1]], "value": [0.5, -2.0, 3.0]}
POOLED = [Classify(), Classify("mean"), MultiLabel(), Regress("mean")]


def _model() -> GPT:
    return GPT(_CONFIG, torch.Generator().manual_seed(0)).double()


def _apart(length: int = 12) -> Batch:
    """Every text in a row of its own."""
    tokens = torch.zeros(len(_TEXTS), length, dtype=torch.long)
    for row, text in enumerate(_TEXTS):
        tokens[row, : len(text)] = torch.tensor(text)
    ends = torch.tensor([[len(text) - 1] for text in _TEXTS])
    return Batch(tokens, columns={"ends": ends, **{name: _column(name)[:, None] for name in _COLUMNS}})


def _packed() -> Batch:
    """All in one row, with room for one more that is not there."""
    tokens = torch.tensor([[*_TEXTS[0], *_TEXTS[1], *_TEXTS[2], *[0] * 4]])
    documents = torch.repeat_interleave(torch.arange(4), torch.tensor([*map(len, _TEXTS), 4]))[None]
    ends = torch.tensor([[*(np.cumsum([len(text) for text in _TEXTS]) - 1).tolist(), -100]])
    columns = {name: torch.cat([_column(name), torch.zeros_like(_column(name)[:1])])[None] for name in _COLUMNS}
    return Batch(tokens, documents=documents, columns={"ends": ends, **columns})


def _column(name: str) -> Tensor:
    return torch.tensor(_COLUMNS[name])


@pytest.mark.parametrize("objective", POOLED)
def test_texts_count_alike_packed_and_padded(objective: Labelling) -> None:
    model = _model()
    apart, longer, packed = (apply(objective, model, batch) for batch in (_apart(), _apart(20), _packed()))
    for other in (longer, packed):
        torch.testing.assert_close(other.loss, apart.loss, rtol=1e-12, atol=0)
        assert other.weight == apart.weight == 3
    junk = _apart()
    junk.tokens[1, 2:] = 7  # what stands behind a text
    torch.testing.assert_close(apply(objective, model, junk).loss, apart.loss, rtol=1e-12, atol=0)
    moved = replace(_apart(), columns={**_apart().columns, "ends": _apart().columns["ends"] + 1})
    assert apply(objective, model, moved).loss != apart.loss


def _states(model: GPT, mean: bool = False) -> Tensor:
    """Of each text alone."""
    hidden = [model(torch.tensor([text]))[0] for text in _TEXTS]
    return torch.stack([states.mean(dim=0) if mean else states[-1] for states in hidden])


@pytest.mark.parametrize("mean", [False, True])
def test_losses_are_those_of_torch(mean: bool) -> None:
    model = _model()
    pooling: Pooling = "mean" if mean else "last"
    objective = Classify(pooling, class_weights={"odd": 4.0})
    head = build_extras(objective, model)["score"]
    outputs = head(_states(model, mean))
    weights = torch.tensor([1.0, 1.0, 4.0], dtype=torch.float64)
    found = apply(objective, model, _apart())
    torch.testing.assert_close(found.loss, F.cross_entropy(outputs, _column("label"), weight=weights))
    assert found.weight == 6
    smooth = apply(Classify(pooling, label_smoothing=0.2), model, _apart())
    torch.testing.assert_close(smooth.loss, F.cross_entropy(outputs, _column("label"), label_smoothing=0.2))
    several = apply(MultiLabel(pooling, class_weights={"odd": 4.0}), model, _apart())
    marks = _column("labels").double()
    torch.testing.assert_close(several.loss, F.binary_cross_entropy_with_logits(outputs, marks, pos_weight=weights))
    assert found.predictions is not None
    torch.testing.assert_close(found.predictions.values[:, 0], outputs.softmax(-1))
    number = build_extras(Regress(pooling), model)["score"](_states(model, mean))[:, 0]
    torch.testing.assert_close(
        apply(Regress(pooling), model, _apart()).loss, F.mse_loss(number, _column("value").double())
    )


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """Taken from the training data, kept with the head, and used instead of what other data say."""
    class_weight = pytest.importorskip("sklearn.utils.class_weight")
    labels = np.array([0, 1, 1, 1, 1, 2, 2, 1])
    shares = tuple((np.bincount(labels) / len(labels)).tolist())
    known = Context(labels=LABELS, label_shares=shares)
    objective, model = Classify(class_weights="balanced"), _model()
    assert objective.needs(_CONFIG).label_shares
    assert not Classify().needs(_CONFIG).label_shares
    extras = objective.build_extras(_CONFIG, known).double()
    wanted = class_weight.compute_class_weight("balanced", classes=np.arange(3), y=labels)
    kept = extras.state_dict()["balance.weights"]
    torch.testing.assert_close(kept, torch.tensor(wanted), rtol=1e-6, atol=0)
    batch = _apart()
    outputs = extras["score"](_states(model))
    found = objective(Learner(model, extras, Context(labels=LABELS)), batch, Draws(seed=0, samples=torch.arange(3)))
    torch.testing.assert_close(found.loss, F.cross_entropy(outputs, _column("label"), weight=kept))
    several = MultiLabel(class_weights="balanced").build_extras(_CONFIG, known).state_dict()["balance.weights"]
    torch.testing.assert_close(several, torch.tensor([7.0, 3 / 5, 3.0]))


def test_words_are_judged_at_their_last_token() -> None:
    model, objective = _model(), TokenClassify()
    tags = torch.full((3, 12), -100)
    tags[0, 1], tags[0, 3], tags[2, 6] = 0, 2, 1
    found = apply(objective, model, replace(_apart(), columns={"tags": tags}))
    head = build_extras(objective, model)["score"]
    first, last = (head(model(torch.tensor([_TEXTS[row]]))[0]) for row in (0, 2))
    outputs = torch.stack([first[1], first[3], last[6]])
    torch.testing.assert_close(found.loss, F.cross_entropy(outputs, torch.tensor([0, 2, 1])))
    assert found.weight == 3


def test_wrong_settings_are_refused() -> None:
    for make in (
        lambda: Classify(label_smoothing=1.0),
        lambda: MultiLabel(class_weights={"good": 0.0}),
    ):
        with pytest.raises(ConfigError, match="objective"):
            make()
    with pytest.raises(ConfigError, match=r"class_weights names labels that the data have not.*good, bad, odd"):
        Classify(class_weights={"fine": 2.0}).build_extras(_CONFIG, Context(labels=LABELS))


def _feed(measures: dict[str, Metric], values: Tensor, answers: Tensor) -> dict[str, float]:
    """In two batches, the second with an item that does not count."""
    found = {}
    for name, measure in measures.items():
        measure.to(torch.bfloat16)  # as training in pure bfloat16 does
        for rows in (slice(0, 70), slice(70, None)):
            counted = torch.ones(len(values[rows]), 2, dtype=torch.bool)
            counted[:, 1] = False
            both, known = (torch.stack([each[rows], torch.ones_like(each[rows])], dim=1) for each in (values, answers))
            predictions = Predictions(both, known, counted, torch.zeros_like(counted, dtype=torch.long))
            measure.update(LossOutput(torch.zeros(()), torch.ones(()), predictions=predictions))
        found[name] = float(measure.compute())
        measure.reset()
        with pytest.warns(UserWarning, match="before the ``update``"):
            assert math.isnan(measure.compute())
    return found


def test_measures_of_classes_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(120, 3, generator=generator).softmax(-1)
    answers = torch.randint(3, (120,), generator=generator)
    found = _feed(measure_classes(3), values, answers)
    truth, scores = answers.numpy(), values.double().numpy()
    each = np.eye(3)[truth]
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, scores.argmax(1)))
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, scores.argmax(1), average="macro"))
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(each, scores, average="macro"))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(each, scores, average="macro"))
    confidence, right = scores.max(1), scores.argmax(1) == truth
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs((confidence - right)[bins == number].sum()) for number in range(15)]
    assert found["calibration_error"] == pytest.approx(sum(gaps) / 120, abs=1e-6)


def test_measures_of_marks_and_numbers_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(120, 3, generator=generator).sigmoid()
    marks = torch.randint(2, (120, 3), generator=generator)
    found = _feed(measure_marks(3), values, marks)
    truth, scores = marks.numpy(), values.double().numpy()
    for average in ("micro", "macro"):
        assert found[f"f1_{average}"] == pytest.approx(metrics.f1_score(truth, scores > 0.5, average=average))
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, scores, average="macro"))
    assert found["accuracy"] == pytest.approx(((scores > 0.5) == truth).mean())
    numbers = torch.randn(120, generator=generator)
    known = _feed(measure_numbers(), values[:, :1], numbers)
    assert known["pearson"] == pytest.approx(np.corrcoef(scores[:, 0], numbers)[0, 1])
    assert known["mse"] == pytest.approx(((scores[:, 0] - numbers.numpy()) ** 2).mean())


def test_temperature_undoes_a_scale_and_thresholds_find_the_best_f1() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(4000, 3, generator=generator).double()
    answers = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    scaled = OneLabel().calibrate(3 * logits, answers).temperature
    assert scaled == pytest.approx(3 * OneLabel().calibrate(logits, answers).temperature, rel=1e-6)
    assert scaled == pytest.approx(3.0, rel=0.1)  # drawn from the softmax itself
    marks = (torch.rand(4000, 3, generator=generator) < (logits - 1.5).sigmoid()).long()
    found = AnyLabels().calibrate(logits, marks)
    values = AnyLabels().read(logits, found.temperature).numpy()
    for label in range(3):
        truth = marks[:, label].numpy()
        ours = metrics.f1_score(truth, values[:, label] >= found.thresholds[label])
        best = max(metrics.f1_score(truth, values[:, label] >= limit) for limit in np.linspace(0.01, 0.99, 50))
        assert ours >= best
        assert metrics.f1_score(truth, values[:, label] >= 0.5) < best


def test_the_head_is_one() -> None:
    head = build_extras(Classify(), _model())["score"]
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert Classify().roles() == {"score": "head"}

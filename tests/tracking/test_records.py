"""Records as TensorBoard's own reader takes them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator,
)
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from gpt_lightning.tracking.hparams import Domain, Session, choose_values, write_experiment
from gpt_lightning.tracking.names import NAMES, is_known
from gpt_lightning.tracking.pictures import draw_attention, draw_heat_map
from gpt_lightning.tracking.records import build_histogram, write_projector
from gpt_lightning.tracking.texts import WorstToken, describe_code, describe_facts, describe_worst


@pytest.mark.parametrize("shape", [(1000,), (700, 1000)])
def test_histograms_count_as_numpy_does(shape: tuple[int, ...]) -> None:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    record = build_histogram("weights/all", [values, values[:2]])
    assert record is not None
    histogram = record.value[0].histo
    counted = torch.cat([values.flatten(), values[:2].flatten()])
    assert sum(histogram.bucket) == histogram.num <= 2 * (1 << 16)
    assert histogram.sum / histogram.num == pytest.approx(float(counted.mean()), abs=1.5e-2)
    assert histogram.sum_squares / histogram.num == pytest.approx(1.0, abs=0.1)
    shares, _ = np.histogram(counted.numpy(), bins=[float(counted.min()), *histogram.bucket_limit])
    assert np.abs(np.array(histogram.bucket) / histogram.num - shares / counted.numel()).max() < 5e-3


def test_histograms_of_equal_and_of_no_finite_values() -> None:
    equal = build_histogram("a", [torch.zeros(5)])
    assert equal is not None
    assert sum(equal.value[0].histo.bucket) == 5
    assert build_histogram("a", [torch.full((3,), torch.nan)]) is None


def test_heat_maps_show_their_values() -> None:
    values = torch.zeros(4, 10)
    values[2, 7] = 3.0
    png = draw_heat_map(values, title="t", x_label="x", y_label="y", unit="nats")
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    dark = (picture == [8, 48, 107]).all(axis=-1)
    rows, columns = np.nonzero(dark[:, :430])
    assert rows.size == 32 * 32, "one cell of 32 x 32 pixels, and nothing else in the table, is as dark"
    assert (rows.min() - 34) // 32 == 2
    assert (columns.min() - 110) // 32 == 7


def test_attention_of_large_models_is_cut_down() -> None:
    small = Image.open(io.BytesIO(draw_attention(torch.eye(8).expand(12, 12, 8, 8), "t")))
    large = Image.open(io.BytesIO(draw_attention(torch.eye(8).expand(48, 25, 8, 8), "t")))
    assert small.size == large.size


def test_projector_files(tmp_path: Path) -> None:
    for _ in range(2):
        write_projector(tmp_path, torch.eye(3), ["a", "\t\n", " b"], "token embeddings")
    lines = (tmp_path / "projector" / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == ["a", "\\t\\n", "\u2423b"]
    table = np.loadtxt(tmp_path / "projector" / "tensors.tsv", delimiter="\t")
    assert (table == np.eye(3)).all()
    assert (tmp_path / "projector_config.pbtxt").read_text(encoding="utf-8").count("embeddings {") == 1


def test_texts_show_what_is_there() -> None:
    assert describe_code("a ``` b").startswith("````\n")
    table = describe_facts({"a": {"b": "x|y"}, "c": "<b>"})
    assert "| a\\.b |" not in table
    assert "| a.b | x\\|y |" in table
    assert "\\<b\\>" in table
    worst = describe_worst([WorstToken(9.5, "in front", " of", 3, 17)])
    assert "| 9.50 | 3 | 17 | 'in front' | ' of' |" in worst


def read_hparams(folder: Path) -> dict[str, plugin_data_pb2.HParamsPluginData]:
    """The HParams records of a folder: TensorBoard's name -> content."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    contents = accumulator.PluginTagToContent(metadata.PLUGIN_NAME)
    return {name: plugin_data_pb2.HParamsPluginData.FromString(content) for name, content in contents.items()}


def test_sessions_have_types_and_their_true_end(tmp_path: Path) -> None:
    settings = {"lr": 0.1, "layers": 4, "bias": False, "kind": "WSD", "nothing": None}
    session = Session(tmp_path, "run-1", choose_values(settings, list(settings)))
    assert metadata.SESSION_END_INFO_TAG not in read_hparams(tmp_path), "a run that is killed has no end"
    start = read_hparams(tmp_path)[metadata.SESSION_START_INFO_TAG].session_start_info
    assert start.group_name == "run-1"
    assert start.hparams["lr"].number_value == 0.1
    assert start.hparams["bias"].bool_value is False
    assert start.hparams["bias"].WhichOneof("kind") == "bool_value"
    assert start.hparams["kind"].string_value == "WSD"
    assert start.hparams["nothing"].string_value == "null"
    session.close("failure")
    assert read_hparams(tmp_path)[metadata.SESSION_END_INFO_TAG].session_end_info.status == 2
    Session(tmp_path, "run-1", {"lr": 0.1}).close("success")
    assert read_hparams(tmp_path)[metadata.SESSION_END_INFO_TAG].session_end_info.status == 1, "the last start counts"


def test_studies_declare_domains(tmp_path: Path) -> None:
    domains: dict[str, Domain] = {
        "lr": (1e-4, 1e-1),
        "layers": (2, 8),
        "kind": ["WSD", "Cosine"],
        "width": [64, 128.0],
        "free": None,
    }
    write_experiment(tmp_path, domains, ["val/loss"])
    experiment = read_hparams(tmp_path)[metadata.EXPERIMENT_TAG].experiment
    infos = {info.name: info for info in experiment.hparam_infos}
    assert infos["lr"].domain_interval.max_value == 0.1
    assert infos["layers"].domain_interval.min_value == 2
    assert [value.string_value for value in infos["kind"].domain_discrete.values] == ["Cosine", "WSD"]
    assert [value.number_value for value in infos["width"].domain_discrete.values] == [64, 128]
    assert infos["free"].WhichOneof("domain") is None
    assert [info.name.tag for info in experiment.metric_infos] == ["val/loss"]


def test_the_table_knows_its_own_names_and_no_others() -> None:
    for kind, names in NAMES.items():
        for name, meaning in names.items():
            assert is_known(kind, name.replace("<", "").replace(">", ""))
            assert meaning
    assert not is_known("scalars", "loss")
    assert not is_known("images", "train/loss")

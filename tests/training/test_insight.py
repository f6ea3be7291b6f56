"""What a run shows beside its curves, read back with TensorBoard's own reader."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata

from gpt_lightning.tracking.names import is_known
from gpt_lightning.tracking.records import LAYOUT
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.tracking.test_records import read_hparams
from tests.training.forked import write_corpus
from tests.training.runs import STEPS, Crash, crash_at, tiny_run, weights_of

SHOWN: dict[str, Any] = {
    "monitor": {"details": True, "details_every": 2, "prompts": ["Paragraph", "wörd"], "sample_tokens": 5},
    "run.validate_every": 3,
}


class Events:
    """Everything in a run folder but scalars."""

    def __init__(self, folder: Path) -> None:
        self._all = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0, "histograms": 0})
        self._all.Reload()
        tags = self._all.Tags()
        self.images, self.histograms = tags["images"], tags["histograms"]
        self.texts = [
            tag for tag in tags["tensors"] if self._all.SummaryMetadata(tag).plugin_data.plugin_name == "text"
        ]

    def text(self, tag: str) -> list[tuple[int, str]]:
        return [(event.step, event.tensor_proto.string_val[0].decode()) for event in self._all.Tensors(tag)]

    def raw(self, tag: str) -> bytes:
        (event,) = self._all.Tensors(tag)
        content: bytes = event.tensor_proto.string_val[0]
        return content

    def picture_steps(self, tag: str) -> list[int]:
        return [event.step for event in self._all.Images(tag)]

    def picture(self, tag: str) -> Image.Image:
        return Image.open(io.BytesIO(self._all.Images(tag)[-1].encoded_image_string))

    def histogram_steps(self, tag: str) -> list[int]:
        return [event.step for event in self._all.Histograms(tag)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``full``: six steps at once. ``crashed``, and ``resumed``: the same after it went on. ``bare``: no details."""
    folder = tmp_path_factory.mktemp("insight")
    write_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPT_LIGHTNING_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        tiny_run(SHOWN, {"run.dir": "full"}).fit()
        with pytest.raises(Crash):
            crash_at(tiny_run(SHOWN, {"run.dir": "crashed"}), 5).fit()
        shutil.copytree("crashed", "resumed")
        tiny_run(SHOWN, {"run.dir": "resumed"}).fit(resume="auto")
        tiny_run({"run.dir": "bare"}).fit()
    return folder


def test_every_name_is_in_the_table(place: Path) -> None:
    events = Events(place / "full")
    assert [tag for tag in events.texts if not is_known("texts", tag)] == []
    assert [tag for tag in events.images if not is_known("images", tag)] == []
    assert [tag for tag in events.histograms if not is_known("histograms", tag)] == []
    assert {"run/config", "run/data", "samples/prompt_2", "samples/worst_tokens", "run/start_1"} <= set(events.texts)
    assert set(events.images) == {"attention/heads", "losses/by_position", "losses/tokens", "schedule/lr"}
    assert {"weights/block_01", "gradients/token_embedding", "activations/block_00"} <= set(events.histograms)


@pytest.mark.parametrize("name", ["full", "resumed"])
def test_every_point_is_there_once_and_on_the_clock_of_the_curves(place: Path, name: str) -> None:
    events = Events(place / name)
    for tag in ("samples/prompt_1", "samples/worst_tokens"):
        assert [step for step, _ in events.text(tag)] == [3, STEPS]
    for tag in ("attention/heads", "losses/by_position", "losses/tokens"):
        assert events.picture_steps(tag) == [3, STEPS]
    for tag in events.histograms:
        assert events.histogram_steps(tag) == [2, 4, 6], tag
    for tag in ("run/config", "run/data", "run/config_vs_defaults"):
        assert [step for step, _ in events.text(tag)] == [0]


def test_a_resumed_run_shows_what_the_uninterrupted_one_shows(place: Path) -> None:
    full, resumed = Events(place / "full"), Events(place / "resumed")
    for tag in ("samples/prompt_1", "samples/prompt_2", "samples/worst_tokens"):
        assert full.text(tag) == resumed.text(tag)
    for tag in ("attention/heads", "losses/tokens"):
        assert np.array_equal(np.asarray(full.picture(tag)), np.asarray(resumed.picture(tag)))
    assert [step for step, _ in resumed.text("run/start_2")] == [5]


def test_showing_changes_no_bit_of_the_run(place: Path) -> None:
    shown, bare = weights_of(place / "full"), weights_of(place / "bare")
    assert all(torch.equal(shown[name], bare[name]) for name in bare)
    losses = [
        [line["train/loss"] for line in read_metrics(place / name) if "train/loss" in line] for name in ("full", "bare")
    ]
    assert losses[0] == losses[1]
    assert not Events(place / "bare").texts


def test_texts_say_what_they_promise(place: Path) -> None:
    events = Events(place / "full")
    assert "n_layer: 2" in events.text("run/config")[0][1]
    changed = events.text("run/config_vs_defaults")[0][1]
    assert "model.config.n\\_layer" in changed
    assert "model.objective" not in changed
    assert "tokens" in events.text("run/data")[0][1]
    assert "Paragraph" in events.text("samples/prompt_1")[0][1]
    assert events.text("samples/worst_tokens")[0][1].count("\n") >= 10


def test_pictures_are_decodable(place: Path) -> None:
    events = Events(place / "full")
    for tag in events.images:
        picture = events.picture(tag)
        picture.load()
        assert min(picture.size) > 50


def test_the_layout_is_there(place: Path) -> None:
    layout = layout_pb2.Layout.FromString(Events(place / "full").raw("custom_scalars__config__"))
    assert [category.title for category in layout.category] == list(LAYOUT)
    assert list(layout.category[0].chart[0].multiline.tag) == ["^train/loss$", "^val/loss$"]


def test_update_ratios_and_scales_are_curves_too(place: Path) -> None:
    lines = [line for line in read_metrics(place / "full") if "activation/rms/block_00" in line]
    assert [line["step"] for line in lines] == [2, 4, 6]
    ratios = [value for line in lines for key, value in line.items() if key.startswith("optim/update_ratio/")]
    assert len(ratios) >= 6
    assert all(0 < value < 1 for value in ratios)


@pytest.mark.parametrize(("name", "status"), [("full", 1), ("crashed", 2), ("resumed", 1)])
def test_a_crashed_run_is_no_success(place: Path, name: str, status: int) -> None:
    records = read_hparams(place / name)
    assert records[metadata.SESSION_END_INFO_TAG].session_end_info.status == status
    start = records[metadata.SESSION_START_INFO_TAG].session_start_info
    assert start.hparams["model.config.n_layer"].number_value == 2


def test_the_projector_has_a_row_for_every_token(place: Path) -> None:
    table = np.loadtxt(place / "full" / "projector" / "tensors.tsv", delimiter="\t")
    names = (place / "full" / "projector" / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert table.shape == (257, 16)
    assert len(names) == 257
    assert names[65] == "A"
    final = weights_of(place / "full")["model.token_embedding.weight"][:257].numpy()
    assert np.abs(table - final).max() < 1e-3

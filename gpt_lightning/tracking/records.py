"""What TensorBoard stores: texts, pictures and histograms as records, and the files of its Projector tab.

Charts of TensorBoard's Custom Scalars tab: what belongs together in one picture.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.plugins.text import metadata as text_metadata
from torch import Tensor

_BINS = 48
_MOST_VALUES = 1 << 16
_PROJECTOR = "projector"


def build_text(name: str, markdown: str) -> Summary:
    """A text of the Text tab."""
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype="DT_STRING", string_val=[markdown.encode("utf-8")], tensor_shape=shape)
    metadata = text_metadata.create_summary_metadata(display_name="", description="")
    return Summary(value=[Summary.Value(tag=name, metadata=metadata, tensor=tensor)])


def build_picture(name: str, png: bytes) -> Summary:
    """A PNG picture of the Images tab."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        width, height = picture.size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=name, image=image)])


def build_histogram(name: str, tensors: Sequence[Tensor]) -> Summary | None:
    """How the values of some tensors are distributed, counted on their device; None without a finite value.

    Of many values evenly spaced 65,536 or more are counted, which show the same shape.
    """
    stride = max(1, sum(tensor.numel() for tensor in tensors) // _MOST_VALUES)
    values = torch.cat([tensor.detach().reshape(-1)[::stride].float() for tensor in tensors])
    values = values[torch.isfinite(values)]
    if values.numel() == 0:
        return None
    low, high, total, squares = torch.stack([values.min(), values.max(), values.sum(), values.square().sum()]).tolist()
    span = (high - low) or max(abs(low), 1e-12) * 1e-3
    counts = torch.histc(values, bins=_BINS, min=low, max=low + span).tolist()
    record = HistogramProto(
        min=low,
        max=high,
        num=values.numel(),
        sum=total,
        sum_squares=squares,
        bucket_limit=[low + span * (number + 1) / _BINS for number in range(_BINS)],
        bucket=counts,
    )
    return Summary(value=[Summary.Value(tag=name, histo=record)])


def write_projector(folder: Path, rows: Tensor, names: Sequence[str], title: str) -> None:
    """Vectors with names for the Projector tab; what a former start wrote there is replaced.

    Args:
        folder: The run folder.
        rows: One vector a row.
        names: One a row.
        title: Of the tensor.
    """
    place = folder / _PROJECTOR
    place.mkdir(exist_ok=True)
    vectors = rows.detach().float().cpu().tolist()
    (place / "tensors.tsv").write_text(
        "".join("\t".join(f"{value:.4g}" for value in row) + "\n" for row in vectors), encoding="utf-8"
    )
    (place / "metadata.tsv").write_text("".join(f"{_show(name)}\n" for name in names), encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(
        f'embeddings {{\n  tensor_name: "{title}"\n  tensor_path: "{_PROJECTOR}/tensors.tsv"\n'
        f'  metadata_path: "{_PROJECTOR}/metadata.tsv"\n}}\n',
        encoding="utf-8",
    )


def _show(name: str) -> str:
    """One visible line, whatever the token."""
    shown = name.replace(" ", "\u2423").encode("unicode_escape").decode("ascii") if not name.isprintable() else name
    return shown.replace(" ", "\u2423") or "(empty)"


_BY_SOURCE = "by source"
LAYOUT: dict[str, dict[str, Sequence[str]]] = {
    "Loss": {
        "training and validation": ("train/loss", "val/loss"),
        "learning rate": ("optim/lr/.+",),
        _BY_SOURCE: ("val/loss/.+",),
        "bits per byte": ("val/bits_per_byte",),
    },
    "Stability": {
        "gradient norm, before and after clipping": ("optim/grad_norm", "optim/grad_norm_clipped"),
        "update over weight norm": ("optim/update_ratio/.+",),
        "residual stream by block": ("activation/rms/.+",),
        "steps left out": ("optim/skipped_steps",),
    },
    "Speed": {
        "tokens per second": ("perf/tokens_per_second",),
        "share of the matrix peak, of waiting for data": ("perf/mfu", "perf/data_wait"),
        "memory in GiB": ("memory/.+",),
        "seconds left": ("perf/eta_seconds",),
    },
}
"""Category -> title of a chart -> its names, as regular expressions for the whole name."""


def build_layout(*, sources: bool = True) -> Summary:
    """The record that TensorBoard reads the layout from.

    Args:
        sources: Whether the data are a mixture, whose sources have curves of their own.
    """
    categories = [
        layout_pb2.Category(
            title=category,
            chart=[
                layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{n}$" for n in names]))
                for title, names in charts.items()
                if sources or title != _BY_SOURCE
            ],
        )
        for category, charts in LAYOUT.items()
    ]
    # By hand: the plugin's own function for this needs TensorFlow.
    layout = layout_pb2.Layout(category=categories).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME)
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        tensor=TensorProto(dtype="DT_STRING", string_val=[layout], tensor_shape=TensorShapeProto()),
        metadata=SummaryMetadata(plugin_data=plugin),
    )
    return Summary(value=[value])

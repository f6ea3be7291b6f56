"""Charts of TensorBoard's Custom Scalars tab: what belongs together in one picture."""

from __future__ import annotations

from collections.abc import Sequence

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

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

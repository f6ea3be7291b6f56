"""Arrays as PNG pictures, with axes and a colour scale; drawn with Pillow, which TensorBoard brings along."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_STOPS = ((255, 255, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))
"""White to dark blue: legible in print and for the colour-blind; nothing is 0."""
_MOST_LAYERS = _MOST_HEADS = 12
_INK = (0, 0, 0)
_LARGE, _SMALL = 18, 14
"""Letters: TensorBoard shrinks pictures to 300 pixels; a heat map is wider than a few small maps."""


def draw_heat_map(
    values: Float[Tensor, "rows columns"],
    *,
    title: str,
    x_label: str,
    y_label: str,
    unit: str,
    names: Sequence[str] = (),
) -> bytes:
    """One table in colours, with a scale beside it.

    Args:
        values: Finite numbers, at least 0.
        title: Above the table.
        x_label: What columns are.
        y_label: What rows are.
        unit: Of the values, for the scale.
        names: Of rows and columns alike; () = they are numbered from 0.
    """
    array = values.detach().float().cpu().numpy()
    rows, columns = array.shape
    wide, high = _cell(columns, 400), _cell(rows, 300)
    top, left, right, bottom = 34, 110, 130, 52
    width, height = columns * wide, rows * high
    canvas, pen, font = _canvas(max(width + left + right, 600), height + top + bottom, _LARGE)
    most = float(array.max()) or 1.0
    canvas.paste(_paint(array / most, wide, high), (left, top))
    pen.rectangle((left - 1, top - 1, left + width, top + height), outline=(150, 150, 150))
    pen.text((8, top - 12), title, font=font, fill=_INK, anchor="ls")
    pen.text((left + width / 2, top + height + 42), x_label, font=font, fill=_INK, anchor="ms")
    pen.text((8, top + height / 2), y_label, font=font, fill=_INK, anchor="lm")
    for tick in _ticks(columns, 7):
        pen.text((left + (tick + 0.5) * wide, top + height + 18), _name(tick, names), font=font, fill=_INK, anchor="ms")
    for tick in _ticks(rows, 8):
        pen.text((left - 8, top + (tick + 0.5) * high), _name(tick, names), font=font, fill=_INK, anchor="rm")
    scale = _paint(np.linspace(1, 0, max(2, height))[:, None], 14, 1)
    canvas.paste(scale, (left + width + 16, top))
    pen.text((left + width + 36, top + 6), f"{most:.3g} {unit}", font=font, fill=_INK, anchor="lm")
    pen.text((left + width + 36, top + height - 6), "0", font=font, fill=_INK, anchor="lm")
    return _encode(canvas)


def draw_attention(weights: Float[Tensor, "layers heads time time"], title: str) -> bytes:
    """A table of small maps: a row for each layer, a column for each head; of many, twelve evenly chosen ones.

    Each line of a map is scaled by its largest weight: all lines sum to 1, and long ones would be white.
    """
    array = weights.detach().float().cpu().numpy()
    layers, heads = _choose(array.shape[0], _MOST_LAYERS), _choose(array.shape[1], _MOST_HEADS)
    time = array.shape[2]
    cell = max(1, 100 // time)
    side, gap, left, top = cell * time, 8, 70, 60
    canvas, pen, font = _canvas(
        max(left + len(heads) * (side + gap) + gap, 420), top + len(layers) * (side + gap) + gap + 22, _SMALL
    )
    pen.text((8, 20), title, font=font, fill=_INK, anchor="ls")
    for column, head in enumerate(heads):
        x = left + column * (side + gap)
        pen.text((x + side / 2, top - 8), f"head {head}", font=font, fill=_INK, anchor="ms")
        for row, layer in enumerate(layers):
            y = top + row * (side + gap)
            if column == 0:
                pen.text((left - 8, y + side / 2), f"layer {layer}", font=font, fill=_INK, anchor="rm")
            table = array[layer, head]
            canvas.paste(_paint(table / np.maximum(table.max(axis=1, keepdims=True), 1e-12), cell, cell), (x, y))
            pen.rectangle((x - 1, y - 1, x + side, y + side), outline=(180, 180, 180))
    bottom = top + len(layers) * (side + gap) + 16
    pen.text((left, bottom), "down: position that looks; right: position looked at", font=font, fill=_INK, anchor="ls")
    return _encode(canvas)


def _choose(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


def _cell(count: int, room: int) -> int:
    return max(1, min(32, room // count))


def _ticks(count: int, most: int) -> list[int]:
    step = next(size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10**9) if count / size <= most)
    return list(range(0, count, step))


def _name(number: int, names: Sequence[str]) -> str:
    return names[number][:8] if names else str(number)


def _paint(shares: Any, wide: int, high: int) -> Picture:
    """Numbers between 0 and 1 as cells of ``wide`` times ``high`` pixels."""
    from PIL import Image

    places = np.clip(np.asarray(shares, dtype=np.float64), 0.0, 1.0) * (len(_STOPS) - 1)
    stops = np.asarray(_STOPS, dtype=np.float64)
    channels = [np.interp(places, np.arange(len(_STOPS)), stops[:, channel]) for channel in range(3)]
    pixels = np.stack(channels, axis=-1).round().astype(np.uint8)
    return Image.fromarray(pixels.repeat(high, axis=0).repeat(wide, axis=1))


def _canvas(width: int, height: int, letters: int) -> tuple[Picture, Any, Any]:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, height), "white")
    return canvas, ImageDraw.Draw(canvas), _font(letters)


@functools.cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def _encode(canvas: Picture) -> bytes:
    file = io.BytesIO()
    canvas.save(file, "PNG", compress_level=3)
    return file.getvalue()

"""Numbers as people write them: few digits, separators in large ones, durations in their largest unit, clean texts."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

Number = int | float

_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_BLOCKS = "▁▂▃▄▅▆▇█"


def clean(text: str) -> str:
    """``text`` without what no document may hold: control characters, and halves of characters."""
    kept = (char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs") else "\ufffd" for char in text)
    return "".join(kept)


def format_number(value: object, digits: int = 4) -> str:
    """A cell of a table: integers in full with separators, other numbers to ``digits`` significant ones.

    >>> [format_number(value) for value in (1234567, 1.73125, 3e-5, 123456.7, None, True, float("nan"))]
    ['1,234,567', '1.731', '3e-5', '123,457', '-', 'yes', 'nan']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e15:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{decimals}f}"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


def format_short(value: Number) -> str:
    """With a unit for thousands, millions, billions (B) and trillions; for axes and narrow columns.

    >>> [format_short(value) for value in (0, 999, 12_500, 20_000_000, 1.5e9, 0.25, 0.0003)]
    ['0', '999', '12,500', '20M', '1.5B', '0.25', '3e-4']
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if abs(value) < 1e5:
        text = f"{value:,.4g}" if abs(value) >= 1e-3 else f"{value:.3g}"
        text = f"{value:,.0f}" if abs(value) >= 1e4 else text
        if "e" in text:
            mantissa, _, exponent = text.partition("e")
            return f"{mantissa}e{int(exponent)}"
        return _plain_exponent(value) if abs(value) < 1e-3 else text
    for size, unit in _UNITS:
        if size <= abs(value) < size * 1e4:
            return f"{value / size:.4g}{unit}"
    return f"{value:.3g}".replace("e+", "e")


def _plain_exponent(value: Number) -> str:
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def format_seconds(seconds: Number) -> str:
    """A duration in its two largest units.

    >>> [format_seconds(value) for value in (0.0123, 4.26, 75, 3_725, 200_000)]
    ['12 ms', '4.3 s', '1 min 15 s', '1 h 2 min', '2 d 7 h']
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def format_bytes(count: Number) -> str:
    """A size in binary units.

    >>> [format_bytes(value) for value in (512, 2048, 5 * 2**20, 3.25 * 2**30)]
    ['512 B', '2.0 KiB', '5.0 MiB', '3.25 GiB']
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:,.2f} GiB"


def sparkline(values: Sequence[Number], width: int = 40) -> str:
    """A curve in one line of blocks, from its lowest to its highest finite value; others are spaces.

    >>> sparkline([0, 1, 2, 3, float("nan"), 7])
    '▁▂▃▄ █'
    """
    if len(values) > width:
        values = [values[index * (len(values) - 1) // (width - 1)] for index in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " " * len(values)
    low, high = min(finite), max(finite)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values)

"""Colours by what they are for, so that one drawing is legible on light and on dark paper.

A shape names a role or a colour of its own ("#rrggbb"). Roles are written as the light colour and as a class, whose
colour a style sheet changes where the reader prefers dark; programs without style sheets show the light one.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpt_lightning.pages.numbers import Number

_SERIES = (
    # Okabe and Ito's, which colour-blind readers can tell apart; the same hues, lighter, on dark paper.
    ("#0072b2", "#3d9be0"),
    ("#d55e00", "#f07b3a"),
    ("#009e73", "#2fc79a"),
    ("#cc79a7", "#e396c3"),
    ("#e69f00", "#f2b632"),
    ("#56b4e9", "#8fd0f7"),
    ("#444444", "#dddddd"),
)
NUM_SERIES = len(_SERIES)
_ROLES = {
    "ink": ("#1f2328", "#e6edf3"),
    "soft": ("#59636e", "#9ba5b0"),
    "grid": ("#dfe3e8", "#30363d"),
    "paper": ("#ffffff", "#0d1117"),
    **{f"s{number}": pair for number, pair in enumerate(_SERIES)},
}
_STATES = {
    "running": "s0",
    "complete": "s2",
    "completed": "s2",
    "finished": "s2",
    "pruned": "s4",
    "stopped": "s3",
    "failed": "s1",
    "crashed": "s1",
    "waiting": "soft",
    "reused": "s5",
    "beyond a limit": "s6",
}
_GRADIENT = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
"""Like viridis: even steps of lightness, in print and to colour-blind readers too."""


def light(colour: str) -> str:
    """The colour itself, or that of a role on light paper."""
    return _ROLES[colour][0] if colour in _ROLES else colour


def is_role(colour: str) -> bool:
    """Whether ``colour`` changes with the paper."""
    return colour in _ROLES


def series_colour(number: int) -> str:
    """Role of the ``number``-th of several things of a kind; they repeat."""
    return f"s{number % NUM_SERIES}"


def state_colour(state: str, known: Sequence[str]) -> str:
    """Role of a state: the usual one, or by its place among ``known``."""
    return _STATES.get(state, series_colour(list(known).index(state)))


def gradient(share: Number) -> str:
    """From dark blue (0) to yellow (1)."""
    place = min(max(share, 0.0), 1.0) * (len(_GRADIENT) - 1)
    left = min(int(place), len(_GRADIENT) - 2)
    return _mix(_GRADIENT[left], _GRADIENT[left + 1], place - left)


def _mix(first: str, second: str, share: Number) -> str:
    pairs = ((int(first[at : at + 2], 16), int(second[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)


def chart_style() -> str:
    """The style sheet of charts: roles on dark paper, and what stands out under the pointer."""
    dark = "".join(
        f".chart .f-{role}{{fill:{pair[1]}}}.chart .k-{role}{{stroke:{pair[1]}}}" for role, pair in _ROLES.items()
    )
    hover = ".chart .spot:hover{fill-opacity:.35}.chart polyline:hover{stroke-width:4}"
    return f"{hover}@media (prefers-color-scheme: dark){{{dark}}}"


def page_colours(dark: bool) -> dict[str, str]:
    """Colours of the page around the charts, by role."""
    return {role: pair[dark] for role, pair in _ROLES.items() if not role[1:].isdigit()}

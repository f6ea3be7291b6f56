"""Colours by what they are for, so that one drawing is legible on light and on dark paper.

A shape names a role or a colour of its own ("#rrggbb"). Roles are written as the light colour and as a class, whose
colour a style sheet changes where the reader prefers dark; programs without style sheets show the light one.

The style sheet of a page: one column of text, tables that scroll by themselves, charts side by side, two papers.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpt_lightning.reports.numbers import Number

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


_RULES = """
:root{color-scheme:light dark;%(light)s}
@media (prefers-color-scheme:dark){:root{%(dark)s}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:84rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.7rem;margin:.2rem 0}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--grid);padding-bottom:.25rem}
h3{font-size:1.05rem;margin:1.4rem 0 .4rem}
h4{font-size:1rem;margin:1rem 0 .3rem}
p{max-width:60rem}
.soft{color:var(--soft);margin:.2rem 0}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0}
a{color:inherit}
.wide{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--grid);vertical-align:top}
th{color:var(--soft);font-weight:600}
.n{text-align:right}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;margin:.6rem 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
pre{background:color-mix(in srgb,var(--grid) 45%%,transparent);padding:.7rem .9rem;overflow-x:auto;white-space:pre-wrap;
 overflow-wrap:anywhere;font:13px/1.45 ui-monospace,monospace;border-radius:6px}
code{font:13px ui-monospace,monospace}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%%,32rem),1fr));gap:1rem;margin:.6rem 0}
figure{margin:0;border:1px solid var(--grid);border-radius:6px;overflow:hidden;max-width:50rem}
.chart{display:block;width:100%%;height:auto}
details{margin:.6rem 0}
summary{cursor:pointer;font-weight:600}
@media print{details{break-inside:avoid}figure{break-inside:avoid}}
"""


def page_style() -> str:
    """CSS without reference to anything outside the page."""
    light, dark = (
        "".join(f"--{role}:{colour};" for role, colour in page_colours(paper).items()) for paper in (False, True)
    )
    return _RULES % {"light": light, "dark": dark} + chart_style()

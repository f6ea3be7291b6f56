"""The style sheet of a page: one column of text, tables that scroll by themselves, charts side by side, two papers."""

from __future__ import annotations

from gpt_lightning.pages.colours import chart_style, page_colours

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

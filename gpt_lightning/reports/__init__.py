"""Reports as one HTML file that opens with no network, and its Markdown twin, with charts drawn as SVG.

A report is a ``Page`` that is filled from top to bottom and written at the end; a chart is a frozen record of what is
shown, and knows how to draw itself. Neither knows anything about training, and no plotting library, script, font or
style sheet is loaded: what a page shows stands in its file::

    charts    the records: LineChart, ScatterChart, BarChart, HeatMap, Timeline, Histogram
    page      headings, texts, tables, facts, code, charts, collapsible parts -> html(), markdown()
    axes      nice numbers, linear and logarithmic       numbers   figures as people write them
    frame     axes, grid, legend around a plot           drawing   shapes -> SVG; raster: -> PNG
    line_drawing . point_drawing . bar_drawing . grid_drawing   one chart each on a frame

Everything that is text is escaped, whatever it holds: a run may be called ``<script>``.

>>> from gpt_lightning.reports.charts import LineChart, Series
>>> from gpt_lightning.reports.page import Page
>>> page = Page("Two runs")
>>> page.heading("Losses")
>>> page.chart(LineChart([Series("a", [0, 100], [5.5, 1.7])], title="Loss", x_label="step", y_label="nats per token"))
>>> page.table(["run", "loss"], [["a", 1.7312], ["<b>", None]])
>>> "&lt;b&gt;" in page.html(), "://" in page.html(), page.markdown().splitlines()[0]
(True, False, '# Two runs')
"""

"""Reports as one HTML file that opens with no network, and its Markdown twin, with interactive charts.

A report is a ``Page`` that is filled from top to bottom and written at the end; a chart is a frozen record of what is
shown. Neither knows anything about training. Pages are jinja2 templates, their charts plotly figures (zoom, values
under the pointer, a click on a name switches it off in every chart); both libraries are in the extra ``reports`` and
imported when a page is written::

    charts    the records: LineChart of Series and Marks, Plot of any plotly figure -> figure(), key_points()
    page      headings, texts, tables, facts, code, charts, collapsible parts -> html(), markdown(); page_parts/: its
              template, style and script
    pictures  LineChart -> SVG, PNG                numbers   figures and texts as people write them
    text_table  tables for terminals

Everything that is text is escaped, whatever it holds: a run may be called ``<script>``. To add a kind of chart, build
its figure with plotly and say its key points: ``Plot(title, figure, headers, rows)``.

>>> from gpt_lightning.reports.charts import LineChart, Series
>>> from gpt_lightning.reports.page import Page
>>> page = Page("Two runs")
>>> page.heading("Losses")
>>> page.chart(LineChart([Series("a", [0, 100], [5.5, 1.7])], title="Loss", x_label="step", y_label="nats per token"))
>>> page.table(["run", "loss"], [["a", 1.7312], ["<b>", None]])
>>> "&lt;b&gt;" in page.html(), page.markdown().splitlines()[0]
(True, '# Two runs')
"""

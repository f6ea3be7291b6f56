"""monitoring: what runs did and do, without a browser. What a run would do is ``training.doctor``'s to say.

    records     a run folder as a record: status, starts, metrics, configuration
    listing     runs list, runs show  which runs there are, how they stand, what they reached and cost
    comparing   runs compare          settings that differ, metrics side by side, whether a difference means anything
    plotting    runs plot             curves in the terminal, as SVG or PNG
    reporting   runs report           one HTML file that opens offline, and Markdown

All of ``runs`` reads files only: neither torch nor Lightning is imported, and runs that are training are not disturbed.
A run's true status comes from three witnesses: the lock, which the kernel drops when its holder dies, the end in the
manifest, which a run that is killed never writes, and the time of the last line of metrics.

>>> from gpt_lightning.monitoring.records import judge
>>> judge([{"end": None}], locked=False, silent_seconds=5.0).state
'crashed'
"""

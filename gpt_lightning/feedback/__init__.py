"""What people said about answers: kept once, forgotten when asked to, and made into data that can be trained on.

    records     Interaction (what was asked and answered, by which weights), Feedback (thumb, rating, correction, label)
    store       one SQLite file that only grows: an acknowledged row survives a kill, the same key twice is one row
    redaction   what is taken out of texts before they are written
    exchange    JSONL, out and in                     label_studio  the same where people annotate
    makers      what was said -> rows of conversations, preferences, ratings, labels: the layouts of ``data``
    datasets    the store -> files: duplicates, contradictions, limits, what is set aside
    commands    gpt-lightning feedback ...

A data set is a function of what is in the store: the order in which rows came changes no byte. Only rows whose giver
consented are used; what contradicts itself is dropped; nobody fills more than a given number of rows; a share of the
prompts, chosen by their hash, is set aside for the gate and is never trained on.

>>> import tempfile
>>> from pathlib import Path
>>> from gpt_lightning.feedback.datasets import build_rows
>>> from gpt_lightning.feedback.records import Feedback, Interaction
>>> from gpt_lightning.feedback.store import FeedbackStore
>>> with FeedbackStore(Path(tempfile.mkdtemp()) / "feedback.db") as store:
...     store.add_interaction(Interaction("a1", "chat", "3f2a9c01b7de", "fp_1", "2 + 2 =", [" 5"]))
...     store.add_feedback(Feedback("a1", "correction", " 4", consent=True))
...     rows, dropped = build_rows(store)
True
True
>>> [row.content for row in rows["conversations"]], [row.content for row in rows["preferences"]]
([{'prompt': '2 + 2 =', 'completion': ' 4'}], [{'prompt': '2 + 2 =', 'chosen': ' 4', 'rejected': ' 5'}])

A new kind of data set is a function of ``makers`` and a row of its table.
"""

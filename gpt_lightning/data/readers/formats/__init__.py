r"""The formats of files: each module turns one kind into documents.

    text      .txt .md .py and any other suffix: a document per file, line or paragraph
    records   .jsonl .ndjson .json: a document per record, from a field or a template
    tables    .csv, and .tsv without quotes: a document per row
    columns   .parquet .arrow: a document per row (extra ``parquet``)
    fields    which field of a record is the text

A record that is not what its file promises is a ``BadRecord``: ``data.bad_records`` says what becomes of it.

A new format is one subclass of ``readers.FileReader`` with its suffixes, listed in ``sources``; it is held to the
suite in ``tests/contracts/test_readers.py``.

    >>> from gpt_lightning.data.readers.formats.records import TextField
    >>> TextField("{title}\n{body}").pick({"title": "A", "body": "b"}, "x.jsonl:1")
    'A\nb'
"""

"""What a document is, and what stands beside its tokens: labels, marks on answers, judgements (``data.layout``).

    Text           running text, nothing beside it                                        the default
    Labelled       text (or a pair of texts) and its class          label     int32    document
    MultiLabelled  text and any number of classes                   labels    uint8    document x classes
    Regression     text and a number                                value     float32  document
    Tagged         words and a class of each                        tags      int32    token, -100 within words
    Conversation   messages; marks on the model's own words         marks     uint8    token
    Preference     a prompt, chosen and rejected: two documents     marks     uint8    token, rows side by side
    Rated          a prompt, an answer, liked or not                marks     uint8    token
      (two rows: as it is; the prompt with another's answer)        desirable uint8    document

The way of a record: ``readers`` pick the fields a layout asks for -> ``Layout.parse`` -> ``Example`` (text, key of the
split) -> ``Layout.encode`` -> ``Encoded`` documents -> ``prepare`` -> columns of the store (``store.columns``) ->
``stream.windows`` -> ``Rows.columns`` -> ``Batch.columns``. What reaches an objective, for B rows of T + 1 tokens:

    a column per token      (B, T + 1), beside ``tokens``; 0 on padding
    a column per document   (B, documents), or (B, documents, width); -100 (int32) or 0 where a row has fewer
    ends                    (B, documents) int32: position of each document's last token in its row, -100 = none

With ``data.packing Document`` every row is one document; with ``Pack`` and ``data.document_mask`` it is several, and
``Batch.documents`` numbers them. Documents are never cut there: they are as long as ``layout.max_tokens`` allows (null
= the run's block_size), and what was done to fit them is counted in the manifest.

    base            Layout, Text; examples: what passes through one
    labelled        Labelled, MultiLabelled, Regression <- tagged: Tagged
    conversations   Conversation, Preference, Rated <- dialogs: other people's records as messages
    transcripts     Transcript: a conversation as tokens, for training, chat and export <- chat_formats

A new layout is one subclass of ``Layout`` and a row in ``tests/contracts/test_layouts.py``.

    >>> from gpt_lightning.data.layouts.labelled import Labelled
    >>> from gpt_lightning.data.readers.readers import Document
    >>> record = Document("", "a.jsonl:1", 0, fields={"text": "Hm", "label": "bad"})
    >>> example = Labelled(labels=["bad", "good"]).parse(record)
    >>> example.text, example.key, example.content
    ('Hm', 'hm', (['Hm'], 'bad'))
"""

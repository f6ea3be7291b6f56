r"""From text to windows of tokens: read, tokenize and store once; stream for ever. No torch, no Lightning.

    prepare (once)                                       stream (every run)

    matching    path or glob -> files                    shards        open a store, gather runs of tokens
    readers     files -> documents                       verification  checksums, once per machine
    builtin     corpora that Python carries              permutation   a random order in O(1) memory
    splitting   which documents only measure             stream        sample number -> window
    tokenizers  text <-> ids                             checks        does the store fit model and run?
      vocabularies, bpe, runs
    tokenizing  documents -> shards                      prepare       find the store of some settings, or make it
      shard_writer, shard_file, manifest                 command       the same for the terminal
    folders     lock, temporary folder, rename

A store is a folder: ``manifest.json`` (written last), token files in llm.c's format and the ends of the documents. It
is addressed by ``PrepareSettings``; ``find_or_prepare`` finds or makes it. The state of a stream is one number, the
samples consumed: which window sample k is depends on the seed and nothing else.

    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from gpt_lightning.data.prepare import PrepareSettings, find_or_prepare
    >>> from gpt_lightning.data.stream import EvaluationWindows, TrainStream
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "text.txt").write_text("To be, or not to be.\n" * 50)
    >>> settings = PrepareSettings(source=str(folder / "text.txt"), tokenizer="bytes", val_fraction=0.1)
    >>> store = find_or_prepare(settings, store=folder / "store")
    >>> stream = TrainStream(store.split("train"), block_size=16, seed=0)
    >>> stream.windows(first_sample=0, count=4).shape
    (4, 17)
    >>> [tokens.shape for tokens, weights, _ in EvaluationWindows(store.split("val"), 16).batches(batch_size=4)]
    [(4, 17), (4, 17)]
    >>> store.tokenizer.decode(store.tokenizer.encode("To be"))
    'To be'

A new kind of file is one reader (``readers``), a new tokenizer one class (``tokenizers``); both are held to the
suites in ``tests/contracts``.
"""

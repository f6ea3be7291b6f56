r"""From text to windows of tokens: read, tokenize and store once; stream for ever. No torch, no Lightning.

Eight sub-packages and two files, an import points down only (checked by ``make check``)::

    commands    prepare, data ..., tokenizer train
    open        whose store is it? ours, another tool's, behind a URL, several as a mixture
    live        a store that is read while it is being made: data.on_the_fly
    prepare     documents -> store (once)             stream   sample number -> window (every run)
      prepare     find the store of some settings,      stream       what a run reads
                  freshness or build it                 packing      how documents share rows; packing_plan: which
      building    one pass over the text                windows      the rows of a split by number
      chunks      the corpus in pieces of about 8 MB    permutation  a random order in O(1) memory
      pool        processes that tokenize them          mixture      several sources in given proportions
      tokenizing  a chunk -> parts, journal             mixed_stream
      intake      a record -> an example; cleaning: which texts enter, and which split; leaks: what is in two
      assembling  parts -> shards
    layouts     what a record is, and what of it stands beside the tokens; conversations as tokens
    store       manifest, shards, columns, verification; derived: columns that a model computed; remote and
                shard_cache; external: stores of other tools
    readers     files -> documents, whole or in spans; a format of files is one class in formats/
    tokenizers  text <-> ids                          folders  lock, working folder, rename

The way of text into a store: ``commands.prepare`` -> ``prepare.prepare`` -> ``prepare.building`` -> ``readers`` ->
``tokenizers`` -> ``prepare.assembling`` -> ``store.shard_files`` -> ``store.manifest``. The way of a batch out of it:
``stream.stream`` -> ``stream.permutation`` -> ``stream.windows`` -> ``store.shards``.


A store is a folder: ``manifest.json`` (written last), token files in llm.c's format and the ends of the documents. It
is addressed by ``PrepareSettings``; ``find_or_prepare`` finds or makes it. The state of a stream is one number, the
samples consumed: which window sample k is depends on the seed and nothing else.

    >>> import os, tempfile
    >>> from pathlib import Path
    >>> from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
    >>> from gpt_lightning.data.stream.stream import EvaluationWindows, TrainStream
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "text.txt").write_text("To be, or not to be.\n" * 50)
    >>> settings = PrepareSettings(source=str(folder / "text.txt"), tokenizer="bytes", val_fraction=0.1)
    >>> store = find_or_prepare(settings, store=folder / "store")
    >>> stream = TrainStream(store.split("train"), block_size=16, seed=0)
    >>> stream.windows(first_sample=0, count=4).shape
    (4, 17)
    >>> [rows.tokens.shape for rows in EvaluationWindows(store.split("val"), 16).batches(batch_size=4)]
    [(4, 17), (4, 17)]
    >>> store.tokenizer.decode(store.tokenizer.encode("To be"))
    'To be'

Preparing is done in units by several processes and noted in a journal: killed at any moment, the next call goes on, and
the bytes are the same for any number of workers and interruptions.

A new kind of file is one reader (``formats``), a new tokenizer one class (``tokenizers``); both are held to the
suites in ``tests/contracts``.
"""

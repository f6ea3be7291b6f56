r"""From text to windows of tokens: read, tokenize and store once; stream for ever. No torch, no Lightning.

    prepare (once)                                       stream (every run)

    sources     what was typed -> readers                opening       whose store is it? ours, theirs, far, several
      matching, saved_datasets, builtin                  shards        open a store, gather runs of tokens
    readers     files -> documents, whole or in spans      verification    checksums, once per machine
      files, far_files, compression, formats/              mapping       only so many files at a time
      recognizing, line_ends, bad_records                foreign       stores of other programs
    cleaning    which texts enter                          token_files     their formats
    splitting   which documents only measure             remote        stores behind a URL
    tokenizers  text <-> ids                               shard_cache     bounded, verified, fetched ahead
      vocabularies, bpe, runs, learning                  packing       how documents share rows
    work_units  the corpus in units of about 8 MB          windows, plan   the rows of a split by number
    tokenizing  a unit -> parts                          permutation   a random order in O(1) memory
      crew, worker, journal, parts                       stream        sample number -> window (rows)
    assembling  parts -> shards                          mixture       several sources in given proportions
      shard_writer, shard_file, manifest, sealing          quotas, mixed_stream, mixed_store
    making      all of that, for one or several stores   checks        does the store fit model and run?
    folders     lock, working folder, rename
    prepare     find the store of some settings,         from the terminal
      freshness or make it                               command, store_commands, tokenizer_command, report

    following   read a store while it is being made: data.on_the_fly
      background, unit_plan          the process that makes it, and what it says of its plan
      growing, growing_stream        units that arrived as splits; samples that are waited for

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

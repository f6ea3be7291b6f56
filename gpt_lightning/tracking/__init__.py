"""What a run shows of itself, as plain data and records: everything here works without Lightning.

    names       the one table of logged names
    layout      charts of TensorBoard's Custom Scalars tab
    texts       Markdown of its Text tab
    pictures    arrays as PNG pictures of its Images tab
    probe       one look inside a model: attention and the size of the residual stream
    records     texts, pictures and histograms as TensorBoard stores them; the Projector's files
    hparams     settings with types and domains, and how a run really ended
    alerts      rules over the logged points; notices: where alerts go; watchdog: a run that stands still
    serving     ``gpt-lightning monitor``: TensorBoard on loopback
    terminal    where training stands, as a line or a table

``training.callbacks.insight`` says when; a name goes into the table first:

>>> from gpt_lightning.tracking.names import is_known
>>> is_known("images", "attention/heads")
True
"""

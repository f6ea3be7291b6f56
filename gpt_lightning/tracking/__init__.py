"""What a run shows of itself, as plain data and records: everything here works without Lightning.

    names       the one table of logged names
    texts       Markdown of TensorBoard's Text tab
    pictures    arrays as PNG pictures of its Images tab
    probe       one look inside a model: attention and the size of the residual stream
    records     texts, pictures and histograms as TensorBoard stores them; charts of Custom Scalars; the Projector
    hparams     settings with types and domains, and how a run really ended; hparams_tab: their order
    alerts      rules over the logged points; notifications: where alerts go
    patient     event files on a disk that may be full
    serving     ``gpt-lightning monitor``: TensorBoard on loopback
    terminal    where training stands, as a line or a table

``training.watch.diagnostics`` says when; a name goes into the table first:

>>> from gpt_lightning.tracking.names import is_known
>>> is_known("images", "attention/heads")
True
"""

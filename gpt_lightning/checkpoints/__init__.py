"""Checkpoints on disk: either complete and checksummed, or invisible.

One checkpoint is one folder, one run keeps them side by side::

    RUN/checkpoints/
        step-000000600/             committed by one rename; its name carries the optimizer step
            state.pt                plain data only: tensors, numbers, strings, lists, dicts
            pieces-00000.pt         of a sharded run, one for each process: its boxes of the tensors
            manifest.json           size and SHA-256 of every file, step, what was measured, and its own SHA-256
        best.json                   pointer {"checkpoint", "metric", "value"}, replaced atomically; see ``best``
        .writing-step-...-HOST-PID  unfinished write; swept at the next start once its process is gone
        .trash-...-HOST-PID         being deleted (renamed first: a half-deleted checkpoint must not look valid)

``folder`` writes and reads one checkpoint; ``durable`` has names, manifests and checksums, without torch; ``shelf``
keeps the folder of checkpoints: newest valid one, rotation, sweeping; ``best`` finds the best one; ``prefixes`` keeps
checkpoints that many runs share; ``pieces`` puts tensors together that many processes wrote, for any number of readers;
``old_files`` looks into files of torch before 1.6; ``consolidating`` writes a checkpoint in pieces as one. Torch only,
so that ``generate`` loads a model without importing Lightning.

Why our own format: ``torch.load`` noticed none of 300 flipped bits, Lightning's save is atomic only when the temporary
folder shares a file system with the run, and neither calls fsync.

    >>> from pathlib import Path
    >>> import tempfile, torch
    >>> from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
    >>> with tempfile.TemporaryDirectory() as place:
    ...     path = write_checkpoint(Path(place), step=3, state={"weight": torch.ones(2)})
    ...     read_checkpoint(path)["weight"]
    tensor([1., 1.])
"""

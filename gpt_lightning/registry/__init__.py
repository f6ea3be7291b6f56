"""Versions of a model, and which of them is in use: content-addressed folders, aliases, a history that only grows.

    models/chat/
        versions/3f2a9c01b7de/       named by the SHA-256 of what lies in it; never changed
            checkpoints/step-.../    hard links where the disk has them
            base/                    what an adapter stands on
            version.json             card, checksums, parent, data
            gates/<baseline>.json    reports of comparisons with the version it would replace
        aliases.json                 {"production": "3f2a9c01b7de"}: replaced by one rename
        history.jsonl                who moved which alias, when, why, from what to what

    versions   a run's checkpoint -> a version; its record, its checksums
    history    changes of aliases as a chain: promote, roll back
    gates      what a gate found, as promotion reads it
    mirroring  the same in MLflow's registry, for those who look there
    commands   gpt-lightning models ...

``aliases.json`` alone decides. It names the newest change in force, every change names the one before it, and both are
written before the rename: a process that is killed between any two calls of the system leaves the old state or the new
one. A change that was written and never came into force is not in the chain, and nobody sees it.

A name such as ``chat@production`` is taken by every command that takes a run (``checkpoints.registered``); a server
follows it while it runs.

>>> import tempfile, torch
>>> from pathlib import Path
>>> from gpt_lightning.checkpoints.folder import write_checkpoint
>>> from gpt_lightning.registry.history import promote, read_history, rollback
>>> from gpt_lightning.registry.versions import add_version
>>> place = Path(tempfile.mkdtemp())
>>> versions = []
>>> for number in (1, 2):
...     state = {"weight": torch.full((2,), float(number))}
...     checkpoint = write_checkpoint(place / f"run{number}" / "checkpoints", step=1, state=state)
...     versions.append(add_version(place / "chat", checkpoint).id)
>>> for version in versions:
...     change = promote(place / "chat", version, "production", who="ada", why="asked for", force=True)
>>> rollback(place / "chat", "production", who="ada", why="it was worse").version == versions[0]
True
>>> [change.action for change in read_history(place / "chat")]
['promote', 'promote', 'rollback']
"""
